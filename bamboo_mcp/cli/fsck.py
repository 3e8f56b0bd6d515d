"""`bamboo-mcp fsck`: look for damage in the home folder, and repair what can be, when told to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from bamboo_mcp.cli.failures import ERROR
from bamboo_mcp.cli.options import invocation, settings_options
from bamboo_mcp.cli.plain_text import printable
from bamboo_mcp.domain.errors import BambooError

if TYPE_CHECKING:
    from bamboo_mcp.disk.checking import Finding


@click.command()
@settings_options
@click.option("--repair", is_flag=True, help="Repair what can be, after showing what and asking.")
@click.option("--yes", is_flag=True, help="With --repair: do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Findings as JSON lines, for programs.")
@click.pass_context
def fsck(context: click.Context, repair: bool, yes: bool, as_json: bool) -> None:
    """Look for damage in the home folder: sessions, runs, the index and the search.

    Every line of every journal is read. Without --repair nothing is changed. Ends with 1 when
    there was damage; what is merely left over does not count.
    """
    from bamboo_mcp.app.upkeep import check_home

    home = invocation().settings().home
    findings = check_home(home)
    damage = [one for one in findings if not one.harmless]
    if as_json:
        for one in findings:
            click.echo(msgspec.json.encode(_plain(home, one)))
    else:
        _print(home, findings)
        _print_end(home, findings, damage)
    if repair:
        _repair(home, findings, yes=yes)
    if damage:
        context.exit(ERROR)


def _print(home: Path, findings: Sequence[Finding]) -> None:
    for one in findings:
        color = None if one.harmless else "red"
        click.secho(f"{_place(home, one)}: {printable(one.what)}", fg=color)
        if one.repair:
            click.echo(f"    --repair would {printable(one.repair_words)}")
        elif not one.harmless:
            click.echo("    cannot be repaired; what is around it is read all the same")


def _print_end(home: Path, findings: Sequence[Finding], damage: Sequence[Finding]) -> None:
    if not home.is_dir():
        click.echo(f"there is no home folder {printable(str(home))} yet")
    elif not findings:
        click.echo("all is well")
    else:
        others = len(findings) - len(damage)
        click.echo(f"\n{len(damage)} damaged, {others} left over or otherwise harmless")


def _repair(home: Path, findings: Sequence[Finding], *, yes: bool) -> None:
    """One by one, each after it was said; asked once for all."""
    from bamboo_mcp.app.upkeep import repair

    planned = [one for one in findings if one.repair]
    if not planned:
        click.echo("nothing to repair", err=True)
        return
    if not yes:
        for one in planned:
            click.echo(f"{_place(home, one)}: {printable(one.repair_words)}", err=True)
        click.confirm(f"Do these {len(planned)}?", abort=True, err=True)
    for finding in {(one.path, one.repair): one for one in planned}.values():
        try:
            repair(home, finding)
        except BambooError as error:
            click.secho(f"{_place(home, finding)}: {printable(error.message)}", fg="red", err=True)
        else:
            click.echo(
                f"{_place(home, finding)}: done: {printable(finding.repair_words)}", err=True
            )


def _place(home: Path, finding: Finding) -> str:
    """The file, from the home folder on, with the line where there is one."""
    path = finding.path
    shown = path.relative_to(home).as_posix() if path.is_relative_to(home) else str(path)
    return printable(f"{shown}:{finding.line}" if finding.line else shown)


def _plain(home: Path, finding: Finding) -> dict[str, Any]:
    return {
        "path": str(finding.path),
        "line": finding.line,
        "what": finding.what,
        "damage": not finding.harmless,
        "repair": finding.repair_words,
    }
