"""The one background path of a run: start, body, messages safe, one terminal event, result safe.

Whatever runs an agent goes through `RunExecution.execute`: an MCP call, a subagent, a plugin. The
order is the promise (architecture section 5): the messages are flushed before `RunEnded` is
written, and `RunEnded` before `execute` returns, so that "completed" means "on disk".
"""

from __future__ import annotations

import logging
from functools import partial

import msgspec

from bamboo_mcp.domain.errors import BambooError, RunClosed
from bamboo_mcp.domain.events import RunEnded, RunStarted, SteerUndelivered
from bamboo_mcp.domain.ids import OwnerId
from bamboo_mcp.domain.runs import Outcome, RunRequest
from bamboo_mcp.ports import EventLog, Inbox, RunBody, SessionStore

logger = logging.getLogger(__name__)

STOPPED = Outcome(
    status="lost", error_code="server_stopped", error="the server stopped while it ran"
)
"""Of a run that was cancelled from outside."""


class RunExecution:
    def __init__(self, *, log: EventLog, sessions: SessionStore, owner: OwnerId) -> None:
        self._log = log
        self._sessions = sessions
        self._owner = owner

    async def execute(self, request: RunRequest, body: RunBody, inbox: Inbox) -> Outcome:
        """Run `body` to its end. Raises nothing of its own; outside cancellation passes through."""
        outcome = STOPPED
        try:
            self._emit_start(request)
            async with self._sessions.open(request.session_id) as conversation:
                emit = partial(self._log.append, request.run_id)
                outcome = await body.run(request, conversation, inbox, emit)
                await conversation.flush()
        except BambooError as error:
            outcome = _spoilt(outcome, error.code, error.message)
        except Exception:
            logger.exception("run %s failed inside", request.run_id)
            words = "the run failed inside; the server's log has the details"
            outcome = _spoilt(outcome, "internal", words)
        finally:
            if unread := tuple(inbox.close()):
                outcome = msgspec.structs.replace(outcome, undelivered=outcome.undelivered + unread)
            self._end(request, outcome)
            try:
                await self._log.flush(request.run_id)
            except BambooError:
                logger.exception("the log of run %s could not be made durable", request.run_id)
        return outcome

    def end_unstarted(self, request: RunRequest, outcome: Outcome) -> Outcome:
        """End a run that never came to execution: cancelled while it was waiting, or refused."""
        return self._end(request, outcome)

    def _emit_start(self, request: RunRequest) -> None:
        self._log.append(
            request.run_id,
            RunStarted(
                session_id=request.session_id,
                owner=self._owner,
                subagent_id=request.subagent_id,
                model=request.model,
            ),
        )

    def _end(self, request: RunRequest, outcome: Outcome) -> Outcome:
        """Write the end. A log that takes no more is reported, and the outcome still handed on."""
        try:
            for steer in outcome.undelivered:
                event = SteerUndelivered(steer_id=steer.steer_id, text=steer.text)
                self._log.append(request.run_id, event)
            self._log.append(request.run_id, RunEnded(outcome=outcome))
        except RunClosed:
            pass  # it has its end already
        except BambooError:
            logger.exception("run %s could not record its end", request.run_id)
        return outcome


def _spoilt(outcome: Outcome, code: str, words: str) -> Outcome:
    """The outcome of a run that failed; what its body had answered stays beside the error."""
    made = Outcome(status="error") if outcome is STOPPED else outcome
    return msgspec.structs.replace(made, status="error", error_code=code, error=words)
