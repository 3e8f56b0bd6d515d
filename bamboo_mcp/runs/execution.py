"""The one background path of a run: start, body, messages safe, hook told, one terminal event.

Whatever runs an agent goes through `RunExecution.execute`: an MCP call, a subagent, a resume, a
plugin. The order is the promise (architecture section 5): the messages are flushed before
`RunEnded` is written, and `RunEnded` before `execute` returns, so that "completed" means "on disk".
The record of the session is only ever merged into, never written over.
"""

from __future__ import annotations

import logging
from functools import partial

import anyio
import msgspec

from bamboo_mcp.domain.errors import BambooError, RunClosed
from bamboo_mcp.domain.events import RunEnded, RunStarted, SteerUndelivered
from bamboo_mcp.domain.ids import OwnerId, RunId, SessionId, SubagentId
from bamboo_mcp.domain.runs import Outcome, RunRequest
from bamboo_mcp.ports import (
    NO_PARTS,
    Emit,
    EventLog,
    Inbox,
    RunBody,
    RunParts,
    SessionStore,
    SessionWriter,
)
from bamboo_mcp.runs.board import RunBoard
from bamboo_mcp.runs.carried import completed, noted, to_note
from bamboo_mcp.runs.guests import HOOK_S, SinkToo, ToldOnce, passes_through
from bamboo_mcp.runs.reservation import reserve_across_processes

logger = logging.getLogger(__name__)

STOPPED = Outcome(
    status="lost", error_code="server_stopped", error="the server stopped while it ran"
)
"""Of a run that was cancelled from outside."""

FAILED_INSIDE = ("internal", "the run failed inside; the server's log has the details")
SAVE_WHEN_STOPPED_S = 3.0
"""So long a server that stops goes on for a result that is there and not yet safe."""


class RunExecution:
    def __init__(
        self,
        *,
        log: EventLog,
        sessions: SessionStore,
        owner: OwnerId,
        board: RunBoard,
        hook_s: float = HOOK_S,
    ) -> None:
        self._log = log
        self._sessions = sessions
        self._owner = owner
        self._board = board
        self._hook_s = hook_s

    async def reserve(
        self, session_id: SessionId, subagent_id: SubagentId | None = None, /
    ) -> RunId:
        """Implements `ports.Reserve`. The run's first event, `RunQueued`, is written here."""
        return await reserve_across_processes(
            session_id,
            subagent_id,
            board=self._board,
            sessions=self._sessions,
            log=self._log,
            owner=self._owner,
        )

    async def execute(
        self, request: RunRequest, body: RunBody, inbox: Inbox, parts: RunParts = NO_PARTS
    ) -> Outcome:
        """Run `body` to its end. Raises nothing of its own; outside cancellation passes through."""
        run_id = request.run_id
        append = partial(self._log.append, run_id)
        emit: Emit = append if parts.sink is None else SinkToo(append, parts.sink)
        hook = None if parts.on_complete is None else ToldOnce(parts.on_complete, self._hook_s)
        course = _Course(run_id, inbox, emit, hook)
        try:
            emit(self._start(request))
            async with self._sessions.open(request.session_id) as conversation:
                if to_note(request, conversation.meta):
                    await self._sessions.edit(request.session_id, partial(noted, request=request))
                request = completed(request, conversation.meta.extra)
                await course.run(request, body, conversation)
        except BambooError as error:
            course.fail(error.code, error.message)
        except BaseException as error:
            if passes_through(error):
                raise
            logger.exception("run %s failed inside", run_id)
            course.fail(*FAILED_INSIDE)
        finally:
            course.close_inbox()
            if hook is not None:
                await hook.tell(course.outcome, None, emit)
            self._end(run_id, course.outcome, emit)
            try:
                await self._log.flush(run_id)
            except BambooError:
                logger.exception("the log of run %s could not be made durable", run_id)
        return course.outcome

    def end_unstarted(self, request: RunRequest, outcome: Outcome) -> Outcome:
        """End a run that never came to execution: cancelled while it was waiting, or refused."""
        self._end(request.run_id, outcome, partial(self._log.append, request.run_id))
        return outcome

    def _start(self, request: RunRequest) -> RunStarted:
        return RunStarted(
            session_id=request.session_id,
            owner=self._owner,
            subagent_id=request.subagent_id,
            model=request.model,
            effort=request.effort,
            effort_source=request.effort_source,
        )

    def _end(self, run_id: RunId, outcome: Outcome, emit: Emit) -> None:
        """Write the end. A log that takes no more is reported, and the outcome still handed on."""
        try:
            for steer in outcome.undelivered:
                emit(SteerUndelivered(steer_id=steer.steer_id, text=steer.text))
            emit(RunEnded(outcome=outcome))
        except RunClosed:
            pass  # it has its end already
        except BambooError:
            logger.exception("run %s could not record its end", run_id)


class _Course:
    """How far a run is; `outcome` is what its end would be if it came now."""

    __slots__ = ("_emit", "_hook", "_inbox", "_run_id", "outcome")

    def __init__(self, run_id: RunId, inbox: Inbox, emit: Emit, hook: ToldOnce | None) -> None:
        self._run_id = run_id
        self._inbox = inbox
        self._emit = emit
        self._hook = hook
        self.outcome = STOPPED

    async def run(self, request: RunRequest, body: RunBody, conversation: SessionWriter) -> None:
        """The body, its messages made safe, the hook told, and what that wrote made safe."""
        try:
            try:
                made = await body.run(request, conversation, self._inbox, self._emit)
            except BambooError as error:
                made = _spoilt(STOPPED, error.code, error.message)
            except BaseException as error:
                if passes_through(error):
                    raise
                logger.exception("run %s failed inside", self._run_id)
                made = _spoilt(STOPPED, *FAILED_INSIDE)
            await self._save(made, conversation)
        finally:
            if self._hook is not None:
                # Also when the server stops: whoever keeps books must hear of this end too.
                self.close_inbox()
                written = len(conversation.messages)
                await self._hook.tell(self.outcome, conversation, self._emit)
                if len(conversation.messages) != written:
                    await self._save(self.outcome, conversation)

    def fail(self, code: str, words: str) -> None:
        self.outcome = _spoilt(self.outcome, code, words)

    def close_inbox(self) -> None:
        """Hand back what nobody read."""
        if unread := tuple(self._inbox.close()):
            undelivered = self.outcome.undelivered + unread
            self.outcome = msgspec.structs.replace(self.outcome, undelivered=undelivered)

    async def _save(self, made: Outcome, conversation: SessionWriter) -> None:
        """Only once its messages are on the disk is `made` how the run ended."""
        try:
            await conversation.flush()
        except anyio.get_cancelled_exc_class():
            # The server stops, and the answer is there: it is not given up for a few milliseconds.
            with anyio.move_on_after(SAVE_WHEN_STOPPED_S, shield=True):
                try:
                    await conversation.flush()
                    self.outcome = made
                except BambooError:
                    logger.exception("the messages of run %s are not safe", self._run_id)
            raise
        except BambooError as error:
            # What failed first says more.
            failed = made.status == "error"
            self.outcome = made if failed else _spoilt(made, error.code, error.message)
        else:
            self.outcome = made


def _spoilt(outcome: Outcome, code: str, words: str) -> Outcome:
    """The outcome of a run that failed; what its body had answered stays beside the error."""
    made = Outcome(status="error") if outcome is STOPPED else outcome
    return msgspec.structs.replace(made, status="error", error_code=code, error=words)
