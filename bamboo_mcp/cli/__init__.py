"""`bamboo-mcp`: one file a command, imported when it is called.

A new command is a file with a click command in it and a line in `COMMANDS`.
"""

from __future__ import annotations

from collections.abc import Mapping

import click

from bamboo_mcp.cli.collector import hold_off
from bamboo_mcp.cli.lazy_group import Command, LazyGroup
from bamboo_mcp.cli.options import settings_options
from bamboo_mcp.cli.version import show_version

COMMANDS: Mapping[str, Command] = {
    "serve": Command("bamboo_mcp.cli.serve:serve", "Serve MCP clients over standard input/output."),
    "run": Command("bamboo_mcp.cli.run:run", "Let the agent do a task here, in the terminal."),
    "demo": Command(
        "bamboo_mcp.cli.demo.command:demo", "Watch a client spawn, steer and await subagents."
    ),
    "fake-llm": Command(
        "bamboo_mcp.testing.fake_llm.command:fake_llm",
        "Serve a scripted model to test agents against.",
    ),
    "models": Command("bamboo_mcp.cli.models:models", "Show which language models there are."),
    "stats": Command("bamboo_mcp.cli.stats:stats", "Show what runs used and cost."),
    "sessions": Command(
        "bamboo_mcp.cli.sessions:sessions", "List, read, search, prune and export sessions."
    ),
    "fsck": Command("bamboo_mcp.cli.fsck:fsck", "Look for damage in the home folder."),
    "config": Command("bamboo_mcp.cli.config:config", "Show, make or find the settings."),
}
"""In the order in which `--help` lists them."""


@click.group(
    cls=LazyGroup,
    commands_by_name=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@settings_options
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """An AI agent that is an MCP server: spawn, steer, await and cancel subagents over MCP."""


def main() -> None:
    """The console script."""
    hold_off()
    cli(prog_name="bamboo-mcp")
