"""A tool that waits for the test, and one that must be permitted."""

from __future__ import annotations

import anyio

from bamboo_mcp.ports import ToolContext
from bamboo_mcp.testing.scripted import Call, Step
from bamboo_mcp.tools.function import FunctionExecutor, tool, tools_of


class Gate:
    """Tools that wait for the test, and one that must be permitted."""

    def __init__(self) -> None:
        self.open = anyio.Event()
        self.entered = 0
        self.wrote = 0

    @tool(title="Wait", effect="read")
    async def wait_here(self, context: ToolContext) -> str:
        """Wait until the gate opens."""
        self.entered += 1
        await self.open.wait()
        return "through"

    @tool(title="Write", effect="write")
    async def write(self, context: ToolContext) -> str:
        """Write something."""
        self.wrote += 1
        return "written"

    @property
    def tools(self) -> FunctionExecutor:
        return FunctionExecutor(tools_of(self))


def calling(name: str) -> Step:
    return Step(calls=(Call(name=name),))
