"""The state of every run: kept by listening to the log, or folded from it for runs of others."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from bamboo_mcp.domain.errors import RunBusy, UnknownId
from bamboo_mcp.domain.events import EventRecord, RunPicture
from bamboo_mcp.domain.ids import OwnerId, RunId, SessionId, SubagentId, new_run_id
from bamboo_mcp.domain.questions import Question
from bamboo_mcp.domain.runs import RunState, RunStatus
from bamboo_mcp.ports import EventLog
from bamboo_mcp.runs.listeners import Kinds, Listener
from bamboo_mcp.runs.track import RunTrack

logger = logging.getLogger(__name__)

_ENDED_KEPT = 1000
_FOREIGN_KEPT = 200
_PAGE = 1000

StatusListener: TypeAlias = Callable[[RunId, RunStatus], None]


class ListenableLog(EventLog, Protocol):
    """An event log that tells of what this process appends, all of it or some kinds of events."""

    def listen(self, listener: Listener, kinds: Kinds | None = None) -> Callable[[], None]: ...


class RunBoard:
    """Implements `ports.Runs`. Runs of this process cost a lookup, those of others a short read.

    A session has at most one unfinished run in a process: `reserve` holds its place from before the
    first event until `RunEnded` (or `release`, for a run that never began). For a session that
    other processes may know, take `RunExecution.reserve`: it asks them too.
    """

    def __init__(
        self, log: ListenableLog, owner: OwnerId, alive: Callable[[OwnerId], bool]
    ) -> None:
        self._log = log
        self._owner = owner
        self._alive = alive
        self._own: dict[RunId, RunTrack] = {}
        self._ended: OrderedDict[RunId, RunTrack] = OrderedDict()
        self._foreign: OrderedDict[RunId, RunTrack] = OrderedDict()
        self._busy: dict[SessionId, RunId] = {}
        self._listeners: tuple[StatusListener, ...] = ()
        self._remove = log.listen(self._note)

    def close(self) -> None:
        """Stop listening to the log."""
        self._remove()

    def reserve(self, session_id: SessionId, subagent_id: SubagentId | None = None) -> RunId:
        """A new run for a session, `pending` until its first event.

        Raises:
            RunBusy: The session has an unfinished run in this process; carries its id.
        """
        running = self._busy.get(session_id)
        if running is not None:
            raise busy(session_id, running)
        run_id = new_run_id()
        self._busy[session_id] = run_id
        self._own[run_id] = RunTrack(
            run_id, session_id=session_id, subagent_id=subagent_id, owner=self._owner
        )
        return run_id

    def release(self, run_id: RunId) -> None:
        """Free the session of a run that never began, or whose end could not be written."""
        track = self._own.pop(run_id, None)
        if track is not None:
            self._free(track)

    def forget(self, run_id: RunId) -> None:
        """Drop what is remembered of a run; its log still tells it."""
        self.release(run_id)
        self._ended.pop(run_id, None)
        self._foreign.pop(run_id, None)

    def alive(self, owner: OwnerId) -> bool:
        """Whether the process that calls itself `owner` still lives; ours does."""
        return owner == self._owner or self._alive(owner)

    def track(self, run_id: RunId) -> RunTrack | None:
        """A run of this process as it is now, to be looked at and not kept.

        None for a run of another process, and for one that ended long ago: `state` finds those.
        """
        return self._own.get(run_id) or self._ended.get(run_id)

    async def state(self, run_id: RunId) -> RunState:
        return (self.track(run_id) or await self._fold(run_id)).state()

    async def picture(self, run_id: RunId) -> RunPicture:
        return (self.track(run_id) or await self._fold(run_id)).picture()

    async def questions(self, run_id: RunId) -> Sequence[Question]:
        """What the run waits to be told, oldest first. Raises `UnknownId`."""
        track = self.track(run_id) or await self._fold(run_id)
        return tuple(track.questions.values())

    def listen(self, listener: StatusListener) -> Callable[[], None]:
        """Tell `listener` of each change of status of this process's runs, inline and at once.

        It must neither block nor raise. The returned function takes it away again.
        """
        self._listeners = (*self._listeners, listener)

        def remove() -> None:
            self._listeners = tuple(one for one in self._listeners if one is not listener)

        return remove

    def _note(self, record: EventRecord) -> None:
        """One event of this process; called by the log for each of them, so it must be cheap."""
        track = self._own.get(record.run_id)
        if track is None:
            track = self._own[record.run_id] = RunTrack(record.run_id, owner=self._owner)
        if not track.apply(record):
            return
        if track.ended_at is not None:
            self._end(track)
        for listener in self._listeners:
            try:
                listener(track.run_id, track.status)
            except (Exception, SystemExit):
                logger.exception("status listener %r raised and is dropped", listener)
                self._listeners = tuple(one for one in self._listeners if one is not listener)

    def _end(self, track: RunTrack) -> None:
        self._own.pop(track.run_id, None)
        self._foreign.pop(track.run_id, None)
        self._free(track)
        self._ended[track.run_id] = track
        if len(self._ended) > _ENDED_KEPT:
            self._ended.popitem(last=False)

    def _free(self, track: RunTrack) -> None:
        if self._busy.get(track.session_id) == track.run_id:
            del self._busy[track.session_id]

    async def _fold(self, run_id: RunId) -> RunTrack:
        """Read what is new in the log of a run that this process does not work on."""
        track = self._foreign.get(run_id) or RunTrack(run_id)
        if track.ended_at is None:
            # Asked before reading: what a dying owner wrote last is then still read.
            alive = track.owner is not None and self.alive(track.owner)
            await self._read_on(track)
            if track.last_seq == 0:
                raise UnknownId(f"there is no run {run_id!r}")
            if not alive and track.ended_at is None and track.owner is not None:
                alive = self.alive(track.owner)
                await self._read_on(track)
            if not alive and track.ended_at is None:
                track.lose()
        self._foreign[run_id] = track
        self._foreign.move_to_end(run_id)
        if len(self._foreign) > _FOREIGN_KEPT:
            self._foreign.popitem(last=False)
        return track

    async def _read_on(self, track: RunTrack) -> None:
        while True:
            records = await self._log.read(track.run_id, after=track.last_seq, limit=_PAGE)
            for record in records:
                # Two readers of one track may have fetched the same page.
                if record.seq > track.last_seq:
                    track.apply(record)
            if not records:
                return


def busy(session_id: SessionId, running: RunId) -> RunBusy:
    return RunBusy(
        f"session {session_id!r} has the run {running!r} under way",
        run_id=running,
        hint="wait for it, steer it, or cancel it",
    )
