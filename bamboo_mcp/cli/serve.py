"""`bamboo-mcp serve`: the agent as an MCP server on standard input and output."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import click

from bamboo_mcp.cli.collector import settle
from bamboo_mcp.cli.logs import configure_logging
from bamboo_mcp.cli.options import check_mode, invocation, settings_options
from bamboo_mcp.cli.version import installed_version
from bamboo_mcp.domain.questions import MODES, PermissionMode

if TYPE_CHECKING:
    from bamboo_mcp.server.process import Shutdown
    from bamboo_mcp.settings import Settings

logger = logging.getLogger(__name__)


@click.command()
@settings_options
@click.option("--expose", metavar="GROUPS", help="Groups of tools clients see: control,workspace,…")
@click.option(
    "--allow-commands/--no-allow-commands",
    default=None,
    help="May clients run commands themselves?",
)
@click.option("--permission-mode", type=click.Choice(MODES), help="Mode of runs that ask for none.")
@click.option("--max-mode", type=click.Choice(MODES), help="The freest mode any run may have.")
@click.pass_context
def serve(
    context: click.Context,
    expose: str | None,
    allow_commands: bool | None,
    permission_mode: PermissionMode | None,
    max_mode: PermissionMode | None,
) -> None:
    """Serve MCP clients over standard input and output, until the client leaves.

    This is the command an MCP client starts. Standard output belongs to the protocol; the log goes
    to standard error and to logs/ in the home folder.
    """
    said = invocation()
    settings = said.settings(
        {
            "server.expose": expose,
            "permissions.allow_commands": allow_commands,
            "permissions.default_mode": permission_mode,
            "permissions.max_mode": max_mode,
        }
    )
    check_mode("--permission-mode", permission_mode, settings)
    from bamboo_mcp.server.process import run_server

    with configure_logging(settings, verbose=said.verbose):
        context.exit(run_server(lambda shutdown: serve_app(settings, shutdown)))


async def serve_app(settings: Settings, shutdown: Shutdown) -> None:
    """Open the agent and mirror its tools to the client until one of them is done."""
    from bamboo_mcp.server.wire import claimed_stdio

    # Before anything that might print is imported.
    with claimed_stdio() as wire:
        from bamboo_mcp.app import open_app
        from bamboo_mcp.server.context import DirectCalls
        from bamboo_mcp.server.stdio import serve_stdio

        async with open_app(settings) as app:
            if app.model_problem:
                logger.warning(
                    "subagents that name no model will fail: %s (see `bamboo-mcp models`)",
                    app.model_problem,
                )
            settle()
            await serve_stdio(
                app.tools,
                calls=DirectCalls(
                    mode=settings.permissions.direct_mode,
                    workspace=lambda: app.workspace.root,
                    max_wait_s=settings.server.max_wait_s,
                ),
                version=installed_version(),
                shutdown=shutdown,
                wire=wire,
                on_roots=app.workspace.offer,
            )
