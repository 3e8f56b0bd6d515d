"""All seven subagent tools over the doubles, and a caller who uses them."""

from __future__ import annotations

from typing import Any

import msgspec

from bamboo_mcp.control.inspection import SubagentInspection
from bamboo_mcp.control.notices import NoticeBoard
from bamboo_mcp.control.spawning import SubagentSpawning
from bamboo_mcp.control.subagents import SubagentTools
from bamboo_mcp.control.waiting import Waiting
from bamboo_mcp.domain.ids import LOCAL, SubagentId, new_call_id
from bamboo_mcp.domain.questions import Answer, Question
from bamboo_mcp.domain.runs import Limits
from bamboo_mcp.domain.tools import Progress, ToolCall, ToolResult
from bamboo_mcp.ports import ToolContext, ToolExecutor
from bamboo_mcp.tools.function import FunctionExecutor, tools_of
from tests.control.doubles import FakeLog, FakeQuestions, FakeSessions, FakeSubagents


class Desk:
    def __init__(self, *, max_wait_s: float = 45.0, max_result_chars: int = 40_000) -> None:
        self.subagents = FakeSubagents()
        self.sessions = FakeSessions()
        self.board = NoticeBoard(self.subagents.subscribe)
        self.subagents.on_end = self.board.ended
        self.progress: list[Progress] = []
        waiting = Waiting(
            self.subagents, self.board, max_wait_s=max_wait_s, max_result_chars=max_result_chars
        )
        self.tools: ToolExecutor = FunctionExecutor(
            [
                *tools_of(
                    SubagentSpawning(
                        self.subagents, self.board, waiting, limits=Limits(max_rounds=17)
                    )
                ),
                *tools_of(
                    SubagentTools(
                        self.subagents, FakeQuestions(self.subagents), self.board, waiting
                    )
                ),
                *tools_of(
                    SubagentInspection(
                        self.subagents,
                        FakeLog(self.subagents),
                        self.sessions,
                        self.board,
                        max_result_chars=max_result_chars,
                    )
                ),
            ]
        )

    async def call(self, tool: str, /, **arguments: Any) -> ToolResult:
        return await self.call_as(self.context(), tool, **arguments)

    async def call_as(self, context: ToolContext, tool: str, /, **arguments: Any) -> ToolResult:
        call = ToolCall(id=new_call_id(), name=tool, arguments=arguments)
        return await self.tools.call_tool(call, context)

    async def get(self, tool: str, /, **arguments: Any) -> Any:
        """The structure of an answer that is no error."""
        result = await self.call(tool, **arguments)
        assert not result.is_error, result.text
        return result.structured

    async def error(self, tool: str, /, **arguments: Any) -> Any:
        result = await self.call(tool, **arguments)
        assert result.is_error
        return msgspec.json.decode(result.text)["error"]

    async def spawn(self, task: str = "count", **arguments: Any) -> SubagentId:
        spawned = await self.get("spawn_subagent", task=task, **arguments)
        return SubagentId(spawned["subagent_id"])

    def context(self, **changes: Any) -> ToolContext:
        known: dict[str, Any] = {
            "caller": LOCAL,
            "mode": "default",
            "ask": self._ask,
            "progress": self.progress.append,
        }
        return ToolContext(**{**known, **changes})

    async def _ask(self, question: Question) -> Answer:
        raise AssertionError("control tools ask nobody")
