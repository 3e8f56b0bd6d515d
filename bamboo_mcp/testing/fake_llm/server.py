"""A language model service on loopback that says what it is told, with the faults of a real one.

It speaks real HTTP, so a provider is tested through its vendor's SDK. What the bytes look like is a
`Dialect`; the Anthropic Messages API is one, others register beside it under their own paths.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, Protocol

import anyio
import msgspec
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream

from bamboo_mcp.domain.value import Value
from bamboo_mcp.testing.fake_llm.events import whole_answer

logger = logging.getLogger(__name__)

Fault = Literal["", "eof", "cut", "stall", "error_event"]
"""How a stream goes wrong after `FakeReply.after` events: it ends cleanly but too early, the
connection breaks, nothing more comes, or an error arrives inside it (its status being 200)."""


class FakeCall(Value, frozen=True, kw_only=True):
    """A tool call. `raw_json` goes out as it is, in place of `args`."""

    id: str
    name: str
    args: Mapping[str, Any] = {}
    raw_json: str | None = None


class FakeError(Value, frozen=True, kw_only=True):
    """A refusal with a status of its own; inside a stream only `type` and `message` show."""

    status: int = 500
    type: str = "api_error"
    message: str = "the fake was told to fail"
    code: str = ""
    headers: Mapping[str, str] = {}


class FakeReply(Value, frozen=True, kw_only=True):
    """One answer. `blocks` are raw blocks of the vendor, sent between thinking and text; `chunk` is
    the number of characters in a delta; `stop` the vendor's word, "" for the one that fits."""

    thinking: str = ""
    signature: str = "fake-signature"
    text: str = ""
    refusal: str = ""
    """For dialects that have a place of its own for it."""
    calls: tuple[FakeCall, ...] = ()
    blocks: tuple[Mapping[str, Any], ...] = ()
    extra_events: tuple[Mapping[str, Any], ...] = ()
    usage: Mapping[str, Any] = {}
    stop: str = ""
    chunk: int = 8
    fault: Fault = ""
    after: int = 0
    error: FakeError | None = None
    document: str = ""
    """In place of a stream this comes, whole, with status 200 and the type below: the page of a
    proxy, or an answer that was not asked for in this form."""
    document_type: str = "text/html"
    before_s: float = 0
    """How long nothing is sent at all, and `between_s`: from one event to the next."""
    between_s: float = 0
    on_end: Callable[[bool], None] | None = None
    """Called when the answer is over: did it go out without fault, error or a client that left?"""


Answer = FakeReply | Callable[[Mapping[str, Any]], FakeReply]


class Seen(Value, frozen=True, kw_only=True):
    """A request as it arrived. Header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any = None


class Dialect(Protocol):
    """The wire form of one vendor's API."""

    @property
    def stream_path(self) -> str: ...
    def refuse(self, seen: Seen) -> FakeError | None:
        """What the real service would refuse."""
        ...

    def events(self, reply: FakeReply, seen: Seen) -> Iterable[bytes]: ...
    def error_event(self, error: FakeError) -> bytes: ...
    def error_body(self, error: FakeError) -> bytes: ...
    def other(self, seen: Seen, server: FakeLLM) -> bytes | None:
        """The JSON of the vendor's other endpoints, None for a path that is not its own."""
        ...


class Replies(Protocol):
    """Who decides what is answered, where nobody queues replies: a script."""

    def answer(self, dialect: Dialect, seen: Seen) -> FakeReply: ...
    def note(self, seen: Seen, status: int, problem: str = "") -> None:
        """What else was answered: other endpoints, and requests the dialect refuses."""
        ...


