"""What a tool call of a run may know and do: made for each call, and how one asks a person."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from bamboo_mcp.agent.clock import RunClock
from bamboo_mcp.domain.events import QuestionAnswered, QuestionAsked
from bamboo_mcp.domain.ids import LOCAL, Subject
from bamboo_mcp.domain.questions import Answer, Question
from bamboo_mcp.domain.runs import RunRequest
from bamboo_mcp.domain.tools import Progress
from bamboo_mcp.ports import Emit, Questions, ToolContext


class CallContexts:
    """Makes the `ToolContext`s of one run. Most of a thousand subagents never need one."""

    __slots__ = ("_clock", "_emit", "_questions", "_request")

    def __init__(
        self, request: RunRequest, *, questions: Questions, emit: Emit, clock: RunClock
    ) -> None:
        self._request = request
        self._questions = questions
        self._emit = emit
        self._clock = clock

    def make(self, progress: Callable[[Progress], None]) -> ToolContext:
        request = self._request
        return ToolContext(
            caller=Subject(request.subagent_id) if request.subagent_id else LOCAL,
            mode=request.mode,
            ask=self.ask,
            progress=progress,
            workspace=Path(request.workspace) if request.workspace else None,
            run_id=request.run_id,
            session_id=request.session_id,
            subagent_id=request.subagent_id,
            depth=request.depth,
            deadline=self._clock.call_deadline(),
        )

    async def ask(self, question: Question) -> Answer:
        """Ask a person; the run's clock stands still meanwhile, and the log tells of it."""
        asked = msgspec.structs.replace(
            question, run_id=self._request.run_id, subagent_id=self._request.subagent_id
        )
        self._emit(QuestionAsked(question=asked))
        answer = Answer(by="closed", reason="the run ended before anyone answered")
        try:
            with self._clock.paused():
                answer = await self._questions.ask(asked)
        finally:
            self._emit(QuestionAnswered(question_id=asked.question_id, answer=answer))
        return answer
