"""Runs told to a recorder of figures, event by event, and what its file then says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import connect
from typing import Any

from bamboo_mcp.domain.events import (
    EventRecord,
    ModelAnswered,
    RoundStarted,
    RunEnded,
    RunEvent,
    RunStarted,
    ToolFinished,
)
from bamboo_mcp.domain.ids import CallId, OwnerId, RunId, SessionId
from bamboo_mcp.domain.runs import Outcome
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.metrics.database import metrics_file
from bamboo_mcp.metrics.recorder import Recorder
from bamboo_mcp.metrics.report import Grouping, Report, read_report

NOW = 1_800_000_000.0
DAY_S = 86_400.0


class Teller:
    """Tells events of one run, a second apart."""

    def __init__(self, sink: Recorder, run_id: str = "run_1", *, at: float = NOW) -> None:
        self._sink = sink
        self._run_id = RunId(run_id)
        self._seq = 0
        self.at = at

    def tell(self, *events: RunEvent) -> None:
        for event in events:
            self._seq += 1
            self.at += 1
            self._sink.emit(
                EventRecord(run_id=self._run_id, seq=self._seq, at=self.at, event=event)
            )


def whole_run(session_id: str = "ses_1", *, cost: float | None = 0.25) -> list[RunEvent]:
    """Two rounds, a tool that works and one that fails."""
    usage = Usage(input=100, output=10, cache_read=60, cache_write=30, reasoning=5)
    answered = ModelAnswered(round=1, provider="p", model="m", usage=usage, cost_usd=cost)
    return [
        RunStarted(session_id=SessionId(session_id), owner=OwnerId("own_1"), model="p:m"),
        RoundStarted(round=1),
        answered,
        ToolFinished(call_id=CallId("c1"), tool="look", duration_s=0.5),
        ToolFinished(call_id=CallId("c1"), tool="fail", duration_s=0.25, is_error=True),
        RoundStarted(round=2),
        ModelAnswered(round=2, provider="p", model="m", usage=usage, cost_usd=cost),
        RunEnded(outcome=Outcome(status="completed", usage=usage + usage, rounds=2, model="p:m")),
    ]


@contextmanager
def recorder(home: Path, **options: Any) -> Iterator[Recorder]:
    made = Recorder(metrics_file(home), batch_s=0.001, clock=lambda: NOW, **options)
    try:
        yield made
    finally:
        made.close()


def report(home: Path, *, days: int = 30, by: Grouping = "model", **more: Any) -> Report:
    found = read_report(home, now=NOW + 100, days=days, by=by, **more)
    assert found is not None
    return found


def rows(home: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(connect(metrics_file(home))) as connection:
        return connection.execute(statement).fetchall()


def fields(value: Any, *names: str) -> Mapping[str, Any]:
    return {name: getattr(value, name) for name in names}
