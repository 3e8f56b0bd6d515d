"""A plugin module as a stranger would write it: one family of two tools."""

from __future__ import annotations

from bamboo_mcp.contributions import Services, ToolsContribution
from bamboo_mcp.plugin_host.hookspecs import hookimpl
from bamboo_mcp.ports import ToolExecutor
from tests.tools.small_tools import SmallTools


@hookimpl
def contribute_tools() -> list[ToolsContribution]:
    return [ToolsContribution(name="dice", load=f"{__name__}:make")]


def make(services: Services) -> ToolExecutor:
    return SmallTools("roll_dice", "count_dice")


NOT_A_FUNCTION = 3
