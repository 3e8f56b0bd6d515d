"""`/metrics`: what this process knows by itself, in the text form Prometheus reads.

Whoever keeps more (a metrics store) hands `serve_http` a source of further families.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Literal

import msgspec

from bamboo_mcp.domain.events import (
    EventRecord,
    ModelAnswered,
    QuestionAnswered,
    QuestionAsked,
    RunEnded,
    RunQueued,
    RunStarted,
    ToolFinished,
)
from bamboo_mcp.domain.ids import RunId
from bamboo_mcp.domain.value import Value

TEXT = b"text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]


class Family(Value, frozen=True, kw_only=True):
    """One metric and its samples, by labels."""

    name: str
    help: str
    kind: Literal["counter", "gauge"]
    samples: Sequence[tuple[Labels, float]]


Source = Callable[[], Iterable[Family]]
"""Gives what it knows at this moment; it neither blocks nor raises."""


def exposition(families: Iterable[Family]) -> bytes:
    lines = []
    for family in families:
        lines.append(f"# HELP {family.name} {_escaped(family.help, quotes=False)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for labels, value in family.samples:
            inside = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels)
            lines.append(f"{family.name}{f'{{{inside}}}' if inside else ''} {value:.17g}")
    return ("\n".join(lines) + "\n").encode()


def _escaped(text: str, *, quotes: bool = True) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


class Tally:
    """Counts what happens in this process; a listener of the event log, so it must be cheap."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._since = clock()
        self._events: Counter[type] = Counter()
        self._ended: Counter[str] = Counter()
        self._tools: Counter[bool] = Counter()
        self._tokens: Counter[str] = Counter()
        self._queued: set[RunId] = set()
        self._running: dict[RunId, int] = {}
        """Runs under way, and how many questions each has open."""
        self._subagents: set[RunId] = set()

    @property
    def uptime_s(self) -> float:
        return self._clock() - self._since

    def note(self, record: EventRecord) -> None:
        event = record.event
        self._events[type(event)] += 1
        match event:
            case RunQueued(subagent_id=subagent_id):
                self._queued.add(record.run_id)
                if subagent_id is not None:
                    self._subagents.add(record.run_id)
            case RunStarted(subagent_id=subagent_id):
                self._queued.discard(record.run_id)
                self._running[record.run_id] = 0
                if subagent_id is not None:
                    self._subagents.add(record.run_id)
            case QuestionAsked() | QuestionAnswered() if record.run_id in self._running:
                self._running[record.run_id] += 1 if type(event) is QuestionAsked else -1
            case ToolFinished(is_error=is_error):
                self._tools[is_error] += 1
            case ModelAnswered(usage=usage):
                self._tokens["input"] += usage.input
                self._tokens["output"] += usage.output
            case RunEnded(outcome=outcome):
                self._queued.discard(record.run_id)
                self._running.pop(record.run_id, None)
                self._subagents.discard(record.run_id)
                self._ended[outcome.status] += 1
            case _:
                pass

    def families(self) -> list[Family]:
        waiting = sum(1 for questions in self._running.values() if questions > 0)
        now = {
            "pending": len(self._queued),
            "running": len(self._running) - waiting,
            "waiting": waiting,
        }
        return [
            _gauge("bamboo_uptime_seconds", "Since this server started.", self.uptime_s),
            _family("bamboo_runs", "Runs that have not ended, by status.", "gauge", now, "status"),
            _family("bamboo_runs_ended_total", "Ended runs.", "counter", self._ended, "status"),
            _gauge("bamboo_subagents", "Subagents that have not ended.", len(self._subagents)),
            _family(
                "bamboo_events_total",
                "Events written, by kind.",
                "counter",
                {_kind(event): count for event, count in self._events.items()},
                "kind",
            ),
            _family(
                "bamboo_tool_calls_total",
                "Tool calls of agents that ended.",
                "counter",
                {"error" if failed else "ok": n for failed, n in self._tools.items()},
                "result",
            ),
            _family("bamboo_tokens_total", "Tokens used.", "counter", self._tokens, "direction"),
        ]


@cache
def _kind(event: type) -> str:
    return str(msgspec.inspect.type_info(event).tag)  # type: ignore[attr-defined]


def _gauge(name: str, words: str, value: float) -> Family:
    return Family(name=name, help=words, kind="gauge", samples=[((), value)])


def _family(
    name: str, words: str, kind: Literal["counter", "gauge"], counts: dict[str, int], label: str
) -> Family:
    samples = [(((label, key),), float(count)) for key, count in sorted(counts.items())]
    return Family(name=name, help=words, kind=kind, samples=samples)
