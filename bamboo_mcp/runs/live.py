"""The latest events of one run in memory, and the bell its followers wait for."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from bamboo_mcp.domain.events import EventRecord, RunEnded


class LiveRun:
    """Keeps the last `keep` records at least (all when None), and at most twice as many.

    A reader that needs older ones is told so.
    """

    __slots__ = ("_bell", "_keep", "ended", "last_seq", "records")

    def __init__(self, *, last_seq: int = 0, keep: int | None = None) -> None:
        # A list cut now and then: an empty deque takes ten times its room, times every run.
        self.records: list[EventRecord] = []
        self._keep = keep
        self.last_seq = last_seq
        self.ended = False
        self._bell: anyio.Event | None = None

    def push(self, record: EventRecord) -> None:
        self.records.append(record)
        if self._keep is not None and len(self.records) > 2 * self._keep:
            del self.records[: -self._keep]
        self.last_seq = record.seq
        if type(record.event) is RunEnded:
            self.ended = True
        if self._bell is not None:
            self._bell.set()
            self._bell = None

    def since(self, after: int, limit: int | None = None) -> Sequence[EventRecord] | None:
        """The records behind `after`, or None when some of them are no longer here."""
        count = self.last_seq - after
        if count <= 0:
            return ()
        held = len(self.records)
        if count > held:
            return None
        start = held - count
        return self.records[start:] if limit is None else self.records[start : start + limit]

    async def wait(self) -> None:
        """Return after the next `push`. No await lies between a look at `since` and this."""
        if self._bell is None:
            self._bell = anyio.Event()
        await self._bell.wait()
