"""By which names the HTTP server may be called, and from which web sites: the first gate.

A page of any web site can make its visitor's browser talk to this machine, under a name that the
site made point here (MCP security pages, "DNS rebinding"). So the Host and Origin headers are
checked on every address and every route.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from bamboo_mcp.domain.value import Value
from bamboo_mcp.server.http_replies import Refusal, header, headers, refuse

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
WILDCARDS = ("", "0.0.0.0", "::")

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?")
_FOREIGN_SITES = ("cross-site", "same-site")


class Names(Value, frozen=True, kw_only=True):
    """What a Host header may be: name and port, and names that any port, or none, may follow."""

    exact: frozenset[str]
    any_port: frozenset[str]

    def allow(self, host: str) -> bool:
        found = _AUTHORITY.fullmatch(host)
        return found is not None and (host in self.exact or found[1] in self.any_port)


def names_of(host: str, port: int, allowed: Sequence[str] = ()) -> Names:
    """The names of a server on `host` and `port`, and those the settings add."""
    own = list(LOOPBACK_NAMES)
    if host not in WILDCARDS:
        own.append(f"[{host}]" if ":" in host else host)
    exact = {f"{name}:{port}".lower() for name in own}
    if port == 80:
        exact |= {name.lower() for name in own}
    any_port = set()
    for one in allowed:
        found = _AUTHORITY.fullmatch(one.lower())
        if found is not None and found[2] is not None:
            exact.add(one.lower())
        else:
            any_port.add(one.lower())
    return Names(exact=frozenset(exact), any_port=frozenset(any_port))


class HostGate:
    """Refuses what came under a foreign name (421) or from a foreign web site (403)."""

    def __init__(self, app: ASGIApp, *, names: Names, origins: Sequence[str] = ()) -> None:
        self._app = app
        self._names = names
        self._origins = frozenset(origin.lower() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._judge(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await refuse(send, refusal)

    def _judge(self, scope: Scope) -> Refusal | None:
        host = header(scope, b"host").lower()
        # A target with a host of its own ("GET http://other/…") is for proxies, which this is not.
        if not self._names.allow(host) or not scope["raw_path"].startswith(b"/"):
            return Refusal(
                status=421,
                code="foreign_host",
                message=f"this server is not called {host[:200]!r}",
                hint="Call it by the address it listens on, or add the name to "
                "server.http.allowed_hosts.",
            )
        origins = headers(scope, b"origin")
        if all(self._home(origin.lower(), host) for origin in origins):
            # Browsers send no Origin with a plain GET, but say whose page it is for.
            site = header(scope, b"sec-fetch-site").lower()
            if origins or site not in _FOREIGN_SITES:
                return None
        return Refusal(
            status=403,
            code="foreign_origin",
            message=f"pages of {', '.join(origins)[:200] or 'other sites'!r} may not call this "
            "server",
            hint="Add the origin to server.http.allowed_origins if its pages shall.",
        )

    def _home(self, origin: str, host: str) -> bool:
        scheme, _, rest = origin.partition("://")
        return origin in self._origins or (scheme in ("http", "https") and rest == host)
