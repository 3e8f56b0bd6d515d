"""The lives of this process's subagents: one task owns one child, from its birth to its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import anyio
import msgspec
from anyio.abc import TaskGroup

from bamboo_mcp.domain.errors import BambooError
from bamboo_mcp.domain.events import EventRecord, RunEnded, SubagentEnded, SubagentSpawned
from bamboo_mcp.domain.ids import RunId, SubagentId
from bamboo_mcp.domain.runs import Outcome
from bamboo_mcp.ports import EventLog, Launcher
from bamboo_mcp.runs.execution import STOPPED, RunExecution
from bamboo_mcp.subagents.child import OBSERVED, Child

logger = logging.getLogger(__name__)

KEPT_ENDED = 1_000
"""Ended subagents kept in memory; older ones are read from disk."""


class Lifetimes:
    """Children by id, and the tasks that run them in `group`, which `app` owns and cancels.

    `observe` must be called with every record of the event log whose event is one of `KINDS`.
    `release` frees the session of a run whose end could not be written. `on_end` is told of each
    end once it is safe on the disk; it neither blocks nor raises.
    """

    KINDS = frozenset((*OBSERVED, RunEnded))

    def __init__(
        self,
        *,
        group: TaskGroup,
        log: EventLog,
        execution: RunExecution,
        max_concurrent: int,
        release: Callable[[RunId], None],
        on_end: Callable[[Child, Outcome], None] = lambda child, outcome: None,
    ) -> None:
        self._release = release
        self._on_end = on_end
        self._group = group
        self._log = log
        self._execution = execution
        self._max_concurrent = max_concurrent
        self._places: dict[int, anyio.Semaphore] = {}
        self._children: dict[SubagentId, Child] = {}
        self._by_run: dict[RunId, Child] = {}
        self._unfinished: set[SubagentId] = set()
        self._offspring: dict[SubagentId, set[SubagentId]] = {}
        """Unfinished children by parent."""

    def find(self, subagent_id: SubagentId) -> Child | None:
        return self._children.get(subagent_id)

    def unfinished(self) -> Sequence[Child]:
        return [self._children[id] for id in self._unfinished]

    def known(self) -> Sequence[Child]:
        """All that are still in memory, the ended ones too."""
        return list(self._children.values())

    @property
    def unfinished_count(self) -> int:
        return len(self._unfinished)

    def descendants(self, subagent_id: SubagentId) -> Sequence[Child]:
        """Unfinished children of `subagent_id`, and theirs, nearest first."""
        found: list[Child] = []
        level = list(self._offspring.get(subagent_id, ()))
        while level:
            found += (self._children[id] for id in level)
            level = [grand for id in level for grand in self._offspring.get(id, ())]
        return found

    def register(self, child: Child) -> None:
        """Make the child known: it counts from now on, and its events are followed."""
        self._children[child.subagent_id] = child
        self._by_run[child.request.run_id] = child
        self._unfinished.add(child.subagent_id)
        if child.spec.parent_id is not None:
            self._offspring.setdefault(child.spec.parent_id, set()).add(child.subagent_id)

    def replace(self, child: Child) -> None:
        """As `register`, for a new run of one that has ended."""
        self.forget(child.subagent_id)
        self.register(child)

    def forget(self, subagent_id: SubagentId) -> None:
        """Leave one that has ended to the disk: another process may have resumed it."""
        if (child := self._children.get(subagent_id)) is not None and child.ended:
            self.withdraw(child)

    def withdraw(self, child: Child) -> None:
        """The birth failed: as if it had never been."""
        self._children.pop(child.subagent_id, None)
        self._by_run.pop(child.request.run_id, None)
        self._finish(child)

    def start(self, child: Child, launcher: Launcher) -> None:
        if child.spec.parent_id is not None:
            self._tell_parent(
                child.spec.parent_id,
                SubagentSpawned(
                    subagent_id=child.subagent_id,
                    run_id=child.request.run_id,
                    title=child.spec.title,
                ),
            )
        self._group.start_soon(self._live, child, launcher, name=child.subagent_id)

    def observe(self, record: EventRecord) -> None:
        kind = type(record.event)
        if kind is RunEnded:
            if child := self._by_run.get(record.run_id):
                child.changed_at(record.seq)
                child.run_ended = True
        elif kind in OBSERVED and (child := self._by_run.get(record.run_id)):
            if child.record.observe(record.event):
                child.changed_at(record.seq)
                child.changed()

    async def _live(self, child: Child, launcher: Launcher) -> None:
        outcome = STOPPED
        places = self._places_at(child.spec.depth)
        try:
            # Mostly a place is free: then nothing is waited for.
            if self._place_at_once(child, places) or await self._place(child, places):
                try:
                    async with launcher.launch(child.spec, child.request) as link:
                        child.connect(link)
                        result = await link.result()
                    outcome = result
                finally:
                    places.release()
            else:
                reason = child.cancel_reason or ""
                outcome = Outcome(status="cancelled", error_code="cancelled", error=reason)
        except BambooError as error:
            outcome = Outcome(status="error", error_code=error.code, error=error.message)
        except Exception:
            logger.exception("subagent %s could not be run", child.subagent_id)
            outcome = Outcome(
                status="error", error_code="internal", error="the launcher failed inside"
            )
        finally:
            self.end(child, outcome)

    def end(self, child: Child, outcome: Outcome) -> None:
        """Its life is over, or never began."""
        if not child.run_ended:
            # It never came to execution, or nobody wrote its end: also when we are cancelled.
            outcome = msgspec.structs.replace(
                outcome, undelivered=outcome.undelivered + tuple(child.waiting_steers)
            )
            self._execution.end_unstarted(child.request, outcome)
            if not child.run_ended:
                self._release(child.request.run_id)
        self._end(child, outcome)

    def _places_at(self, depth: int) -> anyio.Semaphore:
        places = self._places.get(depth)
        if places is None:
            places = anyio.Semaphore(self._max_concurrent, fast_acquire=True)
            self._places[depth] = places
        return places

    def _place_at_once(self, child: Child, places: anyio.Semaphore) -> bool:
        if child.cancel_reason is not None:
            return False
        try:
            places.acquire_nowait()
        except anyio.WouldBlock:
            return False
        return True

    async def _place(self, child: Child, places: anyio.Semaphore) -> bool:
        """Wait for a place. False, without one, when cancelled before."""
        if child.cancel_reason is not None:
            return False
        held = False
        with anyio.CancelScope() as waiting:
            child.waiting_for_slot = waiting
            await places.acquire()
            held = True
        child.waiting_for_slot = None
        if held and child.cancel_reason is not None:
            places.release()
            held = False
        return held

    def _end(self, child: Child, outcome: Outcome) -> None:
        self._finish(child)
        child.end(outcome)
        self._on_end(child, outcome)
        # What a finished agent started can serve nobody any more (architecture: no orphans).
        if child.subagent_id in self._offspring:
            for orphan in self.descendants(child.subagent_id):
                orphan.cancel("its parent ended")
        if child.spec.parent_id is not None:
            self._tell_parent(
                child.spec.parent_id,
                SubagentEnded(
                    subagent_id=child.subagent_id,
                    run_id=child.request.run_id,
                    status=outcome.status,
                ),
            )
        self._forget_old()

    def _finish(self, child: Child) -> None:
        self._unfinished.discard(child.subagent_id)
        if child.spec.parent_id is None:
            return
        siblings = self._offspring.get(child.spec.parent_id)
        if siblings is not None:
            siblings.discard(child.subagent_id)
            if not siblings:
                del self._offspring[child.spec.parent_id]

    def _tell_parent(self, parent_id: SubagentId, event: SubagentSpawned | SubagentEnded) -> None:
        parent = self._children.get(parent_id)
        if parent is None or parent.ended:
            return
        try:
            self._log.append(parent.request.run_id, event)
        except BambooError:
            logger.warning("run %s could not note a child's event", parent.request.run_id)

    def _forget_old(self) -> None:
        if len(self._children) - len(self._unfinished) <= KEPT_ENDED:
            return
        oldest = next(child for child in self._children.values() if child.ended)
        self.withdraw(oldest)
