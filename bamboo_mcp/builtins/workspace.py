"""The workspace tools as the settings want them; loaded when tools are first listed."""

from __future__ import annotations

from bamboo_mcp.contributions import Services
from bamboo_mcp.ports import ToolExecutor
from bamboo_mcp.workspace.tools import workspace_tools


def tools(services: Services) -> ToolExecutor:
    settings = services.settings
    return workspace_tools(
        max_result_chars=settings.server.max_result_chars,
        max_read_bytes=settings.workspace.max_read_bytes,
        max_write_bytes=settings.workspace.max_write_bytes,
    )
