"""How much a request may carry: its body is read whole, bounded in bytes and in nesting."""

from __future__ import annotations

import re
from itertools import accumulate

import anyio.to_thread
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bamboo_mcp.server.http_replies import Refusal, header, headers, refuse

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 100

_FEW = 20_000
"""So many brackets are counted at once; more of them in a thread."""
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\Z)', re.DOTALL)
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class BodyGate:
    """Reads a body before anybody sees it, and refuses what is too long, too deep or packed."""

    def __init__(self, app: ASGIApp, *, max_bytes: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        lengths = headers(scope, b"content-length")
        if not lengths and not headers(scope, b"transfer-encoding"):
            await self._app(scope, receive, send)
            return
        if header(scope, b"content-encoding").lower() not in ("", "identity"):
            await refuse(send, _PACKED)
            return
        body = None
        if not lengths or int(lengths[0]) <= self._max_bytes:
            try:
                body = await self._read(receive)
            except ConnectionError:
                return
        if body is None:
            await refuse(send, self._too_long())
        elif await _deeper(body, MAX_DEPTH):
            await refuse(send, _TOO_DEEP)
        else:
            await self._app(scope, _replay(body, receive), send)

    async def _read(self, receive: Receive) -> bytes | None:
        """The body; None when it is too long. Raises ConnectionError when the client is gone."""
        parts = []
        room = self._max_bytes
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError("the client left before it had sent its request")
            part = message.get("body", b"")
            room -= len(part)
            if room < 0:
                return None
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    def _too_long(self) -> Refusal:
        return Refusal(
            status=413,
            code="too_long",
            message=f"the request has more than {self._max_bytes} bytes",
            hint="Write long material to a file of the workspace and name the file.",
        )


def depth_of(body: bytes) -> int:
    """How deep the JSON in `body` is nested; what is no JSON gets some number too."""
    brackets = _STRINGS.sub(b"", body).translate(_STEPS, _NOT_BRACKETS)
    return max(accumulate(memoryview(brackets).cast("b"), initial=0))


async def _deeper(body: bytes, most: int) -> bool:
    opening = body.count(b"[") + body.count(b"{")
    if opening <= most:
        return False
    if opening <= _FEW:
        return depth_of(body) > most
    return await anyio.to_thread.run_sync(depth_of, body) > most


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives `body` once and then waits, as the server's own would."""
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


_TOO_DEEP = Refusal(
    status=400,
    code="too_deep",
    message=f"the JSON of the request is nested deeper than {MAX_DEPTH} levels",
    hint="Flatten it.",
)
_PACKED = Refusal(
    status=415,
    code="packed_body",
    message="compressed requests are not taken",
    hint="Send the body without Content-Encoding.",
)
