"""Seams of tools: executors and what a call may know, the policy, and questions to a person."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from bamboo_mcp.domain.ids import QuestionId, RunId, SessionId, SubagentId, Subject
from bamboo_mcp.domain.questions import Answer, PermissionMode, Question
from bamboo_mcp.domain.tools import Progress, ToolCall, ToolResult, ToolSpec
from bamboo_mcp.domain.value import Value


class ToolContext(Value, frozen=True, kw_only=True):
    """What a call may know and do.

    `ask` waits for a person and raises nothing: no answer in time is a `deny`. `progress` neither
    blocks nor raises. `workspace` None: there is none, file tools refuse. `deadline` is on
    `anyio.current_time()`'s clock.
    """

    caller: Subject
    mode: PermissionMode
    ask: Callable[[Question], Awaitable[Answer]]
    progress: Callable[[Progress], None]
    workspace: Path | None = None
    run_id: RunId | None = None
    session_id: SessionId | None = None
    subagent_id: SubagentId | None = None
    depth: int = 0
    deadline: float = float("inf")


class ToolExecutor(Protocol):
    """Some tools. The one shape everything nests in: builtins, plugins, upstreams, wrappers.

    `list_tools` keeps a stable order and never fails because one tool is bad. `call_tool` answers a
    failing tool with a result, not an exception; only cancellation and bugs escape. A name that is
    not in `list_tools` is answered with `unknown_tool`.
    """

    async def list_tools(self) -> Sequence[ToolSpec]: ...
    async def call_tool(self, call: ToolCall, context: ToolContext) -> ToolResult: ...


class Policy(Protocol):
    """May this call happen?

    None: yes. An `Answer`: no, with the reason. A `Question`: ask first.
    """

    def decide(
        self, tool: ToolSpec, call: ToolCall, context: ToolContext
    ) -> Question | Answer | None: ...
    def remember(self, question: Question, answer: Answer) -> None:
        """Take note of an `allow_session`, so that the same is not asked twice in a session."""
        ...


class Questions(Protocol):
    """One broker between those who ask and whoever is there to answer.

    `ask` waits until answered or until `question.expires_in_s` after its birth, then returns a
    `deny` by `expiry`. `answer` returns False when the question is not open (any more). A listener
    is told of each new question; it must not block.
    """

    async def ask(self, question: Question) -> Answer: ...
    def answer(self, question_id: QuestionId, answer: Answer) -> bool: ...
    def open_questions(self) -> Sequence[Question]: ...
    def listen(self, listener: Callable[[Question], None]) -> Callable[[], None]:
        """Register `listener`; the returned function takes it away again."""
        ...
