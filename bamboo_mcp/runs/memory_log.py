"""The event log in memory, for tests and for runs nobody will ask about later."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence

from bamboo_mcp.domain.errors import RunClosed, UnknownId
from bamboo_mcp.domain.events import EventRecord, RunEvent
from bamboo_mcp.domain.ids import RunId
from bamboo_mcp.runs.listeners import Kinds, Listener, Listeners
from bamboo_mcp.runs.live import LiveRun


def closed(run_id: str) -> RunClosed:
    return RunClosed(f"run {run_id!r} has ended; nothing follows its last event")


def unknown(run_id: str) -> UnknownId:
    return UnknownId(f"there is no run {run_id!r}")


class MemoryEventLog:
    """An `EventLog` that forgets nothing while it lives and everything after."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._runs: dict[RunId, LiveRun] = {}
        self._listeners = Listeners()
        self._clock = clock

    def append(self, run_id: RunId, event: RunEvent) -> EventRecord:
        run = self._runs.get(run_id)
        if run is None:
            run = self._runs[run_id] = LiveRun()
        elif run.ended:
            raise closed(run_id)
        record = EventRecord(run_id=run_id, seq=run.last_seq + 1, at=self._clock(), event=event)
        run.push(record)
        self._listeners.tell(record)
        return record

    async def follow(self, run_id: RunId, *, after: int = 0) -> AsyncIterator[EventRecord]:
        run = self._run(run_id)
        while True:
            for record in run.since(after) or ():
                after = record.seq
                yield record
            if after < run.last_seq:
                continue
            if run.ended:
                return
            await run.wait()

    async def read(
        self, run_id: RunId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[EventRecord]:
        return self._run(run_id).since(max(0, after), limit) or ()

    async def flush(self, run_id: RunId) -> None:
        """Nothing to do: memory survives nothing."""

    def listen(self, listener: Listener, kinds: Kinds | None = None) -> Callable[[], None]:
        """Tell `listener` of every event, or of those of `kinds`, until the returned is called."""
        return self._listeners.add(listener, kinds)

    def exists(self, run_id: RunId) -> bool:
        return run_id in self._runs

    async def runs(self) -> Sequence[RunId]:
        return list(self._runs)

    def _run(self, run_id: RunId) -> LiveRun:
        run = self._runs.get(run_id)
        if run is None:
            raise unknown(run_id)
        return run
