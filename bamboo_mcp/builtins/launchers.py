"""Builtin plugin: subagents that run in this process."""

from __future__ import annotations

from collections.abc import Sequence

from bamboo_mcp.contributions import LauncherContribution, Services
from bamboo_mcp.plugin_host.hookspecs import hookimpl
from bamboo_mcp.ports import Launcher


@hookimpl
def contribute_launchers() -> Sequence[LauncherContribution]:
    return [LauncherContribution(name="in_process", load=_in_process)]


def _in_process(services: Services) -> Launcher:
    from bamboo_mcp.agent.inbox import SteeringInbox
    from bamboo_mcp.subagents.in_process import InProcessLauncher

    return InProcessLauncher(execute=services.execute, new_inbox=SteeringInbox)
