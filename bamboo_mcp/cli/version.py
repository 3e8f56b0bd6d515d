"""Which version this is, as the installed package says."""

from __future__ import annotations

import click


def installed_version() -> str:
    """`unknown` when it runs from its source without having been installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("bamboo-mcp")
    except PackageNotFoundError:
        return "unknown"


def show_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    """Callback of `--version`."""
    if wanted and not context.resilient_parsing:
        click.echo(f"bamboo-mcp {installed_version()}")
        context.exit()
