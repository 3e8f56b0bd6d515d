"""What the figures say: totals of a stretch of time, and the same by model, day or tool."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from bamboo_mcp.domain.ids import OwnerId
from bamboo_mcp.domain.value import Value
from bamboo_mcp.metrics.database import metrics_file, open_for_reading, unreadable

if TYPE_CHECKING:
    from sqlite3 import Connection, Row

Grouping: TypeAlias = Literal["model", "day", "tool"]

DAY_S = 86_400.0


class Calls(Value, frozen=True, kw_only=True):
    """Model calls of one model or day."""

    name: str
    runs: int
    answers: int
    unanswered: int
    """Rounds that ended without an answer: refused, cut off, cancelled."""
    waits: int
    """Pauses before another try."""
    input: int
    output: int
    cache_read: int
    cache_write: int
    reasoning: int
    cost_usd: float | None
    """Of the answers whose cost is known; None when it is of none."""
    unpriced: int
    """Answers whose cost is not known."""
    seconds: float
    """Spent in model calls that were answered."""


class ToolUse(Value, frozen=True, kw_only=True):
    """Calls of one tool."""

    name: str
    calls: int
    errors: int
    seconds: float
    longest_s: float


class Report(Value, frozen=True, kw_only=True):
    """The figures since `since` (epoch seconds). `total` is of all model calls."""

    since: float
    days: int
    sessions: int
    runs: Mapping[str, int]
    """By status. `lost`: the process of an unfinished run is gone."""
    errors: Mapping[str, int]
    """Of runs, by code."""
    tool_calls: int
    tool_errors: int
    total: Calls
    by: Grouping
    models: Sequence[Calls] = ()
    per_day: Sequence[Calls] = ()
    """Each day that has any, in order; `name` is the day in local time."""
    tools: Sequence[ToolUse] = ()
    uncounted: int = 0
    """Events that came too fast to be counted, or could not be written."""


_CALLS = """
SELECT {name} AS name, count(DISTINCT run_id) AS runs,
    coalesce(sum(status = 'answered'), 0) AS answers,
    coalesce(sum(status != 'answered'), 0) AS unanswered,
    coalesce(sum(waits), 0) AS waits,
    coalesce(sum(input), 0) AS input, coalesce(sum(output), 0) AS output,
    coalesce(sum(cache_read), 0) AS cache_read, coalesce(sum(cache_write), 0) AS cache_write,
    coalesce(sum(reasoning), 0) AS reasoning,
    sum(cost_usd) AS cost_usd,
    coalesce(sum(status = 'answered' AND cost_usd IS NULL), 0) AS unpriced,
    coalesce(sum(CASE WHEN status = 'answered' THEN duration_s END), 0.0) AS seconds
FROM (
    SELECT run_id, began_at, provider, model, status, waits, input, output, cache_read,
        cache_write, reasoning, cost_usd, duration_s
    FROM rounds WHERE began_at >= ?1
    UNION ALL
    SELECT run_id, began_at, provider, model, 'answered', 0, input, output, cache_read,
        cache_write, reasoning, cost_usd, 0.0
    FROM side_calls WHERE began_at >= ?1
) WHERE 1 {rest}
"""
_TOOLS = """
SELECT tool AS name, count(*) AS calls, sum(is_error) AS errors,
    sum(duration_s) AS seconds, max(duration_s) AS longest_s
FROM tool_calls WHERE began_at >= ? GROUP BY tool ORDER BY calls DESC, tool
"""
_MODEL = "CASE WHEN provider = '' THEN model ELSE provider || ':' || model END"
_DAY = "date(began_at, 'unixepoch', 'localtime')"


def read_report(
    home: Path,
    *,
    now: float,
    days: int,
    by: Grouping,
    alive: Callable[[OwnerId], bool] = lambda owner: True,
) -> Report | None:
    """The figures of the last `days` days; None when nothing was ever counted.

    Raises:
        StorageError: The file cannot be read; `StorageCorrupt` when it is damaged.
    """
    path = metrics_file(home)
    connection = open_for_reading(path)
    if connection is None:
        return None
    from sqlite3 import DatabaseError, Row

    connection.row_factory = Row
    with closing(connection):
        try:
            # One transaction: all figures are of the same moment.
            connection.execute("BEGIN")
            if not connection.execute("PRAGMA user_version").fetchone()[0]:
                return None  # made, and nothing written yet
            return _read(connection, now - days * DAY_S, days, by, alive)
        except DatabaseError as error:
            raise unreadable(path, error) from error


def _read(
    connection: Connection,
    since: float,
    days: int,
    by: Grouping,
    alive: Callable[[OwnerId], bool],
) -> Report:
    [total] = _calls(connection, since, "'total'", "")
    used, failed = connection.execute(
        "SELECT count(*), coalesce(sum(is_error), 0) FROM tool_calls WHERE began_at >= ?", (since,)
    ).fetchone()
    return Report(
        since=since,
        days=days,
        sessions=_one(
            connection,
            "SELECT count(DISTINCT session_id) FROM runs WHERE began_at >= ? AND session_id != ''",
            since,
        ),
        runs=_statuses(connection, since, alive),
        errors=dict(
            connection.execute(
                "SELECT error_code, count(*) FROM runs WHERE began_at >= ? AND status = 'error'"
                " GROUP BY error_code ORDER BY count(*) DESC, error_code",
                (since,),
            ).fetchall()
        ),
        tool_calls=used,
        tool_errors=failed,
        total=total,
        by=by,
        models=_calls(
            connection,
            since,
            _MODEL,
            "AND status = 'answered' GROUP BY name ORDER BY answers DESC, name",
        )
        if by == "model"
        else (),
        per_day=_calls(connection, since, _DAY, "GROUP BY name ORDER BY name"),
        tools=[ToolUse(**_fields(row)) for row in connection.execute(_TOOLS, (since,))]
        if by == "tool"
        else (),
        uncounted=_one(
            connection, "SELECT coalesce(sum(events), 0) FROM gaps WHERE at >= ?", since
        ),
    )


def _calls(connection: Connection, since: float, name: str, rest: str) -> list[Calls]:
    found = connection.execute(_CALLS.format(name=name, rest=rest), (since,))
    return [Calls(**_fields(row)) for row in found]


def _fields(row: Row) -> dict[str, Any]:
    return dict(zip(row.keys(), row, strict=True))


def _one(connection: Connection, statement: str, since: float) -> int:
    return int(connection.execute(statement, (since,)).fetchone()[0])


def _statuses(
    connection: Connection, since: float, alive: Callable[[OwnerId], bool]
) -> dict[str, int]:
    counted: dict[str, int] = {}
    living: dict[str, bool] = {}
    for status, owner, runs in connection.execute(
        "SELECT status, CASE WHEN ended_at IS NULL THEN owner END, count(*) FROM runs"
        " WHERE began_at >= ? GROUP BY 1, 2 ORDER BY 3 DESC, 1",
        (since,),
    ):
        if owner is not None:
            if owner not in living:
                living[owner] = alive(OwnerId(owner))
            status = status if living[owner] else "lost"
        counted[status] = counted.get(status, 0) + runs
    return counted
