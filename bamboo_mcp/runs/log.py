"""The event log on disk: a journal a run, the latest in memory, followers at their own pace."""

from __future__ import annotations

import logging
import os
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from bamboo_mcp.disk.calls import file_size
from bamboo_mcp.disk.encoding import encode
from bamboo_mcp.disk.journal import Journal, Page, read_journal
from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.disk.layout import is_plain, runs_folder
from bamboo_mcp.disk.lines import Record
from bamboo_mcp.domain.errors import UnknownId
from bamboo_mcp.domain.events import EventRecord, RunEnded, RunEvent, RunQueued, RunStarted
from bamboo_mcp.domain.ids import OwnerId, RunId
from bamboo_mcp.domain.value import Value
from bamboo_mcp.runs.listeners import Kinds, Listener, Listeners
from bamboo_mcp.runs.live import LiveRun
from bamboo_mcp.runs.memory_log import closed, unknown

logger = logging.getLogger(__name__)

KIND = "run"
BEGINNINGS = (RunQueued, RunStarted)
"""The events a run's log can begin with; they name the owner."""
_KEPT = 1000
_ENDED_KEPT = 32
_PAGE = 1000


class StoredEvent(Value, frozen=True, kw_only=True, gc=False):
    """The JSON of a line; the run is the folder's name, the number is the line's own."""

    at: float
    event: RunEvent


_decode = msgspec.json.Decoder(StoredEvent).decode


class _OpenRun(LiveRun):
    """A run this process writes."""

    __slots__ = ("journal",)

    def __init__(self, journal: Journal) -> None:
        super().__init__(last_seq=journal.last_seq - 1, keep=_KEPT)  # whose record comes next
        self.journal = journal


