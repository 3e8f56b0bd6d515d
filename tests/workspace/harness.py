"""A workspace in a temporary folder, and the tools on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
from msgspec.structs import replace

from bamboo_mcp.domain.ids import LOCAL, SessionId
from bamboo_mcp.domain.questions import Answer, Question
from bamboo_mcp.domain.tools import Progress, ToolCall, ToolResult
from bamboo_mcp.ports import ToolContext, ToolExecutor
from bamboo_mcp.workspace.tools import workspace_tools


async def nobody(question: Question) -> Answer:
    return Answer(by="expiry")


def unheard(progress: Progress) -> None: ...


def context_of(root: Path | None) -> ToolContext:
    return ToolContext(
        caller=LOCAL,
        mode="default",
        ask=nobody,
        progress=unheard,
        workspace=root,
        session_id=SessionId("ses_one"),
    )


class Workspace:
    """`root` has a sibling `outside` with a secret in it."""

    def __init__(self, tmp_path: Path, executor: ToolExecutor | None = None) -> None:
        self.root = tmp_path / "root"
        self.root.mkdir(exist_ok=True)
        self.outside = tmp_path / "outside"
        self.outside.mkdir(exist_ok=True)
        (self.outside / "secret").write_text("outside", encoding="utf-8")
        self.executor = executor or workspace_tools(ripgrep=None)
        self.context = context_of(self.root)

    async def call(self, tool: str, /, **arguments: Any) -> ToolResult:
        call = ToolCall(id="1", name=tool, arguments=arguments)
        return await self.executor.call_tool(call, self.context)

    async def text(self, tool: str, /, **arguments: Any) -> str:
        result = await self.call(tool, **arguments)
        assert not result.is_error, result.text
        return result.text

    async def failure(self, tool: str, /, **arguments: Any) -> str:
        """Message and hint of a call that must fail on purpose."""
        result = await self.call(tool, **arguments)
        assert result.is_error, result.text
        assert result.error_code != "internal_error"
        first = result.content[0]
        error = msgspec.json.decode(getattr(first, "text"))["error"]  # noqa: B009
        return f"{error['message']} | {error['hint']}"

    def in_session(self, name: str) -> Workspace:
        """The same tools and folder, seen by another session."""
        other = Workspace(self.root.parent, self.executor)
        other.context = replace(self.context, session_id=SessionId(name))
        return other


async def until(happened: Callable[[], bool], timeout_s: float = 5) -> None:
    """Wait for something outside this process, which has no event to wait on."""
    with anyio.fail_after(timeout_s):
        while not happened():  # noqa: ASYNC110 (no event reaches us from there)
            await anyio.sleep(0.01)
