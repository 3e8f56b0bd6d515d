"""A run as a person watches it: the answer on standard output, all else on standard error."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

import anyio
import click
import msgspec

from bamboo_mcp.cli.failures import show_error
from bamboo_mcp.cli.plain_text import printable, short
from bamboo_mcp.domain.errors import StorageError
from bamboo_mcp.domain.events import (
    EventRecord,
    LimitNear,
    ModelReplaced,
    ProviderWaiting,
    QuestionAnswered,
    RoundStarted,
    RunEnded,
    RunEvent,
    SubagentEnded,
    SubagentSpawned,
    TextDelta,
    ToolFinished,
    ToolStarted,
    Warned,
)
from bamboo_mcp.domain.runs import Outcome

LINE = 100


class View(Protocol):
    """Shows the events of one run, in order. May wait for whoever reads the output."""

    async def show(self, record: EventRecord) -> None: ...


class JsonLines:
    """For programs: every event as one line of JSON on standard output, and nothing else."""

    async def show(self, record: EventRecord) -> None:
        await _write(msgspec.json.encode(record).decode() + "\n")


class Screen:
    """For people, and for pipes.

    With `live` text is written as it comes, that of every round. Without (a pipe, a file) only the
    answer is, at the end: what a model says between its tool calls is none.
    """

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._in_line = False
        self._began = 0.0

    async def show(self, record: EventRecord) -> None:
        self._began = self._began or record.at
        match record.event:
            case TextDelta(text=text) if self._live:
                await _write(printable(text))
                self._in_line = not text.endswith("\n") if text else self._in_line
            case RoundStarted():
                await self._end_line()
            case RunEnded(outcome=outcome):
                await self._end(outcome, record.at - self._began)
            case event:
                if line := _line_of(event):
                    await self._end_line()
                    click.secho(line, dim=True, err=True)

    async def _end_line(self) -> None:
        if self._in_line:
            self._in_line = False
            await _write("\n")

    async def _end(self, outcome: Outcome, seconds: float) -> None:
        if not self._live and outcome.text:
            await _write(outcome.text if outcome.text.endswith("\n") else outcome.text + "\n")
        await self._end_line()
        match outcome.status:
            case "completed":
                pass
            case "cancelled":
                click.secho(f"cancelled: {printable(outcome.error)}", fg="yellow", err=True)
            case "error" | "lost":
                show_error(f"{outcome.error_code or outcome.status}: {outcome.error}")
        for steer in outcome.undelivered:
            click.secho(f"never read: {short(steer.text, LINE)}", dim=True, err=True)
        click.secho(usage_line(outcome, seconds), dim=True, err=True)


def usage_line(outcome: Outcome, seconds: float) -> str:
    usage = outcome.usage
    cached = f" ({usage.cache_read:,} cached)" if usage.cache_read else ""
    parts = [
        outcome.model,
        f"{outcome.rounds} round{'' if outcome.rounds == 1 else 's'}",
        f"{usage.input:,} tokens in{cached}, {usage.output:,} out",
        "" if outcome.cost_usd is None else f"${outcome.cost_usd:.4f}",
        f"{seconds:.1f} s",
    ]
    return " · ".join(part for part in parts if part)


def _line_of(event: RunEvent) -> str:
    """The event as one line, "" for what is not worth one."""
    match event:
        case ToolStarted(tool=tool, arguments=arguments):
            return f"→ {printable(tool)} {_arguments(arguments)}".rstrip()
        case ToolFinished(tool=tool, is_error=True, preview=preview):
            return f"✗ {printable(tool)}: {short(_message(preview), LINE)}"
        case ProviderWaiting(delay_s=delay, reason=reason):
            return f"… waiting {delay:.{0 if delay >= 1 else 1}f} s: {short(reason, LINE)}"
        case ModelReplaced(failed=failed, model=model, reason=reason):
            return f"! {failed} cannot answer, {model} goes on: {short(reason, LINE)}"
        case LimitNear(limit=limit, value=value, final=final):
            return f"! {'at' if final else 'near'} the limit {limit} ({value:g})"
        case Warned(message=message):
            return f"! {short(message, LINE)}"
        case SubagentSpawned(subagent_id=subagent_id, title=title):
            return f"+ subagent {subagent_id[:12]} {short(title, LINE)}".rstrip()
        case SubagentEnded(subagent_id=subagent_id, status=status):
            return f"- subagent {subagent_id[:12]}: {status}"
        case QuestionAnswered(answer=answer) if answer.by != "person":
            return f"! {answer.decision}: {short(answer.reason or answer.by, LINE)}"
        case _:
            return ""


def _message(preview: str) -> str:
    """A tool's failure is JSON for the model (`tools.error_result`); a person reads its message."""
    try:
        return msgspec.json.decode(preview, type=_Failed).error.message
    except msgspec.MsgspecError:
        return preview


class _Error(msgspec.Struct):
    message: str


class _Failed(msgspec.Struct):
    error: _Error


def _arguments(arguments: Mapping[str, Any]) -> str:
    shown = (
        f"{name}={short(value if isinstance(value, str) else repr(value), 60)}"
        for name, value in arguments.items()
    )
    return short(" ".join(shown), LINE)


async def _write(text: str) -> None:
    """Outside the loop's thread: a pager that does not read on must not stop the run."""
    await anyio.to_thread.run_sync(_write_now, text)


def _write_now(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, errors="replace").decode(encoding))
        sys.stdout.flush()
    except OSError as error:
        _discard_output()
        if error.errno == errno.EPIPE:
            raise
        raise StorageError(f"standard output cannot be written: {error.strerror}") from error


def _discard_output() -> None:
    """What is still buffered would fail once more when the interpreter ends."""
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