class FileEventLog:
    """The `EventLog` of a home folder, in `<home>/runs/<run_id>/events.jsonl`.

    `alive` tells whether the process that owns a run still lives; it ends the wait for more events
    of a run whose process is gone. Runs of other processes are read, and polled every `poll_s`.
    """

    def __init__(
        self,
        home: Path,
        journals: Journals,
        *,
        alive: Callable[[OwnerId], bool] | None = None,
        clock: Callable[[], float] = time.time,
        poll_s: float = 0.1,
    ) -> None:
        self._folder = runs_folder(home)
        self._prefix = f"{self._folder}{os.sep}"
        self._journals = journals
        self._alive = alive
        self._clock = clock
        self._poll_s = poll_s
        self._open: dict[RunId, _OpenRun] = {}
        self._ended: OrderedDict[RunId, _OpenRun] = OrderedDict()
        self._listeners = Listeners()

    def append(self, run_id: RunId, event: RunEvent) -> EventRecord:
        at = self._clock()
        line = encode(StoredEvent(at=at, event=event))
        run = self._open.get(run_id)
        if run is None:
            run = self._begin(run_id, line)
            seq = run.journal.last_seq
        else:
            seq = run.journal.append(line)
        record = EventRecord(run_id=run_id, seq=seq, at=at, event=event)
        run.push(record)
        if run.ended:
            self._end(run_id, run)
        self._listeners.tell(record)
        return record

    async def follow(self, run_id: RunId, *, after: int = 0) -> AsyncIterator[EventRecord]:
        run = self._held(run_id)
        if run is None:
            async for record in self._follow_file(run_id, after):
                yield record
            return
        while True:
            batch = run.since(after)
            if batch is None:
                batch = await self._read_file(run_id, after, _PAGE)
                if not batch:
                    after = run.last_seq - len(run.records)  # the rest is damaged on disk
            for record in batch:
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
        after = max(0, after)
        run = self._held(run_id)
        batch = run.since(after, limit) if run is not None else None
        if batch is None:
            return await self._read_file(run_id, after, limit)
        return batch

    async def flush(self, run_id: RunId) -> None:
        run = self._held(run_id)
        if run is not None:
            await self._journals.flush(run.journal)
        else:
            await self._journals.flush_file(Path(self._path(run_id)))

    def listen(self, listener: Listener, kinds: Kinds | None = None) -> Callable[[], None]:
        """Tell `listener` of every event this process appends, or of those of `kinds`.

        It is called inline: it must neither block nor raise. What it raises is logged. The
        returned function takes it away again.
        """
        return self._listeners.add(listener, kinds)

    def exists(self, run_id: RunId) -> bool:
        return self._held(run_id) is not None or Path(self._path(run_id)).exists()

    async def runs(self) -> Sequence[RunId]:
        """Every run of the home folder, in no order."""
        return await anyio.to_thread.run_sync(self._list)

    def _list(self) -> list[RunId]:
        try:
            names = [entry.name for entry in self._folder.iterdir()]
        except FileNotFoundError:
            return []
        return [RunId(name) for name in names if is_plain(name)]

    def _path(self, run_id: RunId) -> str:
        if not is_plain(run_id):
            raise unknown(run_id)
        return f"{self._prefix}{run_id}{os.sep}events.jsonl"

    def _held(self, run_id: RunId) -> _OpenRun | None:
        return self._open.get(run_id) or self._ended.get(run_id)

    def _begin(self, run_id: RunId, first: bytes) -> _OpenRun:
        """The log of a new run, or one that another process left unfinished, with one more line."""
        if run_id in self._ended:
            raise closed(run_id)
        path = self._path(run_id)
        try:
            journal = self._journals.create(path, KIND, encode({"run_id": run_id}), (first,))
        except FileExistsError:
            journal = self._reopen(run_id, path, first)
        run = self._open[run_id] = _OpenRun(journal)
        return run

    def _reopen(self, run_id: RunId, path: str, line: bytes) -> Journal:
        journal = self._journals.open(path, KIND, shared=True)
        try:
            last = self._records(run_id, read_journal(path, KIND, tail=1).records)
            if last and isinstance(last[-1].event, RunEnded):
                raise closed(run_id)
            journal.append(line)
        except BaseException:
            journal.close()
            raise
        return journal

    def _end(self, run_id: RunId, run: _OpenRun) -> None:
        del self._open[run_id]
        run.journal.close()
        self._ended[run_id] = run
        if len(self._ended) > _ENDED_KEPT:
            self._ended.popitem(last=False)

    async def _read_file(self, run_id: RunId, after: int, limit: int) -> Sequence[EventRecord]:
        page = await anyio.to_thread.run_sync(self._page, run_id, after, limit)
        return self._records(run_id, page.records)

    def _page(self, run_id: RunId, after: int, limit: int) -> Page:
        path = self._path(run_id)
        try:
            page = read_journal(path, KIND, after=after, limit=limit)
        except UnknownId as error:
            raise unknown(run_id) from error
        for damage in page.damage:
            logger.warning("run %s: damaged event stepped over: %s", run_id, damage)
        return page

    def _records(self, run_id: RunId, records: Iterable[Record]) -> list[EventRecord]:
        found: list[EventRecord] = []
        for seq, payload in records:
            try:
                stored = _decode(payload)
            except msgspec.DecodeError as error:
                # Whole, but of a kind this version does not know.
                logger.warning("run %s: event %d stepped over: %s", run_id, seq, error)
                continue
            found.append(EventRecord(run_id=run_id, seq=seq, at=stored.at, event=stored.event))
        return found

    async def _follow_file(self, run_id: RunId, after: int) -> AsyncIterator[EventRecord]:
        """Follow a run that another process writes, or that is over."""
        path = Path(self._path(run_id))
        first = await self._read_file(run_id, 0, 1)
        owner = first[0].event.owner if first and isinstance(first[0].event, BEGINNINGS) else None
        seen_size, looked = -1, False
        while True:
            # Asked before reading: what a dying owner wrote last is then still read.
            gone = self._alive is not None and (owner is None or not self._alive(owner))
            size = file_size(path)
            if size != seen_size:
                page = await anyio.to_thread.run_sync(self._page, run_id, after, _PAGE)
                for record in self._records(run_id, page.records):
                    yield record
                    if isinstance(record.event, RunEnded):
                        return
                if page.records:
                    after = page.records[-1].seq
                    continue
                seen_size = size
            if gone or (not looked and await self._is_over(run_id)):
                return
            looked = True  # from now on the end can only be something new
            await anyio.sleep(self._poll_s)

    async def _is_over(self, run_id: RunId) -> bool:
        """Whether the last event is there already, for a follower that starts behind it."""
        page = await anyio.to_thread.run_sync(
            lambda: read_journal(self._path(run_id), KIND, tail=1)
        )
        last = self._records(run_id, page.records)
        return bool(last) and isinstance(last[-1].event, RunEnded)
