"""Small HTTP answers without a framework: JSON, text, and refusals in the form of our errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from starlette.types import Scope, Send

from bamboo_mcp.domain.value import Value

Header = tuple[bytes, bytes]


class Refusal(Value, frozen=True, kw_only=True):
    """Why a request is not served, and what to do about it."""

    status: int
    code: str
    message: str
    hint: str = ""
    headers: tuple[Header, ...] = ()


async def refuse(send: Send, refusal: Refusal) -> None:
    error = {"code": refusal.code, "message": refusal.message, "hint": refusal.hint}
    await reply_json(send, {"error": error}, status=refusal.status, headers=refusal.headers)


async def reply_json(
    send: Send, value: Mapping[str, Any], *, status: int = 200, headers: Sequence[Header] = ()
) -> None:
    await reply(send, msgspec.json.encode(value), b"application/json", status, headers)


async def reply(
    send: Send, body: bytes, kind: bytes, status: int = 200, headers: Sequence[Header] = ()
) -> None:
    fixed = (
        (b"content-type", kind),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    )
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
    await send({"type": "http.response.body", "body": body})


def header(scope: Scope, name: bytes) -> str:
    """The header's value, "" without one; of several the first."""
    return next(iter(headers(scope, name)), "")


def headers(scope: Scope, name: bytes) -> list[str]:
    """Every value sent under `name`, which is in lower case."""
    sent: Iterable[Header] = scope["headers"]
    return [value.decode("latin-1") for key, value in sent if key == name]
