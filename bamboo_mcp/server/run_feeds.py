"""The events of runs as server-sent events: encoded once, and read by each watcher at its own pace.

A run that is watched has one feed. It follows the event log, and keeps the latest frames; a watcher
is a number, the last event it has seen. One that is behind what the feed keeps reads the log, so a
watcher that stops costs nobody anything, and a late one misses nothing.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import aclosing, contextmanager

import anyio
import msgspec
from anyio.abc import TaskGroup

from bamboo_mcp.domain.errors import BambooError
from bamboo_mcp.domain.events import EventRecord, RunEnded, RunEvent
from bamboo_mcp.domain.ids import RunId
from bamboo_mcp.domain.value import Value
from bamboo_mcp.ports import EventLog

logger = logging.getLogger(__name__)

BATCH_EVENTS = 256
BATCH_BYTES = 65_536
"""Of one write, unless a single event is larger."""
KEPT_EVENTS = 4_096
KEPT_BYTES = 1_048_576


class EventLine(Value, frozen=True, kw_only=True, gc=False):
    """An event as clients read it; the run is known from the address."""

    seq: int
    at: float
    event: RunEvent


_encode = msgspec.json.Encoder().encode


def line_of(record: EventRecord) -> bytes:
    return _encode(EventLine(seq=record.seq, at=record.at, event=record.event))


def frame_of(record: EventRecord) -> bytes:
    """A server-sent event. JSON has no bare line break, so the data is always one line."""
    return b"id: %d\ndata: %b\n\n" % (record.seq, line_of(record))


class RunFeed:
    """The latest frames of one run, and the bell its watchers wait for."""

    def __init__(self, after: int) -> None:
        self.base = after
        """The event before the first kept frame."""
        self.ended = False
        self.watchers = 0
        self._frames: list[bytes] = []
        self._ends: list[int] = []
        """Where each frame ends, counted in bytes since the feed began."""
        self._dropped = 0
        self._last: tuple[int, bytes, int] = (-1, b"", 0)
        self._bell = anyio.Event()

    @property
    def top(self) -> int:
        return self.base + len(self._frames)

    def push(self, record: EventRecord) -> None:
        # A damaged event of a file is stepped over: its place stays, empty.
        for _ in range(self.top + 1, record.seq):
            self._add(b"")
        self._add(frame_of(record))
        if len(self._frames) > 2 * KEPT_EVENTS or self._ends[-1] - self._dropped > 2 * KEPT_BYTES:
            self._trim()
        self._bell.set()

    def end(self) -> None:
        self.ended = True
        self._bell.set()

    def since(self, after: int) -> tuple[bytes, int] | None:
        """Frames behind `after` for one write and the last event in them; None: no longer here.

        Watchers that are equally far get the same bytes.
        """
        if after < self.base:
            return None
        if after >= self.top:
            return b"", after
        if self._last[0] != after:
            start = after - self.base
            bound = (self._ends[start - 1] if start else self._dropped) + BATCH_BYTES
            stop = min(bisect_right(self._ends, bound, start), start + BATCH_EVENTS)
            stop = max(stop, start + 1)
            self._last = (after, b"".join(self._frames[start:stop]), self.base + stop)
        return self._last[1], self._last[2]

    async def wait(self) -> None:
        """Return after the next `push` or `end`. No await lies between `since` and this."""
        if self._bell.is_set():
            self._bell = anyio.Event()
        await self._bell.wait()

    def _add(self, frame: bytes) -> None:
        self._frames.append(frame)
        self._ends.append((self._ends[-1] if self._ends else self._dropped) + len(frame))

    def _trim(self) -> None:
        first = max(0, len(self._frames) - KEPT_EVENTS)
        first = max(first, bisect_right(self._ends, self._ends[-1] - KEPT_BYTES))
        first = min(first, len(self._frames) - 1)
        self._dropped = self._ends[first - 1] if first else self._dropped
        del self._frames[:first], self._ends[:first]
        self.base += first
        self._last = (-1, b"", 0)


class RunFeeds:
    """A feed for each watched run. `group` runs what follows the logs; its owner ends it."""

    def __init__(self, log: EventLog, group: TaskGroup) -> None:
        self._log = log
        self._group = group
        self._feeds: dict[RunId, tuple[RunFeed, anyio.CancelScope]] = {}
        self.closing = False

    @property
    def watchers(self) -> int:
        return sum(feed.watchers for feed, _ in self._feeds.values())

    @contextmanager
    def watching(self, run_id: RunId, after: int) -> Iterator[RunFeed]:
        """The run's feed, with everything behind `after` unless it was begun before."""
        found = self._feeds.get(run_id)
        if found is None:
            found = self._feeds[run_id] = RunFeed(after), anyio.CancelScope()
            self._group.start_soon(self._follow, run_id, *found)
        feed, following = found
        feed.watchers += 1
        try:
            yield feed
        finally:
            feed.watchers -= 1
            if not feed.watchers:
                del self._feeds[run_id]
                following.cancel()

    def close(self) -> None:
        """Let every watcher finish: they come back, to another server, with their cursor."""
        self.closing = True
        for feed, _ in self._feeds.values():
            feed.end()

    async def _follow(self, run_id: RunId, feed: RunFeed, following: anyio.CancelScope) -> None:
        with following:
            try:
                async with aclosing(self._log.follow(run_id, after=feed.base)) as records:  # type: ignore[type-var]
                    async for record in records:
                        if type(record.event) is RunEnded:
                            # Nobody is told of an end that could still be lost.
                            await self._log.flush(run_id)
                        feed.push(record)
            except BambooError as error:
                logger.warning("run %s is not followed any more: %s", run_id, error)
            finally:
                feed.end()
