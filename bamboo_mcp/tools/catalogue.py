"""`Catalogue`: an executor that can also say quickly what one name means; wrappers stand on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bamboo_mcp.domain.tools import GROUPS, ToolCall, ToolResult, ToolSpec, error_result
from bamboo_mcp.ports import ToolContext, ToolExecutor
from bamboo_mcp.tools.excerpts import closest, shown


class Catalogue(ToolExecutor, Protocol):
    """An executor with a look-up by name.

    `find_tool` answers without asking every member for its list, so wrappers need no copy of the
    catalogue of their own (a thousand subagents share one), and never decide on a stale one. A tool
    that this layer hides is None.
    """

    async def find_tool(self, name: str) -> ToolSpec | None: ...


class Listed:
    """Any executor as a `Catalogue`; indexed again when its list is another object than before."""

    def __init__(self, executor: ToolExecutor) -> None:
        self._executor = executor
        self._listed: Sequence[ToolSpec] | None = None
        self._index: dict[str, ToolSpec] = {}

    async def list_tools(self) -> Sequence[ToolSpec]:
        listed = await self._executor.list_tools()
        if listed is not self._listed:
            self._index = {spec.name: spec for spec in listed}
            self._listed = listed
        return listed

    async def find_tool(self, name: str) -> ToolSpec | None:
        await self.list_tools()
        return self._index.get(name)

    async def call_tool(self, call: ToolCall, context: ToolContext) -> ToolResult:
        return await self._executor.call_tool(call, context)


def listing_order(spec: ToolSpec) -> tuple[int, str]:
    """The order in which clients see tools: by group, then by name."""
    return GROUPS.index(spec.group) if spec.group in GROUPS else len(GROUPS), spec.name


def unknown_tool(name: str, known: Sequence[str] = ()) -> ToolResult:
    near = closest(name, known)
    hint = f"Did you mean {near!r}?" if near else "List the tools to see the names there are."
    return error_result("unknown_tool", f"there is no tool {shown(name)}", hint=hint)
