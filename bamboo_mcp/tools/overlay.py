"""`OverlayExecutor`: one executor's tools laid over another's; the same name replaces."""

from __future__ import annotations

from collections.abc import Sequence

from bamboo_mcp.domain.tools import ToolCall, ToolResult, ToolSpec
from bamboo_mcp.ports import ToolContext, ToolExecutor
from bamboo_mcp.tools.catalogue import Catalogue, Listed, listing_order


class OverlayExecutor:
    """`over` belongs to one run (the plan, `ask_user`); its list is asked for on each call."""

    def __init__(self, over: ToolExecutor, base: Catalogue) -> None:
        self._over = Listed(over)
        self._base = base

    async def list_tools(self) -> Sequence[ToolSpec]:
        merged = {spec.name: spec for spec in await self._base.list_tools()}
        merged.update({spec.name: spec for spec in await self._over.list_tools()})
        return tuple(sorted(merged.values(), key=listing_order))

    async def find_tool(self, name: str) -> ToolSpec | None:
        return await self._over.find_tool(name) or await self._base.find_tool(name)

    async def call_tool(self, call: ToolCall, context: ToolContext) -> ToolResult:
        over = await self._over.find_tool(call.name) is not None
        return await (self._over if over else self._base).call_tool(call, context)
