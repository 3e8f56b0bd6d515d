"""`bamboo-mcp models`: which language models there are, and what the others lack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import click
import msgspec

from bamboo_mcp.cli.options import Invocation, invocation, settings_options
from bamboo_mcp.cli.plain_text import printable
from bamboo_mcp.domain.errors import BambooError
from bamboo_mcp.domain.models import ModelEntry
from bamboo_mcp.settings import Settings


@click.command()
@settings_options
@click.option("--all", "show_all", is_flag=True, help="Also each model that is not ready.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list of all, for programs.")
def models(show_all: bool, as_json: bool) -> None:
    """Show which language models there are, and what the ones that are not ready lack.

    Services that have a key are asked which models they have, and model servers on this machine
    are looked for; both for a moment only.
    """
    said = invocation()
    menu, default = anyio.run(_menu, said, said.settings())
    if as_json:
        lines = [_plain(one) for one in menu]
        click.echo(msgspec.json.format(msgspec.json.encode(lines), indent=2))
    elif not menu:
        click.echo("no models are known: plugins contribute them", err=True)
    else:
        _print_models([one for one in menu if one.name and (show_all or one.ready)])
        _print_missing([one for one in menu if not one.ready])
        click.echo(f"\nwithout a name: {printable(default)}")


async def _menu(said: Invocation, settings: Settings) -> tuple[Sequence[ModelEntry], str]:
    """The menu, and what becomes of a run that names no model."""
    async with said.open_app(settings) as app:
        menu = await app.models.menu(ask=True)
        try:
            provider, model = await app.models.resolve("")
        except BambooError as error:
            return menu, error.message
        return menu, f"{provider.name}:{model}"


def _print_models(menu: Sequence[ModelEntry]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("model", no_wrap=True)
    priced = any(one.price_input is not None for one in menu)
    for title in ("window", "$ in", "$ out") if priced else ("window",):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("efforts")
    table.add_column("ready")
    for one in menu:
        table.add_row(
            Text(printable(_full_name(one)), style="" if one.ready else "dim"),
            f"{one.caps.context_window:,}",
            *((_price(one.price_input), _price(one.price_output)) if priced else ()),
            _range(one.caps.efforts),
            Text("yes", style="green") if one.ready else Text("no", style="dim"),
        )
    console = Console(highlight=False)
    console.print(table)
    if priced:
        console.print(Text("$: dollars a million tokens; empty: unknown", style="dim"))


def _print_missing(menu: Sequence[ModelEntry]) -> None:
    """A line a provider: what it lacks, and how many models it would bring."""
    from rich.console import Console
    from rich.text import Text

    models: dict[tuple[str, str], list[str]] = {}
    for one in menu:
        models.setdefault((one.provider, one.missing), []).append(one.name)
    console = Console(highlight=False, soft_wrap=True)
    if models:
        console.print("\nnot ready:")
    for (provider, missing), names in models.items():
        known = f" ({len(names)} models known)" if any(names) else ""
        console.print(Text(printable(f"  {provider}: {missing}{known}"), style="yellow"))


def _full_name(one: ModelEntry) -> str:
    """As `--model` takes it."""
    return one.name if one.name.startswith(f"{one.provider}:") else f"{one.provider}:{one.name}"


def _plain(one: ModelEntry) -> dict[str, Any]:
    """Complete: a program should not have to know our defaults."""
    return {
        "model": _full_name(one),
        "provider": one.provider,
        "context_window": one.caps.context_window,
        "max_output": one.caps.max_output,
        "efforts": list(one.caps.efforts),
        "price_input": one.price_input,
        "price_output": one.price_output,
        "ready": one.ready,
        "missing": one.missing,
    }


def _range(efforts: Sequence[str]) -> str:
    """They are in order; a terminal is narrow."""
    return f"{efforts[0]} … {efforts[-1]}" if len(efforts) > 2 else " ".join(efforts)


def _price(dollars: float | None) -> str:
    return "" if dollars is None else f"{dollars:g}"