class FakeLLM:
    """Queue what it shall answer with `reply`; read what it was asked in `requests`.

    With `replies` those decide instead, and requests are not kept.
    """

    def __init__(
        self, port: int, dialects: Sequence[Dialect], replies: Replies | None = None
    ) -> None:
        self.port = port
        self.base_url = f"http://127.0.0.1:{port}"
        self.requests: list[Seen] = []
        self.connections = 0
        self.disconnected = anyio.Event()
        """Set once a client went away in the middle of a stalled stream."""
        self.stalled = anyio.Event()
        """Set once a stream stands still."""
        self.token_count = 42
        self.model_ids: list[str] = []
        self._dialects = dialects
        self._answers: list[Answer] = []
        self._replies = replies

    def reply(self, *answers: Answer) -> None:
        self._answers.extend(answers)

    def assert_complete(self) -> None:
        assert not self._answers, f"{len(self._answers)} replies were never asked for"

    async def serve(self, stream: ByteStream) -> None:
        """One connection, as long as the client keeps it."""
        self.connections += 1
        incoming = BufferedByteReceiveStream(stream)
        broken = (
            anyio.EndOfStream,
            anyio.IncompleteRead,
            anyio.BrokenResourceError,
            anyio.ClosedResourceError,
            anyio.DelimiterNotFound,
            _NotHttp,
        )
        async with stream:
            try:
                while await self._exchange(incoming, stream):
                    pass
            except broken:
                return
            except OSError:
                raise
            except Exception:
                logger.exception("a request could not be answered")
                if self._replies is None:  # in a test of ours: it shall fail
                    raise

    async def _exchange(self, incoming: BufferedByteReceiveStream, stream: ByteStream) -> bool:
        """One request and its answer; False when the connection is to be closed."""
        seen = await _read_request(incoming)
        if self._replies is None:
            self.requests.append(seen)
        for dialect in self._dialects:
            if seen.method == "POST" and seen.path == dialect.stream_path:
                return await self._answer(dialect, seen, incoming, stream)
            if (body := dialect.other(seen, self)) is not None:
                self._note(seen, 200)
                await stream.send(_response(200, body))
                return True
        self._note(seen, 404, f"there is no {seen.method} {seen.path} here")
        await stream.send(_response(404, b'{"error":{"type":"not_found_error","message":"path"}}'))
        return True

    def _note(self, seen: Seen, status: int, problem: str = "") -> None:
        if self._replies is not None:
            self._replies.note(seen, status, problem)

    async def _answer(
        self,
        dialect: Dialect,
        seen: Seen,
        incoming: BufferedByteReceiveStream,
        stream: ByteStream,
    ) -> bool:
        error = dialect.refuse(seen)
        if error is not None:
            self._note(seen, error.status, error.message)
        elif self._replies is None and not self._answers:
            error = FakeError(status=500, message="no reply is queued for this request")
        if error is not None:
            await self._send_error(dialect, error, stream)
            return True
        reply = self._next(dialect, seen)
        whole = False
        try:
            await anyio.sleep(reply.before_s)
            if reply.error is not None and (reply.fault != "error_event" or not _streams(seen)):
                await self._send_error(dialect, reply.error, stream)
                return True
            kept = await self._send(dialect, reply, seen, incoming, stream)
            whole = not reply.fault
            return kept
        finally:
            if reply.on_end is not None:
                reply.on_end(whole)

    def _next(self, dialect: Dialect, seen: Seen) -> FakeReply:
        if self._replies is not None:
            return self._replies.answer(dialect, seen)
        answer = self._answers.pop(0)
        return answer if isinstance(answer, FakeReply) else answer(seen.body)

    async def _send_error(self, dialect: Dialect, error: FakeError, stream: ByteStream) -> None:
        await stream.send(_response(error.status, dialect.error_body(error), error.headers))

    async def _send(
        self,
        dialect: Dialect,
        reply: FakeReply,
        seen: Seen,
        incoming: BufferedByteReceiveStream,
        stream: ByteStream,
    ) -> bool:
        if reply.document:
            document = reply.document.encode()
            await stream.send(_response(200, document, kind=reply.document_type))
            return True
        if not _streams(seen) and not reply.fault:
            await stream.send(_response(200, whole_answer(dialect.events(reply, seen))))
            return True
        await stream.send(_STREAM_HEAD)
        for number, event in enumerate(dialect.events(reply, seen)):
            if reply.fault and number >= reply.after:
                break
            if number and reply.between_s:
                await anyio.sleep(reply.between_s)
            await stream.send(_chunked(event))
        match reply.fault:
            case "cut":
                return False
            case "stall":
                self.stalled.set()
                try:
                    await incoming.receive()
                finally:
                    self.disconnected.set()
            case "error_event":
                await stream.send(_chunked(dialect.error_event(reply.error or FakeError())))
            case "eof" | "":
                pass
        await stream.send(b"0\r\n\r\n")
        return True


@asynccontextmanager
async def fake_llm(
    *dialects: Dialect, host: str = "127.0.0.1", port: int = 0, replies: Replies | None = None
) -> AsyncGenerator[FakeLLM]:
    """A running fake of these wire APIs, on a free loopback port unless told otherwise.

    Raises:
        OSError: The address cannot be listened on.
    """
    listener = await anyio.create_tcp_listener(local_host=host, local_port=port)
    server = FakeLLM(listener.extra(SocketAttribute.local_port), dialects, replies)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, server.serve)
        yield server
        group.cancel_scope.cancel()


_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    b"request-id: req_fake\r\nx-request-id: req_fake\r\ntransfer-encoding: chunked\r\n\r\n"
)


def sse(name: str, data: Mapping[str, Any]) -> bytes:
    """A server-sent event with a name."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))


class _NotHttp(Exception):
    """What arrived is no HTTP request: the connection is closed."""


def _streams(seen: Seen) -> bool:
    return isinstance(seen.body, dict) and seen.body.get("stream") is True


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _response(
    status: int,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    kind: str = "application/json",
) -> bytes:
    lines = [
        f"HTTP/1.1 {status} Fake",
        f"content-type: {kind}",
        "request-id: req_fake",
        "x-request-id: req_fake",
        f"content-length: {len(body)}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def _read_request(incoming: BufferedByteReceiveStream) -> Seen:
    head = (await incoming.receive_until(b"\r\n\r\n", 65_536)).decode("latin-1")
    first, *lines = head.split("\r\n")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines)
    }
    try:
        method, target, _ = first.split(" ")
        length = int(headers.get("content-length", "0"))
    except ValueError:
        raise _NotHttp from None
    raw = await incoming.receive_exactly(length) if length > 0 else b""
    try:
        body = msgspec.json.decode(raw) if raw else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        body = None  # as if there were none: no API takes it
    return Seen(method=method, path=target.partition("?")[0], headers=headers, body=body)
