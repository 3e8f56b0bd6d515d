"""The `SubagentPort` of this process: spawn, resume, steer, answer, wait, cancel, look, list."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import anyio

from bamboo_mcp.domain.errors import InvalidInput, RunClosed, UnknownId
from bamboo_mcp.domain.events import SteerQueued, SteerRefused
from bamboo_mcp.domain.ids import (
    QuestionId,
    RunId,
    SteerId,
    SubagentId,
    Subject,
    new_steer_id,
)
from bamboo_mcp.domain.questions import Answer
from bamboo_mcp.domain.runs import Delivery, Steer, SteerReceipt
from bamboo_mcp.domain.subagents import (
    MAX_STEER_CHARS,
    Subagent,
    SubagentSpec,
    WaitMode,
    WaitResult,
)
from bamboo_mcp.ports import EventLog, Questions, SessionStore
from bamboo_mcp.runs.board import RunBoard
from bamboo_mcp.subagents.births import Births
from bamboo_mcp.subagents.child import Child
from bamboo_mcp.subagents.directory import Directory
from bamboo_mcp.subagents.foreign import ForeignRuns
from bamboo_mcp.subagents.lifetimes import Lifetimes
from bamboo_mcp.subagents.silence import Silences
from bamboo_mcp.subagents.views import view_of_child, view_of_stored
from bamboo_mcp.subagents.waiting import Wait

CANCEL_S = 3.0
"""How long `cancel` waits for the cancelled to be gone before it reports them as they are."""
CHANGE_INTERVAL_S = 1.0
"""How often a waiting caller is told how far things are (mcp-surface, Progress while waiting)."""


class SubagentManager:
    def __init__(
        self,
        *,
        births: Births,
        lifetimes: Lifetimes,
        directory: Directory,
        sessions: SessionStore,
        log: EventLog,
        board: RunBoard,
        questions: Questions,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._births = births
        self._lifetimes = lifetimes
        self._directory = directory
        self._sessions = sessions
        self._log = log
        self._board = board
        self._questions = questions
        self._clock = clock
        self._foreign = ForeignRuns(directory=directory, sessions=sessions, log=log)
        self._silences = Silences(board, clock)

    async def spawn(self, spec: SubagentSpec) -> Subagent:
        if spec.idempotency_key:
            return await self.get(await self._births.spawn_once(spec), caller=spec.caller)
        return await self._view(await self._births.spawn(spec))

    async def resume(self, subagent_id: SubagentId, message: str, *, caller: Subject) -> Subagent:
        return await self._view(await self._births.resume(subagent_id, message, caller))

    async def steer(
        self,
        subagent_id: SubagentId,
        text: str,
        *,
        caller: Subject,
        delivery: Delivery = "next_round",
    ) -> SteerReceipt:
        if not text.strip():
            raise InvalidInput("the message is empty", hint="say what the subagent should know")
        if len(text) > MAX_STEER_CHARS:
            raise InvalidInput(
                f"the message has {len(text)} characters, at most {MAX_STEER_CHARS} are taken",
                hint="write the material to a file and name the file",
            )
        child = await self._directory.own(subagent_id, caller)
        steer = Steer(steer_id=new_steer_id(), text=text, delivery=delivery, at=self._clock())
        if child is None or child.ended:
            status = (await self.get(subagent_id, caller=caller)).status
            return SteerReceipt(
                steer_id=steer.steer_id,
                state="refused",
                text=text,
                reason=f"the subagent has ended: {status}; resume_subagent goes on with it",
            )
        # From here on without an await: the message is queued, or the event says that it is not.
        run_id = child.request.run_id
        try:
            self._log.append(
                run_id, SteerQueued(steer_id=steer.steer_id, text=text, delivery=delivery)
            )
            child.steer(steer)
        except RunClosed as error:
            refused = SteerReceipt(
                steer_id=steer.steer_id, state="refused", text=text, reason=error.message
            )
            if not child.ended and steer.steer_id in child.record.steers:
                self._log.append(
                    run_id, SteerRefused(steer_id=steer.steer_id, reason=error.message)
                )
            return refused
        return SteerReceipt(steer_id=steer.steer_id, state="queued", text=text)

    async def answer(
        self,
        subagent_id: SubagentId,
        question_id: QuestionId | None,
        answer: Answer,
        *,
        caller: Subject,
    ) -> bool:
        child = await self._directory.own(subagent_id, caller)
        if child is None or child.ended:
            return False
        if question_id is None:
            open_ids = list(child.record.questions)
            if len(open_ids) > 1:
                raise InvalidInput(
                    f"{len(open_ids)} questions are open: {', '.join(open_ids)}",
                    hint="name the question_id you answer",
                )
            if not open_ids:
                return False
            question_id = open_ids[0]
        elif question_id not in child.record.questions:
            return False
        return self._questions.answer(question_id, answer)

    async def cancel(
        self,
        subagent_id: SubagentId,
        *,
        caller: Subject,
        reason: str = "",
        descendants: bool = True,
    ) -> Sequence[Subagent]:
        child = await self._directory.own(subagent_id, caller)
        if child is None:
            return [await self.get(subagent_id, caller=caller)]
        family = [child]
        if descendants:
            family += self._lifetimes.descendants(subagent_id)
        # Deepest first, so that no parent sees a child end and starts another.
        for member in reversed(family):
            member.cancel(reason or "cancelled by the caller")
        with anyio.move_on_after(CANCEL_S):
            for member in family:
                await _ended(member)
        return [await self._view(member) for member in family]

    async def get(
        self, subagent_id: SubagentId, *, caller: Subject, run_id: RunId | None = None
    ) -> Subagent:
        child = await self._directory.newest(subagent_id, caller)
        if child is not None and run_id in (None, child.request.run_id):
            return await self._view(child)
        meta = await self._directory.stored(subagent_id, caller)
        if run_id is not None and run_id not in (*meta.earlier_runs, meta.run_id):
            raise UnknownId(
                f"subagent {subagent_id!r} has no run {run_id!r}",
                hint="get_subagent with include status names its runs",
            )
        return await view_of_stored(meta, await self._directory.state_of(meta, run_id), self._log)

    async def wait(
        self,
        subagent_ids: Sequence[SubagentId],
        *,
        caller: Subject,
        mode: WaitMode = "all",
        timeout_s: float = 25.0,
        seen: Mapping[SubagentId, int] | None = None,
        stall_s: float | None = None,
        on_change: Callable[[Sequence[Subagent]], None] | None = None,
    ) -> WaitResult:
        children = [
            self._mine(id, caller) or await self._awaitable(id, caller)
            for id in dict.fromkeys(subagent_ids)
        ]
        wait = Wait(children, mode, seen)
        deadline = anyio.current_time() + timeout_s
        woken = False
        async with anyio.create_task_group() as group:
            for child in children:
                if not child.ended and not child.own:
                    group.start_soon(self._foreign.follow, child)
            while not woken and (left := deadline - anyio.current_time()) > 0:
                step = min(left, CHANGE_INTERVAL_S) if on_change else left
                if stall_s is not None:
                    due = await self._silences.due_in(children, stall_s)
                    if due == 0:
                        break
                    step = step if due is None else min(step, due)
                woken = await wait.until_satisfied(step)
                if on_change and not woken:
                    on_change([await self._view(child) for child in children])
            group.cancel_scope.cancel()
        done = wait.holds()
        views = tuple([self._view_at_once(one) or await self._view(one) for one in children])
        for child in children:
            if child.spec.caller == caller:
                child.told_seq = child.changed_seq
        stalled = {} if stall_s is None else await self._silences.tell(children, stall_s)
        return WaitResult(subagents=views, done=done, stalled=stalled)

    async def list_subagents(
        self,
        *,
        caller: Subject,
        status: str | None = None,
        parent_id: SubagentId | None = None,
        limit: int = 20,
        before: float | None = None,
    ) -> Sequence[Subagent]:
        found: list[Subagent] = []
        while len(found) < limit:
            page = await self._sessions.list_sessions(
                limit=max(limit, 20), before=before, subagents_only=True
            )
            if not page:
                break
            for meta in page:
                if meta.spec is None or meta.subagent_id is None:
                    continue
                if parent_id is not None and meta.spec.parent_id != parent_id:
                    continue
                if not await self._directory.may_see(meta.spec, caller):
                    continue
                child = self._lifetimes.find(meta.subagent_id)
                if child is not None and child.request.run_id == meta.run_id:
                    one = await self._view(child)
                else:
                    one = await self.get(meta.subagent_id, caller=caller)
                if status is None or one.status == status:
                    found.append(one)
            before = page[-1].created_at
        return found[:limit]

    async def receipt(
        self, subagent_id: SubagentId, steer_id: SteerId, *, caller: Subject
    ) -> SteerReceipt:
        for receipt in (await self.get(subagent_id, caller=caller)).steers:
            if receipt.steer_id == steer_id:
                return receipt
        raise UnknownId(f"subagent {subagent_id!r} was never sent a message {steer_id!r}")

    def unfinished_of(self, caller: Subject) -> Sequence[SubagentId]:
        """What this caller has under way here, and what ended and no wait has told it yet."""
        mine = [
            child
            for child in self._lifetimes.known()
            if child.spec.caller == caller
            and (not child.ended or child.changed_seq > child.told_seq)
        ]
        return [child.subagent_id for child in sorted(mine, key=lambda c: c.created_at)]

    def _view_at_once(self, child: Child) -> Subagent | None:
        """Of one whose run is in memory, as nearly all are."""
        if not child.own:
            return None
        track = self._board.track(child.request.run_id)
        return None if track is None else view_of_child(child, track)

    async def _view(self, child: Child) -> Subagent:
        if (view := self._view_at_once(child)) is not None:
            return view
        run_id = child.request.run_id
        if not child.own:
            meta = (await self._sessions.load(child.request.session_id, limit=0)).meta
            state = await self._directory.state_of(meta, run_id)
            return await view_of_stored(meta, state, self._log)
        return view_of_child(child, await self._board.state(run_id))

    def _mine(self, subagent_id: SubagentId, caller: Subject) -> Child | None:
        """One that this caller spawned here: nothing has to be looked up to know it may wait.

        But for one that has ended and was told: another process may have resumed it since.
        """
        child = self._lifetimes.find(subagent_id)
        if child is None or child.spec.caller != caller:
            return None
        return None if child.ended and child.told_seq >= child.changed_seq else child

    async def _awaitable(self, subagent_id: SubagentId, caller: Subject) -> Child:
        child = await self._directory.newest(subagent_id, caller)
        if child is not None:
            return child
        return await self._foreign.stand_in(await self._directory.stored(subagent_id, caller))


async def _ended(child: Child) -> None:
    await Wait([child], "all", {child.subagent_id: child.changed_seq}).until_satisfied(CANCEL_S)
