"""`bamboo-mcp stats`: what runs used and cost, as a table and a small chart."""

from __future__ import annotations

import time
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import msgspec

from bamboo_mcp.cli.options import invocation, settings_options
from bamboo_mcp.cli.plain_text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console

    from bamboo_mcp.metrics.report import Calls, Grouping, Report

CHART_ROWS = 4
CHART_DAYS = 60
EIGHTHS = " ▁▂▃▄▅▆▇█"
PLAIN = " ...ooo##"
"""The same for terminals that have no blocks."""


@click.command()
@settings_options
@click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=30,
    show_default=True,
    help="Of the last so many days.",
)
@click.option(
    "--by",
    type=click.Choice(["model", "day", "tool"]),
    default="model",
    show_default=True,
    help="What the lines of the table are.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
def stats(days: int, by: Grouping, as_json: bool) -> None:
    """Show what runs used and cost: rounds, tokens, dollars, tools, errors.

    The figures are of every server and `bamboo-mcp run` on this home folder. What a model of
    unknown price cost is not known, and said.
    """
    from bamboo_mcp.disk.locks import owner_alive
    from bamboo_mcp.metrics.report import read_report

    settings = invocation().settings()
    home = settings.home
    report = read_report(home, now=time.time(), days=days, by=by, alive=partial(owner_alive, home))
    if as_json:
        shown = {} if report is None else _plain(report)
        click.echo(msgspec.json.format(msgspec.json.encode(shown), indent=2))
    elif report is None or not report.runs:
        off = "" if settings.metrics.enabled else "; metrics.enabled is off"
        click.echo(f"no runs in the last {days} days in {home}{off}")
    else:
        _show(report)


def _plain(report: Report) -> Mapping[str, Any]:
    """Complete: a program should not have to know our defaults."""
    return {name: _whole(getattr(report, name)) for name in report.__struct_fields__}


def _whole(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {name: _whole(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, (list, tuple)):
        return [_whole(one) for one in value]
    return value


def _show(report: Report) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for line in _summary(report):
        console.print(Text(printable(line)))
    console.print()
    if report.by == "tool":
        _print_tools(console, report)
    else:
        _print_calls(console, report)
    for line in _chart(report, plain=not console.encoding.lower().startswith("utf")):
        console.print(Text(line, style="cyan"), no_wrap=True, crop=False, overflow="ignore")
    if report.total.unpriced:
        console.print(
            f"\n+ ?: the price of {_many(report.total.unpriced, 'answer')} is not known; settings "
            "can say it: price_input and price_output of a model",
            style="dim",
        )
    if report.uncounted:
        console.print(
            f"\n{_many(report.uncounted, 'event')} could not be counted: figures are too low",
            style="yellow",
        )


def _summary(report: Report) -> list[str]:
    total = report.total
    runs = sum(report.runs.values())
    states = ", ".join(f"{count} {status}" for status, count in report.runs.items())
    spent = f", {cost}" if (cost := _cost(total)) else ""
    lines = [
        f"last {_many(report.days, 'day')}: {_many(runs, 'run')} ({states}) "
        f"in {_many(report.sessions, 'session')}",
        f"{_many(total.answers, 'model answer')}, {_tokens(total.input)} tokens in "
        f"({_tokens(total.cache_read)} from caches), {_tokens(total.output)} out"
        f"{spent}; {_many(report.tool_calls, 'tool call')}, {report.tool_errors} failed",
    ]
    if report.errors:
        codes = ", ".join(f"{code or 'unknown'} {count}" for code, count in report.errors.items())
        lines.append(f"errors: {codes}")
    return lines


def _print_calls(console: Console, report: Report) -> None:
    from rich.table import Table
    from rich.text import Text

    rows = report.models if report.by == "model" else report.per_day
    table = Table(box=None, pad_edge=False)
    table.add_column(report.by, overflow="fold")
    columns: list[tuple[str, Callable[[Calls], str]]] = [
        ("runs", lambda one: f"{one.runs:,}"),
        ("answers", lambda one: f"{one.answers:,}"),
        ("in", lambda one: _tokens(one.input)),
        ("cached", lambda one: _tokens(one.cache_read)),
        ("written", lambda one: _tokens(one.cache_write)),
        ("out", lambda one: _tokens(one.output)),
        ("cost", _cost),
        ("s each", lambda one: f"{one.seconds / one.answers:.1f}" if one.answers else ""),
    ]
    for title, _ in columns:
        table.add_column(title, justify="right", no_wrap=True)
    for one in rows:
        table.add_row(Text(printable(one.name)), *(show(one) for _, show in columns))
    console.print(table)


def _print_tools(console: Console, report: Report) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("tool", overflow="fold")
    for title in ("calls", "failed", "s each", "longest"):
        table.add_column(title, justify="right", no_wrap=True)
    for one in report.tools:
        table.add_row(
            Text(printable(one.name)),
            f"{one.calls:,}",
            f"{one.errors:,}" if one.errors else "",
            f"{one.seconds / one.calls:.2f}",
            f"{one.longest_s:.1f} s",
        )
    console.print(table)


def _chart(report: Report, *, plain: bool) -> list[str]:
    """A column a day: dollars if any were spent, else tokens."""
    days = _all_days(report)
    if len(days) < 2:
        return []
    by_name = {one.name: one for one in report.per_day}
    money = bool(report.total.cost_usd)

    def height(one: Calls | None) -> float:
        if one is None:
            return 0.0
        return (one.cost_usd or 0.0) if money else float(one.input + one.output)

    values = [height(by_name.get(day)) for day in days]
    most = max(values)
    if not most:
        return []
    label = f"${most:.2f}" if money else _tokens(int(most))
    lines = columns(values, CHART_ROWS, plain=plain)
    margin = " " * len(label)
    unit = "dollars a day" if money else "tokens a day"
    width = max(len(days), 2 * len("01-31") + 1)
    ends = days[0][5:] + days[-1][5:].rjust(width - 5)
    drawn = [f"{margin if n else label} {line}" for n, line in enumerate(lines)]
    return ["", *drawn, f"{margin} {ends}  {unit}"]


def columns(values: Sequence[float], rows: int, *, plain: bool = False) -> list[str]:
    """A bar a value, from the top row down; the smallest that is anything can be seen."""
    signs = PLAIN if plain else EIGHTHS
    most = max(values) or 1.0
    heights = [max(1, round(value / most * rows * 8)) if value > 0 else 0 for value in values]
    return [
        "".join(signs[min(8, max(0, height - row * 8))] for height in heights).rstrip()
        for row in reversed(range(rows))
    ]


def _all_days(report: Report) -> list[str]:
    """From the first day with figures to today, those without too."""
    if not report.per_day:
        return []
    last = date.today()
    first = max(date.fromisoformat(report.per_day[0].name), last - timedelta(days=CHART_DAYS - 1))
    return [str(first + timedelta(days=n)) for n in range((last - first).days + 1)]


def _cost(one: Calls) -> str:
    """What is known of it; never 0 for what is not known."""
    if one.cost_usd is None:
        return "?" if one.unpriced else ""
    more = " + ?" if one.unpriced else ""
    if not one.cost_usd:
        return f"$0{more}"
    return f"${one.cost_usd:.2f}{more}" if one.cost_usd >= 1 else f"${one.cost_usd:.4f}{more}"


def _tokens(count: int) -> str:
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (10_000, "k")):
        if count >= size:
            return f"{count / (size if size != 10_000 else 1_000):.1f}{unit}"
    return f"{count:,}"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
