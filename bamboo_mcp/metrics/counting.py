"""Events of runs turned into rows: each round and tool call once, when it is over."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeAlias

from bamboo_mcp.domain.events import (
    EventRecord,
    ModelAnswered,
    ProviderWaiting,
    RoundStarted,
    RunEnded,
    RunQueued,
    RunStarted,
    SideModelAnswered,
    ToolFinished,
)
from bamboo_mcp.domain.ids import RunId, SessionId
from bamboo_mcp.domain.usage import NO_USAGE

Row: TypeAlias = tuple[str, tuple[Any, ...]]
"""A statement and its values."""

_RUNS_KEPT = 20_000
_ERROR_CHARS = 500

_SESSION = (
    "INSERT INTO sessions (session_id, first_at, last_at) VALUES (?1, ?2, ?2)"
    " ON CONFLICT (session_id) DO UPDATE SET last_at = max(last_at, ?2)"
)
_RUN = (
    "INSERT INTO runs (run_id, session_id, subagent_id, owner, model, began_at, status)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (run_id) DO UPDATE SET session_id = excluded.session_id,"
    " subagent_id = excluded.subagent_id, owner = excluded.owner, model = excluded.model,"
    " began_at = excluded.began_at, status = excluded.status"
)
_BARE_RUN = (
    "INSERT OR IGNORE INTO runs (run_id, session_id, began_at, status) VALUES (?, ?, ?, 'running')"
)
_RUN_ENDED = (
    "UPDATE runs SET ended_at = ?, status = ?, error_code = ?, error = ?,"
    " model = CASE WHEN ? = '' THEN model ELSE ? END WHERE run_id = ?"
)
_ROUND = (
    "INSERT OR REPLACE INTO rounds (run_id, round, began_at, duration_s, provider, model, status,"
    " stop, error_code, waits, input, output, cache_read, cache_write, reasoning, cost_usd)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_SIDE_CALL = (
    "INSERT OR REPLACE INTO side_calls (run_id, seq, purpose, began_at, provider, model,"
    " input, output, cache_read, cache_write, reasoning, cost_usd)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_TOOL_CALL = (
    "INSERT OR REPLACE INTO tool_calls (run_id, seq, tool, began_at, duration_s, is_error, error)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)

NAMELESS = SessionId("")
"""The session of runs whose beginning was not heard."""


class _Run:
    __slots__ = ("answered", "began_at", "round", "round_at", "session_id", "waits")

    def __init__(self, session_id: SessionId, began_at: float) -> None:
        self.session_id = session_id
        self.began_at = began_at
        self.round = 0
        self.round_at = 0.0
        self.waits = 0
        self.answered = True


class Counting:
    """Remembers of each run which round is under way; everything else is in the rows."""

    def __init__(self) -> None:
        self._runs: OrderedDict[RunId, _Run] = OrderedDict()
        self._ended_now: dict[RunId, _Run] = {}

    def rows(self, batch: Iterable[EventRecord]) -> list[Row]:
        """What is to be written because of these events, in order."""
        self._ended_now.clear()
        rows: list[Row] = []
        for record in batch:
            make = _ROWS.get(type(record.event))
            if make is not None:
                rows += make(self, record, record.event)
        return rows

    def foundation(self) -> list[Row]:
        """What the latest rows stand on, for a file that does not have it (any more)."""
        rows: list[Row] = []
        for run_id, run in (*self._runs.items(), *self._ended_now.items()):
            rows.append((_SESSION, (run.session_id, run.began_at)))
            rows.append((_BARE_RUN, (run_id, run.session_id, run.began_at)))
        return rows

    def _begun(self, record: EventRecord, event: RunQueued | RunStarted) -> Iterator[Row]:
        self._remember(record.run_id, _Run(event.session_id, record.at))
        started = isinstance(event, RunStarted)
        yield _SESSION, (event.session_id, record.at)
        yield (
            _RUN,
            (
                record.run_id,
                event.session_id,
                event.subagent_id or "",
                event.owner or "",
                event.model if isinstance(event, RunStarted) else "",
                record.at,
                "running" if started else "pending",
            ),
        )

    def _round(self, record: EventRecord, event: RoundStarted) -> Iterator[Row]:
        run = yield from self._known(record)
        if not run.answered:
            yield _unanswered(record, run, "unanswered", "")
        run.round, run.round_at, run.waits, run.answered = event.round, record.at, 0, False

    def _waited(self, record: EventRecord, event: ProviderWaiting) -> Iterator[Row]:
        run = yield from self._known(record)
        run.waits += 1

    def _answered(self, record: EventRecord, event: ModelAnswered) -> Iterator[Row]:
        run = yield from self._known(record)
        began_at = run.round_at if run.round == event.round else record.at
        run.answered = True
        usage = event.usage
        yield (
            _ROUND,
            (
                *(record.run_id, event.round, began_at, max(0.0, record.at - began_at)),
                *(event.provider, event.model, "answered", event.stop, "", run.waits),
                *(usage.input, usage.output, usage.cache_read, usage.cache_write),
                *(usage.reasoning, event.cost_usd),
            ),
        )

    def _side_call(self, record: EventRecord, event: SideModelAnswered) -> Iterator[Row]:
        yield from self._known(record)
        provider, _, model = event.model.partition(":")
        usage = event.usage
        yield (
            _SIDE_CALL,
            (
                *(record.run_id, record.seq, event.purpose, record.at, provider, model),
                *(usage.input, usage.output, usage.cache_read, usage.cache_write),
                *(usage.reasoning, event.cost_usd),
            ),
        )

    def _tool(self, record: EventRecord, event: ToolFinished) -> Iterator[Row]:
        yield from self._known(record)
        error = event.preview[:_ERROR_CHARS] if event.is_error else ""
        began_at = record.at - event.duration_s
        yield (
            _TOOL_CALL,
            (
                *(record.run_id, record.seq, event.tool, began_at, event.duration_s),
                *(int(event.is_error), error),
            ),
        )

    def _ended(self, record: EventRecord, event: RunEnded) -> Iterator[Row]:
        run = yield from self._known(record)
        self._ended_now[record.run_id] = self._runs.pop(record.run_id)
        outcome = event.outcome
        if not run.answered:
            yield _unanswered(record, run, outcome.status, outcome.error_code)
        yield _SESSION, (run.session_id, record.at)
        yield (
            _RUN_ENDED,
            (
                *(record.at, outcome.status, outcome.error_code, outcome.error[:_ERROR_CHARS]),
                *(outcome.model, outcome.model, record.run_id),
            ),
        )

    def _known(self, record: EventRecord) -> Generator[Row, None, _Run]:
        """The run of an event; one whose beginning was not heard gets a row of its own."""
        run = self._runs.get(record.run_id)
        if run is None:
            run = _Run(NAMELESS, record.at)
            self._remember(record.run_id, run)
            yield _SESSION, (NAMELESS, record.at)
            yield _BARE_RUN, (record.run_id, NAMELESS, record.at)
        return run

    def _remember(self, run_id: RunId, run: _Run) -> None:
        self._runs[run_id] = run
        if len(self._runs) > _RUNS_KEPT:
            self._runs.popitem(last=False)


def _unanswered(record: EventRecord, run: _Run, status: str, code: str) -> Row:
    usage = NO_USAGE
    return (
        _ROUND,
        (
            *(record.run_id, run.round, run.round_at, max(0.0, record.at - run.round_at)),
            *("", "", status, "", code, run.waits),
            *(usage.input, usage.output, usage.cache_read, usage.cache_write, usage.reasoning),
            None,
        ),
    )


_ROWS: dict[type, Callable[[Counting, EventRecord, Any], Iterator[Row]]] = {
    RunQueued: Counting._begun,
    RunStarted: Counting._begun,
    RoundStarted: Counting._round,
    ProviderWaiting: Counting._waited,
    ModelAnswered: Counting._answered,
    SideModelAnswered: Counting._side_call,
    ToolFinished: Counting._tool,
    RunEnded: Counting._ended,
}
KINDS = frozenset(_ROWS)
"""The events that are counted."""
