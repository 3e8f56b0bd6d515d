"""`bamboo-mcp models`: which language models there are, and what the others lack."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import click
import msgspec

from bamboo_mcp.cli.options import Invocation, invocation, settings_options
from bamboo_mcp.cli.plain_text import printable
from bamboo_mcp.domain.models import ModelEntry
from bamboo_mcp.settings import Settings


@click.command()
@settings_options
@click.option("--json", "as_json", is_flag=True, help="A JSON list, for programs.")
def models(as_json: bool) -> None:
    """Show which language models there are, and what the ones that are not ready lack."""
    said = invocation()
    menu = anyio.run(_menu, said, said.settings())
    if as_json:
        lines = [{"name": one.name, "ready": one.ready, **msgspec.to_builtins(one)} for one in menu]
        click.echo(msgspec.json.format(msgspec.json.encode(lines), indent=2))
    else:
        _print_table(menu)


async def _menu(said: Invocation, settings: Settings) -> Sequence[ModelEntry]:
    async with said.open_app(settings) as app:
        return await app.models.menu()


def _print_table(menu: Sequence[ModelEntry]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("model", no_wrap=True)
    for title in ("window", "$ in", "$ out"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("efforts")
    table.add_column("ready")
    for one in menu:
        table.add_row(
            Text(printable(one.name), style="" if one.ready else "dim"),
            f"{one.caps.context_window:,}",
            _price(one.price_input),
            _price(one.price_output),
            " ".join(one.caps.efforts),
            Text("yes", style="green") if one.ready else Text(printable(one.missing), style="dim"),
        )
    Console().print(table)
    if not menu:
        click.echo("no models are known: plugins contribute them", err=True)


def _price(dollars: float | None) -> str:
    return "" if dollars is None else f"{dollars:g}"
