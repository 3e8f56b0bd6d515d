"""`FilteredExecutor`: only the groups of tools a server exposes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from bamboo_mcp.domain.tools import ToolCall, ToolResult, ToolSpec, error_result
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.tools.catalogue import Catalogue


class FilteredExecutor:
    """Tools of other groups than `groups` are neither listed nor called (`--expose`)."""

    def __init__(self, base: Catalogue, groups: Collection[str]) -> None:
        self._base = base
        self._groups = frozenset(groups)

    async def list_tools(self) -> Sequence[ToolSpec]:
        return tuple(spec for spec in await self._base.list_tools() if spec.group in self._groups)

    async def find_tool(self, name: str) -> ToolSpec | None:
        spec = await self._base.find_tool(name)
        return spec if spec is not None and spec.group in self._groups else None

    async def call_tool(self, call: ToolCall, context: ToolContext) -> ToolResult:
        spec = await self._base.find_tool(call.name)
        if spec is not None and spec.group not in self._groups:
            return error_result(
                "unknown_tool",
                f"{call.name!r} is in the group {spec.group!r}, which this server does not expose",
                hint=f"Add {spec.group} to the setting server.expose or to the flag --expose.",
            )
        return await self._base.call_tool(call, context)
