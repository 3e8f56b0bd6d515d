"""The agent as a `RunBody`: model and tools of a request, the loop, and how it ended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from bamboo_mcp.agent.clock import RunClock
from bamboo_mcp.agent.loop import Loop, Stopped
from bamboo_mcp.agent.prompt import system_prompt
from bamboo_mcp.domain.errors import BambooError
from bamboo_mcp.domain.events import QuestionAnswered, QuestionAsked
from bamboo_mcp.domain.ids import LOCAL, Subject
from bamboo_mcp.domain.questions import Answer, Question
from bamboo_mcp.domain.runs import Outcome, RunRequest
from bamboo_mcp.ports import (
    Compactor,
    Conversation,
    Emit,
    Inbox,
    Models,
    Questions,
    ToolContext,
    ToolExecutor,
)

logger = logging.getLogger(__name__)


class Agent:
    """A `RunBody` that lets a language model use tools.

    `tools_for` gives the tools of a request, wrapped as they shall be (denied, permitted, bounded).
    """

    def __init__(
        self,
        *,
        models: Models,
        tools_for: Callable[[RunRequest], ToolExecutor],
        questions: Questions,
        compactor: Compactor,
    ) -> None:
        self._models = models
        self._tools_for = tools_for
        self._questions = questions
        self._compactor = compactor

    async def run(
        self, request: RunRequest, conversation: Conversation, inbox: Inbox, emit: Emit
    ) -> Outcome:
        clock = RunClock(request.limits.timeout_s)
        loop: Loop | None = None
        outcome: Outcome
        try:
            loop = await self._prepare(request, conversation, inbox, emit, clock)
            await loop.run_rounds()
        except Stopped:
            outcome = Outcome(
                status="cancelled", error_code="cancelled", error=inbox.cancel_reason or ""
            )
        except BambooError as error:
            outcome = Outcome(status="error", error_code=error.code, error=_words(error))
        else:
            outcome = Outcome(status="completed")
        if loop is None:
            return outcome
        return msgspec.structs.replace(
            outcome,
            text=loop.text,
            usage=loop.limits.usage,
            rounds=loop.rounds,
            model=loop.origin,
        )

    async def _prepare(
        self,
        request: RunRequest,
        conversation: Conversation,
        inbox: Inbox,
        emit: Emit,
        clock: RunClock,
    ) -> Loop:
        provider, model = await self._models.resolve(request.model)
        tools = self._tools_for(request)
        specs = await tools.list_tools() if provider.caps(model).tools else ()
        return Loop(
            request,
            provider=provider,
            model=model,
            system=system_prompt(request),
            tools=tools,
            specs=specs,
            context=self._context(request, emit, clock),
            conversation=conversation,
            inbox=inbox,
            emit=emit,
            compactor=self._compactor,
            clock=clock,
        )

    def _context(self, request: RunRequest, emit: Emit, clock: RunClock) -> ToolContext:
        async def ask(question: Question) -> Answer:
            asked = msgspec.structs.replace(
                question, run_id=request.run_id, subagent_id=request.subagent_id
            )
            emit(QuestionAsked(question=asked))
            answer = Answer(by="closed", reason="the run ended before anyone answered")
            try:
                with clock.paused():
                    answer = await self._questions.ask(asked)
            finally:
                emit(QuestionAnswered(question_id=asked.question_id, answer=answer))
            return answer

        return ToolContext(
            caller=Subject(request.subagent_id) if request.subagent_id else LOCAL,
            mode=request.mode,
            ask=ask,
            progress=lambda progress: None,
            workspace=Path(request.workspace) if request.workspace else None,
            run_id=request.run_id,
            session_id=request.session_id,
            subagent_id=request.subagent_id,
            depth=request.depth,
            deadline=clock.deadline,
        )


def _words(error: BambooError) -> str:
    return f"{error.message}. {error.hint}" if error.hint else error.message
