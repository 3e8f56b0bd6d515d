"""`bamboo-mcp serve`: the agent as an MCP server, on standard input and output or over HTTP."""

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
    from bamboo_mcp.app import App
    from bamboo_mcp.server.backing import Backing
    from bamboo_mcp.server.context import DirectCalls
    from bamboo_mcp.server.process import Shutdown
    from bamboo_mcp.settings import Settings

logger = logging.getLogger(__name__)

HTTP_GRACE_S = 4.5
"""Nobody waits for this process with a timer; it is still gone within five seconds."""


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
@click.option("--http", is_flag=True, help="Serve over HTTP, to many clients, until stopped.")
@click.option("--host", metavar="HOST", help="With --http: listen there.  [default: 127.0.0.1]")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    help="With --http: listen there; 0 takes a free one.  [default: 8765]",
)
@click.option(
    "--token",
    "tokens",
    metavar="REF",
    multiple=True,
    help="With --http: where a caller's bearer token is, env:NAME or file:PATH; may be repeated.",
)
@click.pass_context
def serve(
    context: click.Context,
    http: bool,
    host: str | None,
    port: int | None,
    tokens: tuple[str, ...],
    expose: str | None,
    allow_commands: bool | None,
    permission_mode: PermissionMode | None,
    max_mode: PermissionMode | None,
) -> None:
    """Serve MCP clients over standard input and output, until the client leaves.

    This is the command an MCP client starts. Standard output belongs to the protocol; the log goes
    to standard error and to logs/ in the home folder.

    With --http it serves many clients at once, at /mcp; see server.http in the settings.
    """
    if not http and (host is not None or port is not None or tokens):
        raise click.UsageError("--host, --port and --token are for HTTP; add --http")
    said = invocation()
    settings = said.settings(
        {
            "server.expose": expose,
            "server.http.host": host,
            "server.http.port": port,
            "server.http.tokens": list(tokens) or None,
            "permissions.allow_commands": allow_commands,
            "permissions.default_mode": permission_mode,
            "permissions.max_mode": max_mode,
        }
    )
    check_mode("--permission-mode", permission_mode, settings)
    from bamboo_mcp.server.process import GRACE_S, run_server

    main, grace_s = (serve_over_http, HTTP_GRACE_S) if http else (serve_app, GRACE_S)
    with configure_logging(settings, verbose=said.verbose):
        context.exit(run_server(lambda shutdown: main(settings, shutdown), grace_s=grace_s))


async def serve_app(settings: Settings, shutdown: Shutdown) -> None:
    """Open the agent and mirror its tools to the client until one of them is done."""
    from bamboo_mcp.server.wire import claimed_stdio

    # Before anything that might print is imported.
    with claimed_stdio() as wire:
        from bamboo_mcp.app import open_app
        from bamboo_mcp.server.changes import Changes
        from bamboo_mcp.server.stdio import serve_stdio

        async with open_app(settings) as app:
            _warn(app)
            settle()
            changes = Changes()
            await serve_stdio(
                app.tools,
                calls=_direct_calls(app),
                version=installed_version(),
                shutdown=shutdown,
                wire=wire,
                changes=changes,
                on_roots=app.workspace.offer,
                resources=_backing(app).resources(changes),
            )


async def serve_over_http(settings: Settings, shutdown: Shutdown) -> None:
    """Open the agent and serve whoever may call, until `shutdown` is requested."""
    from bamboo_mcp.app import open_app
    from bamboo_mcp.server.http import HttpAddress, serve_http
    from bamboo_mcp.server.http_callers import callers_of

    said = settings.server.http
    # Before anything else: a token that is not there is better told at once.
    callers = await callers_of(said.tokens)
    async with open_app(settings) as app:
        _warn(app)
        settle()
        await serve_http(
            app.tools,
            calls=_direct_calls(app),
            backing=_backing(app),
            address=HttpAddress(
                host=said.host,
                port=said.port,
                allowed_hosts=said.allowed_hosts,
                allowed_origins=said.allowed_origins,
            ),
            callers=callers,
            version=installed_version(),
            shutdown=shutdown,
            on_listening=lambda url: click.echo(f"serving MCP at {url}", err=True),
        )


def _warn(app: App) -> None:
    if app.model_problem:
        logger.warning(
            "subagents that name no model will fail: %s (see `bamboo-mcp models`)",
            app.model_problem,
        )


def _direct_calls(app: App) -> DirectCalls:
    from bamboo_mcp.server.context import DirectCalls

    return DirectCalls(
        mode=app.settings.permissions.direct_mode,
        workspace=lambda: app.workspace.root,
        max_wait_s=app.settings.server.max_wait_s,
    )


def _backing(app: App) -> Backing:
    from bamboo_mcp.server.backing import Backing

    return Backing(
        subagents=app.subagents,
        sessions=app.sessions,
        runs=app.runs,
        log=app.log,
        listen=app.listen,
    )
