"""How a subagent that has ended goes on: a new run over its session, with all it has there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from bamboo_mcp.domain.errors import BambooError, InvalidInput, LimitReached, RunBusy
from bamboo_mcp.domain.ids import OwnerId, RunId, SessionId, SubagentId, Subject
from bamboo_mcp.domain.messages import (
    Message,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
    user_message,
)
from bamboo_mcp.domain.runs import TERMINAL, Outcome
from bamboo_mcp.domain.subagents import MAX_TASK_CHARS
from bamboo_mcp.ports import EventLog, SessionStore
from bamboo_mcp.runs.board import RunBoard
from bamboo_mcp.runs.execution import STOPPED
from bamboo_mcp.runs.reservation import reserve_across_processes
from bamboo_mcp.subagents.admission import Admission
from bamboo_mcp.subagents.child import Child
from bamboo_mcp.subagents.directory import Directory
from bamboo_mcp.subagents.forking import open_calls
from bamboo_mcp.subagents.lifetimes import Lifetimes

MAX_RUNS = 1_000
"""Of one subagent; its record names them all."""

_NOT_KNOWN = "not known: the server process died while this call was under way"


class Resuming:
    def __init__(
        self,
        *,
        admission: Admission,
        lifetimes: Lifetimes,
        directory: Directory,
        sessions: SessionStore,
        log: EventLog,
        board: RunBoard,
        owner: OwnerId,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._admission = admission
        self._lifetimes = lifetimes
        self._directory = directory
        self._sessions = sessions
        self._log = log
        self._board = board
        self._owner = owner
        self._clock = clock

    async def resume(self, subagent_id: SubagentId, message: str, caller: Subject) -> Child:
        """Check, reserve, write the message down, start.

        Raises:
            RunBusy: It has a run under way, here or in another process.
            BambooError: It is as it was, or, when its message could not be written, the new run
                is there and ended as an error.
        """
        _check(message)
        meta = await self._directory.stored(subagent_id, caller)
        assert meta.spec is not None
        state = await self._directory.state_of(meta)
        if state.status not in TERMINAL:
            raise _under_way(subagent_id, state.run_id)
        if len(meta.earlier_runs) >= MAX_RUNS:
            raise LimitReached(
                f"subagent {subagent_id!r} has had {MAX_RUNS} runs and takes no more",
                hint="spawn another one",
            )
        spec = await self._admission.complete_again(meta.spec)
        self._admission.check_task(spec, self._lifetimes.unfinished_count)
        run_id = await self._reserve(subagent_id, meta.session_id)
        # Known without an await since its first event, so that it can be steered and cancelled.
        request = self._admission.request(spec, subagent_id, meta.session_id, run_id)
        child = Child(spec, request, meta.created_at, (*meta.earlier_runs, state.run_id))
        self._lifetimes.replace(child)
        try:
            await self._say(child, message)
        except BaseException as error:
            outcome = STOPPED
            if isinstance(error, BambooError):
                outcome = Outcome(status="error", error_code=error.code, error=error.message)
            self._lifetimes.end(child, outcome)
            raise
        self._lifetimes.start(child, self._admission.launcher(spec))
        return child

    async def _reserve(self, subagent_id: SubagentId, session_id: SessionId) -> RunId:
        try:
            return await reserve_across_processes(
                session_id,
                subagent_id,
                board=self._board,
                sessions=self._sessions,
                log=self._log,
                owner=self._owner,
            )
        except RunBusy as error:
            raise _under_way(subagent_id, RunId(error.run_id)) from error

    async def _say(self, child: Child, message: str) -> None:
        now = self._clock()
        async with self._sessions.open(child.request.session_id) as conversation:
            # Another process may have had a run in between.
            child.earlier_runs = conversation.meta.earlier_runs
            if left := open_calls(conversation.messages):
                # A history with an unanswered call is refused by all services.
                conversation.append(_answers(left, now))
            conversation.append(user_message(message, at=now))
            await conversation.flush()


def _check(message: str) -> None:
    if not message.strip():
        raise InvalidInput("the message is empty", hint="say what the subagent should do now")
    if len(message) > MAX_TASK_CHARS:
        raise InvalidInput(
            f"the message has {len(message)} characters, at most {MAX_TASK_CHARS} are taken",
            hint="write the material to a file and name the file",
        )


def _answers(calls: Sequence[ToolCallBlock], now: float) -> Message:
    return Message(
        role="user",
        blocks=tuple(
            ToolResultBlock(
                call_id=call.id,
                name=call.name,
                content=(TextBlock(text=_NOT_KNOWN),),
                is_error=True,
            )
            for call in calls
        ),
        at=now,
    )


def _under_way(subagent_id: SubagentId, run_id: RunId) -> RunBusy:
    return RunBusy(
        f"subagent {subagent_id!r} is at work on run {run_id!r}",
        run_id=run_id,
        hint="steer_subagent sends it a message now; await or cancel it before you resume it",
    )
