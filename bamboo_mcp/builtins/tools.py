"""Builtin plugin: the agent's own tools, and those of its workspace."""

from __future__ import annotations

from collections.abc import Sequence

from bamboo_mcp.contributions import ToolsContribution
from bamboo_mcp.plugin_host.hookspecs import hookimpl


@hookimpl
def contribute_tools() -> Sequence[ToolsContribution]:
    return [
        ToolsContribution(
            name="subagents", group="control", load="bamboo_mcp.control.subagents:tools"
        ),
        ToolsContribution(
            name="sessions", group="control", load="bamboo_mcp.control.sessions:tools"
        ),
        ToolsContribution(name="models", group="control", load="bamboo_mcp.control.models:tools"),
        ToolsContribution(name="health", group="control", load="bamboo_mcp.control.health:tools"),
        ToolsContribution(name="plans", group="workspace", load="bamboo_mcp.control.plans:tools"),
        ToolsContribution(
            name="workspace", group="workspace", load="bamboo_mcp.builtins.workspace:tools"
        ),
    ]
