"""Who calls over HTTP: bearer tokens, each the caller of its own subagents and sessions."""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from urllib.parse import parse_qsl

import anyio.to_thread
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.types import ASGIApp, Receive, Scope, Send

from bamboo_mcp.domain.errors import SettingsError
from bamboo_mcp.domain.ids import LOCAL, Subject
from bamboo_mcp.domain.value import Value
from bamboo_mcp.server.context import SENDER
from bamboo_mcp.server.http_replies import Refusal, headers, refuse
from bamboo_mcp.settings.references import resolve_reference

MIN_TOKEN_CHARS = 16

_SECRET_PARAMETERS = frozenset(
    ("access_token", "token", "bearer", "bearer_token", "authorization", "auth", "api_key")
)


class Caller(Value, frozen=True, kw_only=True):
    """One token. Only its digest is kept: comparing digests takes the same time for any guess."""

    subject: Subject
    digest: bytes


async def callers_of(
    references: Sequence[str], environ: Mapping[str, str] | None = None
) -> tuple[Caller, ...]:
    """The callers whose tokens are at `references`.

    A caller is named after the place of its token, so that it keeps what is its own when the token
    is replaced, and so that nothing of the token is written anywhere.

    Raises:
        SettingsError: A token is missing, too short, or the same as another.
    """
    found: dict[bytes, Caller] = {}
    for reference in dict.fromkeys(references):
        secret = resolve_reference(reference, os.environ if environ is None else environ)
        # A keyring may ask a person, a command takes its time.
        token = await anyio.to_thread.run_sync(secret.reveal)
        if len(token) < MIN_TOKEN_CHARS:
            raise SettingsError(
                f"the token at {reference!r} has {len(token)} characters; it needs at least "
                f"{MIN_TOKEN_CHARS}",
                hint='make one with: python -c "import secrets; print(secrets.token_urlsafe(32))"',
            )
        digest = sha256(token.encode()).digest()
        if digest in found:
            raise SettingsError(
                f"{reference!r} holds the same token as another caller's",
                hint="give every caller a token of its own",
            )
        found[digest] = Caller(subject=Subject(f"http:{reference}"), digest=digest)
    return tuple(found.values())


def subject_of(scope: Scope) -> Subject:
    """Who sent a request that came through `CallerGate`."""
    subject: Subject = scope[SENDER]
    return subject


class CallerGate:
    """Lets in who has one of the tokens; everybody when there are none (loopback only)."""

    def __init__(self, app: ASGIApp, *, callers: Sequence[Caller]) -> None:
        self._app = app
        self._callers = tuple(callers)
        # The SDK ties a legacy session to the user that opened it.
        self._users = {
            one.subject: AuthenticatedUser(AccessToken(token="", client_id=one.subject, scopes=[]))
            for one in callers
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _carries_token(scope["query_string"]):
            await refuse(send, _TOKEN_IN_ADDRESS)
            return
        if not self._callers:
            scope[SENDER] = LOCAL
        else:
            given = _bearer(scope)
            caller = None if given is None else self._find(given)
            if caller is None:
                await refuse(send, _NO_TOKEN if given is None else _WRONG_TOKEN)
                return
            scope[SENDER] = caller.subject
            scope["user"] = self._users[caller.subject]
        await self._app(scope, receive, send)

    def _find(self, token: bytes) -> Caller | None:
        """The caller with this token; looks at all of them, whichever it is."""
        digest = sha256(token).digest()
        found = None
        for caller in self._callers:
            if hmac.compare_digest(caller.digest, digest):
                found = caller
        return found


def _bearer(scope: Scope) -> bytes | None:
    sent = headers(scope, b"authorization")
    scheme, _, token = sent[0].partition(" ") if len(sent) == 1 else ("", "", "")
    return token.strip().encode("latin-1") if scheme.lower() == "bearer" and token.strip() else None


def _carries_token(query: bytes) -> bool:
    if not query:
        return False
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return any(name.lower() in _SECRET_PARAMETERS for name, _ in pairs)


_HINT = "Send the header Authorization: Bearer TOKEN."
_TOKEN_IN_ADDRESS = Refusal(
    status=400,
    code="token_in_address",
    message="a token in the address ends up in logs and histories and is refused",
    hint=f"{_HINT} Replace the token if it was a real one.",
)
_NO_TOKEN = Refusal(
    status=401,
    code="no_token",
    message="this server wants a bearer token",
    hint=_HINT,
    headers=((b"www-authenticate", b'Bearer realm="bamboo-mcp"'),),
)
_WRONG_TOKEN = Refusal(
    status=401,
    code="wrong_token",
    message="the bearer token is not one of this server's",
    hint="Ask who runs the server for the token.",
    headers=((b"www-authenticate", b'Bearer realm="bamboo-mcp", error="invalid_token"'),),
)
