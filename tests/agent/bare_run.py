"""The agent's body alone, its inbox in the test's hands and no execution around it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import anyio

from bamboo_mcp.agent.inbox import SteeringInbox
from bamboo_mcp.agent.run import Agent
from bamboo_mcp.compaction.stop import StopWhenFull
from bamboo_mcp.domain.events import RunEvent
from bamboo_mcp.domain.ids import new_run_id, new_session_id
from bamboo_mcp.domain.messages import Message, user_message
from bamboo_mcp.domain.runs import Limits, Outcome, RunRequest
from bamboo_mcp.permissions.questions import QuestionBroker
from bamboo_mcp.ports import Compactor, Models, ToolExecutor
from bamboo_mcp.tools.function import FunctionExecutor


class BareRun:
    """One run; `play` it once. `on_event` sees each event as it is emitted.

    `request` are fields of its `RunRequest`.
    """

    def __init__(
        self,
        models: Models,
        *,
        tools: ToolExecutor | None = None,
        limits: Limits | None = None,
        compactor: Compactor | None = None,
        on_event: Callable[[RunEvent], None] | None = None,
        roles_said: Collection[str] = (),
        **request: Any,
    ) -> None:
        self.inbox = SteeringInbox()
        self.events: list[RunEvent] = []
        self.messages: list[Message] = [user_message("go")]
        self.outcome: Outcome | None = None
        self.agent: Agent | None = None
        self._models = models
        self._tools = tools or FunctionExecutor(())
        self._limits = limits or Limits()
        self._compactor = compactor or StopWhenFull()
        self._on_event = on_event
        self._roles_said = roles_said
        self._request = request

    async def play(self) -> Outcome:
        agent = self.agent or Agent(
            models=self._models,
            tools_for=lambda request: self._tools,
            questions=QuestionBroker(),
            compactor=self._compactor,
            roles_said=self._roles_said,
        )
        request = RunRequest(
            run_id=new_run_id(),
            session_id=new_session_id(),
            limits=self._limits,
            **self._request,
        )
        with anyio.fail_after(5):
            self.outcome = await agent.run(request, self, self.inbox, self._emit)
        return self.outcome

    async def start(self) -> None:
        """`play`, for a task group."""
        await self.play()

    def append(self, message: Message) -> None:
        self.messages.append(message)

    def _emit(self, event: RunEvent) -> None:
        self.events.append(event)
        if self._on_event is not None:
            self._on_event(event)
