"""What was observed of a run, folded from its events: apart from what its agent says about it."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import msgspec

from bamboo_mcp.control.answers import Part, Tokens, bounded, framed, tokens
from bamboo_mcp.control.paging import shortened
from bamboo_mcp.domain.events import (
    EventRecord,
    LimitNear,
    ModelAnswered,
    ModelReplaced,
    SubagentSpawned,
    ToolFinished,
    ToolStarted,
    Warned,
)
from bamboo_mcp.domain.runs import Outcome
from bamboo_mcp.domain.subagents import Subagent

_ARGUMENT_CHARS = 300
_SAYS_CHARS = 200
_MOST = 200
"""Files, failures and subagents told at most; the newest failures, the first of the others."""

_WRITERS = frozenset(("write_file", "edit_file"))
_EXIT_CODE = re.compile(r"exit_code: (-?\d+)\b")
_WRITTEN = re.compile(r"(?:created|wrote|edited) (.+?): \d")


class ToolRun(Part, frozen=True, kw_only=True):
    """`state` is ok, failed, or unfinished: the run ended, or goes on, without its end."""

    seq: int
    tool: str
    arguments: dict[str, Any]
    state: str
    exit_code: int | None
    duration_s: float | None


class Failure(Part, frozen=True, kw_only=True):
    """`what` is a tool's name, or the code of a warning, a limit or the run's end."""

    seq: int
    what: str
    message: str


class Evidence(Part, frozen=True, kw_only=True):
    """`tools` is a page; everything else is of the whole run.

    `files_changed` are those that tools for files changed; a command may have changed more.
    """

    run_id: str
    tools: list[ToolRun]
    tools_total: int
    next_offset: int | None
    calls: dict[str, int]
    failed_calls: int
    files_changed: list[str]
    failures: list[Failure]
    subagents: list[str]
    models: list[str]
    rounds: int
    usage: Tokens
    cost_usd: float | None
    duration_s: float | None
    observed_by: str = "server"


class EvidenceFold:
    """Takes a run's events in order. Nothing a model wrote is looked at but which calls it made."""

    def __init__(self) -> None:
        self._calls: list[ToolRun] = []
        self._open: dict[str, int] = {}
        self._files: dict[str, None] = {}
        self._failures: list[Failure] = []
        self._subagents: list[str] = []
        self._models: dict[str, None] = {}

    def take(self, record: EventRecord) -> None:
        seq = record.seq
        match record.event:
            case ToolStarted(call_id=call_id, tool=tool, arguments=arguments):
                self._open[call_id] = len(self._calls)
                self._calls.append(
                    ToolRun(
                        seq=seq,
                        tool=tool,
                        arguments=bounded(arguments, _ARGUMENT_CHARS),
                        state="unfinished",
                        exit_code=None,
                        duration_s=None,
                    )
                )
            case ToolFinished() as finished:
                self._finish(seq, finished)
            case ModelAnswered(model=model):
                self._models[model] = None
            case ModelReplaced(failed=failed, reason=reason):
                self._fail(seq, failed, reason)
            case Warned(code=code, message=message):
                self._fail(seq, code, message)
            case LimitNear(limit=limit, value=value, final=True):
                self._fail(seq, limit, f"{value:g} is reached")
            case SubagentSpawned(subagent_id=subagent_id):
                self._subagents.append(subagent_id)
            case _:
                pass

    def evidence(self, subagent: Subagent, offset: int, limit: int, max_chars: int) -> Evidence:
        shown: list[ToolRun] = []
        room = max_chars
        for one in self._calls[offset : offset + limit]:
            room -= len(msgspec.json.encode(one))
            if room < 0 and shown:
                break
            shown.append(one)
        following = offset + len(shown)
        if subagent.outcome is not None:
            self._end(subagent.last_seq, subagent.outcome)
        ended = subagent.ended_at
        return Evidence(
            run_id=subagent.run_id,
            tools=shown,
            tools_total=len(self._calls),
            next_offset=following if following < len(self._calls) else None,
            calls=dict(Counter(one.tool for one in self._calls)),
            failed_calls=sum(1 for one in self._calls if one.state == "failed"),
            files_changed=list(self._files)[:_MOST],
            failures=self._failures[-_MOST:],
            subagents=self._subagents[:_MOST],
            models=[model for model in self._models if model],
            rounds=subagent.rounds,
            usage=tokens(subagent.usage),
            cost_usd=subagent.cost_usd,
            duration_s=round(ended - subagent.started_at, 3)
            if ended is not None and subagent.started_at
            else None,
        )

    def _finish(self, seq: int, finished: ToolFinished) -> None:
        # Some models use the id of a call again: then the newest is meant.
        position = self._open.pop(finished.call_id, None)
        if position is None:
            return
        call = self._calls[position]
        exit_code = None
        if call.tool == "run_command" and (found := _EXIT_CODE.match(finished.preview)):
            exit_code = int(found[1])
        self._calls[position] = msgspec.structs.replace(
            call,
            state="failed" if finished.is_error else "ok",
            exit_code=exit_code,
            duration_s=finished.duration_s,
        )
        if finished.is_error:
            self._fail(seq, call.tool, finished.preview)
        elif call.tool in _WRITERS and (path := _path(call, finished)):
            self._files[path] = None

    def _fail(self, seq: int, what: str, message: str) -> None:
        self._failures.append(Failure(seq=seq, what=what, message=shortened(message, _SAYS_CHARS)))

    def _end(self, seq: int, outcome: Outcome) -> None:
        if outcome.error:
            self._fail(seq, outcome.error_code or outcome.status, outcome.error)


def _path(call: ToolRun, finished: ToolFinished) -> str:
    """Arguments too long for an event are cut as a whole: then the tool's answer names the file."""
    path = call.arguments.get("path")
    if isinstance(path, str):
        return path
    found = _WRITTEN.match(finished.preview)
    return found[1] if found else ""


def evidence_text(subagent_id: str, one: Evidence) -> list[str]:
    spent = one.usage.input + one.usage.output
    cost = "unknown cost" if one.cost_usd is None else f"{one.cost_usd:.4f} USD"
    lines = [
        f"Observed of run {one.run_id}: {one.tools_total} tool calls, {one.failed_calls} failed, "
        f"{one.rounds} rounds, {spent} tokens, {cost}",
        f"files changed: {', '.join(one.files_changed) or 'none by tools for files'}",
    ]
    tools = [
        f"[{run.seq}] {run.tool} {msgspec.json.encode(run.arguments).decode()}: {run.state}"
        + ("" if run.exit_code is None else f", exit code {run.exit_code}")
        for run in one.tools
    ]
    tools += [f"[{bad.seq}] failure of {bad.what}: {bad.message}" for bad in one.failures]
    if tools:
        # The arguments are the subagent's words, and what tools say may be anybody's.
        lines.append(framed(subagent_id, "\n".join(tools)))
    if one.next_offset is not None:
        lines.append(f"next_offset: {one.next_offset}")
    return lines
