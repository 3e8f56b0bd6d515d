"""`/runs/{run_id}/events`: what happens in a run, as it happens and from any point on (SSE).

sse-starlette would write each event by itself, from a queue for each watcher, and end the streams
by a task that belongs to nobody; here watchers share one feed and are written to in batches.
"""

from __future__ import annotations

from urllib.parse import parse_qs

import anyio
import anyio.lowlevel
import msgspec
from starlette.types import Receive, Scope, Send

from bamboo_mcp.domain.errors import UnknownId
from bamboo_mcp.domain.events import RunEnded
from bamboo_mcp.domain.ids import RunId, Subject
from bamboo_mcp.domain.runs import TERMINAL
from bamboo_mcp.ports import EventLog
from bamboo_mcp.server.http_replies import Refusal, header, refuse, reply
from bamboo_mcp.server.run_feeds import BATCH_BYTES, BATCH_EVENTS, RunFeed, RunFeeds, frame_of
from bamboo_mcp.server.visibility import Visibility

PING_S = 15.0
RETRY_MS = 2_000

_HEAD = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),
        (b"x-content-type-options", b"nosniff"),
    ],
}


class EventStreams:
    """Serves watchers. `ping_s` is how long a stream may be silent before a comment is sent."""

    def __init__(
        self, visibility: Visibility, log: EventLog, feeds: RunFeeds, *, ping_s: float = PING_S
    ) -> None:
        self._visibility = visibility
        self._log = log
        self._feeds = feeds
        self._ping_s = ping_s

    async def serve(
        self, run_id: RunId, caller: Subject, scope: Scope, receive: Receive, send: Send
    ) -> None:
        cursor = _cursor(scope)
        if cursor is None:
            await refuse(send, _BAD_CURSOR)
            return
        try:
            state = await self._visibility.run(run_id, caller)
        except UnknownId as error:
            await refuse(send, Refusal(status=404, code=error.code, message=error.message))
            return
        if state.status in TERMINAL and cursor >= state.last_seq:
            # A browser comes back after every end; this tells it that there is nothing more.
            await reply(send, b"", b"text/plain", 204)
            return
        if scope["method"] == "HEAD":
            await reply(send, b"", b"text/event-stream")
            return
        async with anyio.create_task_group() as group:

            async def until_gone() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(until_gone)
            with self._feeds.watching(run_id, state.last_seq) as feed:
                await send(_HEAD)
                await _write(send, b"retry: %d\n\n" % RETRY_MS)
                await self._stream(run_id, feed, cursor, send)
            if not self._feeds.closing:
                await self._say_if_lost(run_id, caller, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            group.cancel_scope.cancel()

    async def _stream(self, run_id: RunId, feed: RunFeed, cursor: int, send: Send) -> None:
        while not self._feeds.closing:
            batch = feed.since(cursor)
            if batch is None:
                batch = await self._replay(run_id, cursor, feed.base)
            data, cursor = batch
            if data:
                await _write(send, data)
                if cursor < feed.top:
                    # A write returns at once as long as the system takes it: let others in.
                    await anyio.lowlevel.checkpoint()
            elif cursor >= feed.top:
                if feed.ended:
                    return
                with anyio.move_on_after(self._ping_s) as silence:
                    await feed.wait()
                if silence.cancelled_caught:
                    await _write(send, b": still here\n\n")

    async def _replay(self, run_id: RunId, after: int, upto: int) -> tuple[bytes, int]:
        """Frames from the log for one write, and the last event in them."""
        frames: list[bytes] = []
        room = BATCH_BYTES
        for record in await self._log.read(run_id, after=after, limit=BATCH_EVENTS):
            if type(record.event) is RunEnded:
                await self._log.flush(run_id)
            frame = frame_of(record)
            room -= len(frame)
            if room < 0 and frames:
                break
            frames.append(frame)
            after = record.seq
        # Nothing there: it was damaged, and the feed goes on behind it.
        return b"".join(frames), after if frames else upto

    async def _say_if_lost(self, run_id: RunId, caller: Subject, send: Send) -> None:
        """A run whose process died has no last event."""
        try:
            state = await self._visibility.run(run_id, caller)
        except UnknownId:
            return
        if state.status == "lost":
            reason = state.outcome.error if state.outcome is not None else ""
            said = msgspec.json.encode({"status": "lost", "error": reason})
            await _write(send, b"event: lost\ndata: %b\n\n" % said)


async def _write(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})


def _cursor(scope: Scope) -> int | None:
    """Where the watcher was: what its browser remembers, else what the address says, else 0."""
    said = header(scope, b"last-event-id").strip()
    if not said:
        values = parse_qs(scope["query_string"].decode("latin-1")).get("after", ["0"])
        said = values[-1].strip()
    return int(said) if said.isascii() and said.isdecimal() and len(said) <= 15 else None


_BAD_CURSOR = Refusal(
    status=400,
    code="bad_cursor",
    message="the cursor must be the number of the last event seen",
    hint="Send it as ?after=NUMBER or in the header Last-Event-ID; 0 is the beginning.",
)
