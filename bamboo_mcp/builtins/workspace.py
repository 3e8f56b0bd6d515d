"""The workspace tools as the settings want them; loaded when tools are first listed."""

from __future__ import annotations

import contextlib
from functools import partial

from bamboo_mcp.contributions import Services
from bamboo_mcp.domain.errors import RunClosed
from bamboo_mcp.domain.events import CommandEnded
from bamboo_mcp.ports import EventLog, ToolExecutor
from bamboo_mcp.workspace.background import BackgroundCommand, BackgroundCommands
from bamboo_mcp.workspace.tools import workspace_tools


def tools(services: Services) -> ToolExecutor:
    settings = services.settings
    background = None
    if services.start is not None:
        background = BackgroundCommands(
            services.start,
            max_running=settings.workspace.max_background_commands,
            max_output_bytes=settings.workspace.max_background_output,
            on_end=partial(_tell, services.log),
        )
        services.at_run_end(background.end_run)
    return workspace_tools(
        max_result_chars=settings.server.max_result_chars,
        max_read_bytes=settings.workspace.max_read_bytes,
        max_write_bytes=settings.workspace.max_write_bytes,
        background=background,
        max_wait_s=settings.server.max_wait_s,
    )


def _tell(log: EventLog, command: BackgroundCommand) -> None:
    """The log of its run says how a command ended, unless the run has ended too."""
    if command.run_id is None:
        return
    event = CommandEnded(
        command_id=command.command_id,
        cause=command.cause,
        exit_code=command.ending.exit_code,
        duration_s=round(command.ending.duration_s, 3),
    )
    with contextlib.suppress(RunClosed):
        log.append(command.run_id, event)
