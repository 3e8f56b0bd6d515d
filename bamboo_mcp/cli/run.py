"""`bamboo-mcp run "task"`: the agent at work in the terminal, or in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import click

from bamboo_mcp.cli.asking import Asker, NobodyThere, Person
from bamboo_mcp.cli.collector import settle
from bamboo_mcp.cli.failures import CANCELLED, ERROR
from bamboo_mcp.cli.logs import configure_logging
from bamboo_mcp.cli.options import Invocation, Wrap, check_mode, invocation, settings_options
from bamboo_mcp.cli.plain_text import printable
from bamboo_mcp.cli.screen import JsonLines, Screen, View
from bamboo_mcp.cli.signals import interrupts
from bamboo_mcp.cli.terminal import StandardInput
from bamboo_mcp.cli.watching import TERMINAL, watch_run
from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.domain.questions import MODES, PermissionMode
from bamboo_mcp.domain.subagents import SubagentSpec
from bamboo_mcp.settings import Settings

MAX_TASK_BYTES = 4_000_000

_EXIT_CODES = {"completed": 0, "cancelled": CANCELLED, "error": ERROR, "lost": ERROR}


@click.command()
@click.argument("task")
@settings_options
@click.option("--json", "as_json", is_flag=True, help="One JSON event a line on standard output.")
@click.option("--mode", type=click.Choice(MODES), help="What may happen without asking you.")
@click.option("--max-mode", type=click.Choice(MODES), help="The freest mode any run may have.")
@click.option("--max-rounds", type=int, metavar="N", help="Most model calls.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Longest time.")
@click.option("--system", default="", metavar="TEXT", help="System prompt.")
@click.option(
    "--record",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a script that plays the run again: --model scripted:FILE.",
)
@click.option("--force", is_flag=True, help="Let --record replace a file.")
@click.pass_context
def run(
    context: click.Context,
    task: str,
    as_json: bool,
    mode: PermissionMode | None,
    max_mode: PermissionMode | None,
    max_rounds: int | None,
    timeout: float | None,
    system: str,
    record: Path | None,
    force: bool,
) -> None:
    """Let the agent do TASK ("-": read it from standard input).

    The answer goes to standard output, all else to standard error. Ctrl-C cancels and keeps what
    was written; a second one leaves at once. Exit codes: 0 completed, 1 error, 2 usage, 130
    cancelled.
    """
    said = invocation()
    settings = said.settings(
        {
            "limits.max_rounds": max_rounds,
            "limits.timeout_s": timeout,
            "permissions.default_mode": mode,
            "permissions.max_mode": max_mode,
        }
    )
    check_mode("--mode", mode, settings)
    spec = SubagentSpec(
        task=_task(task),
        system_prompt=system,
        limits=settings.limits.limits(),
        permission_mode=mode,
        caller=TERMINAL,
        depth=0,
        may_spawn=True,
    )
    if sys.stdout is None:
        raise InvalidInput("standard output is closed: there is nowhere to put the answer")
    view: View = JsonLines() if as_json else Screen(live=sys.stdout.isatty())
    there = sys.stdin is not None and sys.stdin.isatty()
    asker: Asker = Person(StandardInput()) if there else NobodyThere()
    with configure_logging(settings, verbose=said.verbose):
        with _recorded(record, force=force, quiet=as_json) as wrap:
            code = anyio.run(_run, said, settings, spec, view, asker, wrap)
        context.exit(code)


@contextmanager
def _recorded(path: Path | None, *, force: bool, quiet: bool) -> Iterator[Wrap | None]:
    """What is put around the models so that the run can be written down, whatever its end."""
    if path is None:
        if force:
            raise click.UsageError("--force says that --record may replace a file: name one")
        yield None
        return
    from bamboo_mcp.app.recording import RecordedRun

    recorded = RecordedRun(path, replace=force)
    try:
        yield recorded.wrap
    finally:
        line = recorded.save()
        if not quiet:
            click.secho(printable(line), dim=True, err=True)


async def _run(
    said: Invocation,
    settings: Settings,
    spec: SubagentSpec,
    view: View,
    asker: Asker,
    wrap: Wrap | None,
) -> int:
    with interrupts() as arriving:
        async with said.open_app(settings, wrap=wrap) as app:
            settle()
            outcome = await watch_run(app, spec, view=view, asker=asker, interrupts=arriving)
    return CANCELLED if outcome is None else _EXIT_CODES[outcome.status]


def _task(said: str) -> str:
    """The task itself; `-` is standard input.

    Raises:
        InvalidInput: It is empty, too long, or not text.
    """
    if said == "-":
        if sys.stdin is None:
            raise InvalidInput("standard input is closed, and the task should be there")
        data = sys.stdin.buffer.read(MAX_TASK_BYTES + 1)
    else:
        data = said.encode("utf-8", errors="surrogateescape")
    if len(data) > MAX_TASK_BYTES:
        raise InvalidInput(
            f"the task is longer than {MAX_TASK_BYTES:,} bytes",
            hint="write the material to a file and name the file in the task",
        )
    try:
        task = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the task is not UTF-8 text (byte {error.start})") from None
    if not task.strip():
        raise InvalidInput("the task is empty", hint="say what shall be done")
    return task
