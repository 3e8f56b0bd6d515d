from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from bamboo_mcp.domain.events import (
    EventRecord,
    ModelAnswered,
    ProviderWaiting,
    RoundStarted,
    RunEnded,
    RunQueued,
    RunStarted,
    SideModelAnswered,
    TextDelta,
)
from bamboo_mcp.domain.ids import RunId, SessionId
from bamboo_mcp.domain.runs import Outcome
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.metrics.database import metrics_file
from bamboo_mcp.metrics.recorder import Recorder
from bamboo_mcp.metrics.report import read_report
from tests.metrics.counted import (
    DAY_S,
    NOW,
    Teller,
    fields,
    recorder,
    report,
    rows,
    whole_run,
)


def test_a_run_is_counted_with_its_rounds_tools_tokens_and_cost(tmp_path: Path) -> None:
    with recorder(tmp_path) as sink:
        Teller(sink).tell(*whole_run())
    found = report(tmp_path)
    assert (found.sessions, found.runs, found.errors) == (1, {"completed": 1}, {})
    assert (found.tool_calls, found.tool_errors) == (2, 1)
    [model] = found.models
    assert fields(model, "name", "runs", "answers", "unanswered", "unpriced") == {
        "name": "p:m",
        "runs": 1,
        "answers": 2,
        "unanswered": 0,
        "unpriced": 0,
    }
    assert fields(model, "input", "output", "cache_read", "cache_write", "reasoning") == {
        "input": 200,
        "output": 20,
        "cache_read": 120,
        "cache_write": 60,
        "reasoning": 10,
    }
    assert (model.cost_usd, model.seconds) == (0.5, 2.0)
    by_tool = {one.name: one for one in report(tmp_path, by="tool").tools}
    assert (by_tool["look"].errors, by_tool["fail"].errors) == (0, 1)
    assert by_tool["look"].longest_s == 0.5


def test_a_cost_that_is_not_known_is_never_nothing(tmp_path: Path) -> None:
    with recorder(tmp_path) as sink:
        Teller(sink).tell(*whole_run(cost=None))
    assert (report(tmp_path).total.cost_usd, report(tmp_path).total.unpriced) == (None, 2)
    with recorder(tmp_path) as sink:
        Teller(sink, "run_2").tell(*whole_run())
    assert (report(tmp_path).total.cost_usd, report(tmp_path).total.unpriced) == (0.5, 2)


def test_a_model_that_is_asked_beside_the_run_counts_as_well(tmp_path: Path) -> None:
    usage = Usage(input=7, output=3)
    with recorder(tmp_path) as sink:
        Teller(sink).tell(
            *whole_run()[:-1],
            SideModelAnswered(purpose="judge", model="q:small", usage=usage, cost_usd=0.125),
            whole_run()[-1],
        )
    found = report(tmp_path)
    assert (found.total.answers, found.total.input, found.total.cost_usd) == (3, 207, 0.625)
    assert [(one.name, one.output) for one in found.models] == [("p:m", 20), ("q:small", 3)]


def test_a_round_that_got_no_answer_says_how_the_run_ended(tmp_path: Path) -> None:
    failed = Outcome(status="error", error_code="rate_limited", error="too many", rounds=2)
    with recorder(tmp_path) as sink:
        Teller(sink).tell(
            RunStarted(session_id=SessionId("s")),
            RoundStarted(round=1),
            RoundStarted(round=2),
            ProviderWaiting(delay_s=1.0, reason="busy"),
            ProviderWaiting(delay_s=2.0, reason="busy"),
            RunEnded(outcome=failed),
        )
    found = report(tmp_path)
    assert (found.runs, found.errors) == ({"error": 1}, {"rate_limited": 1})
    assert fields(found.total, "answers", "unanswered", "waits") == {
        "answers": 0,
        "unanswered": 2,
        "waits": 2,
    }
    assert rows(tmp_path, "SELECT round, status, error_code, waits FROM rounds") == [
        (1, "unanswered", "", 0),
        (2, "error", "rate_limited", 2),
    ]
    assert rows(tmp_path, "SELECT error FROM runs") == [("too many",)]


def test_a_run_that_never_came_to_its_turn_is_counted_too(tmp_path: Path) -> None:
    with recorder(tmp_path) as sink:
        Teller(sink).tell(
            RunQueued(session_id=SessionId("s")), RunEnded(outcome=Outcome(status="cancelled"))
        )
        Teller(sink, "run_2").tell(RunQueued(session_id=SessionId("s")))
    assert report(tmp_path).runs == {"cancelled": 1, "pending": 1}


def test_an_unfinished_run_of_a_process_that_is_gone_is_lost(tmp_path: Path) -> None:
    with recorder(tmp_path) as sink:
        Teller(sink).tell(*whole_run()[:3])
        Teller(sink, "run_2").tell(*whole_run())
    assert report(tmp_path, alive=lambda owner: True).runs == {"completed": 1, "running": 1}
    assert report(tmp_path, alive=lambda owner: False).runs == {"completed": 1, "lost": 1}


def test_the_same_events_told_twice_are_counted_once(tmp_path: Path) -> None:
    for _ in range(2):
        with recorder(tmp_path) as sink:
            Teller(sink).tell(*whole_run())
    found = report(tmp_path)
    assert (found.total.answers, found.tool_calls, sum(found.runs.values())) == (2, 2, 1)


def test_what_happens_in_a_run_whose_beginning_was_not_heard_is_counted(tmp_path: Path) -> None:
    with recorder(tmp_path) as sink:
        Teller(sink).tell(*whole_run()[1:])
    found = report(tmp_path)
    assert (found.sessions, found.runs, found.total.answers) == (0, {"completed": 1}, 2)


def test_days_are_counted_apart_and_those_before_are_left_out(tmp_path: Path) -> None:
    with recorder(tmp_path) as sink:
        for day in range(4):
            Teller(sink, f"run_{day}", at=NOW - day * DAY_S).tell(*whole_run())
    assert [one.answers for one in report(tmp_path, days=3, by="day").per_day] == [2, 2, 2]
    assert sum(report(tmp_path, days=3).runs.values()) == 3


def test_old_runs_are_removed_with_all_that_is_theirs(tmp_path: Path) -> None:
    with recorder(tmp_path, keep_days=None) as sink:
        Teller(sink, "old", at=NOW - 91 * DAY_S).tell(*whole_run("ses_old"))
        Teller(sink, "both", at=NOW - 91 * DAY_S).tell(*whole_run("ses_1"))
        Teller(sink, "dead", at=NOW - 91 * DAY_S).tell(*whole_run("ses_dead")[:3])
        Teller(sink, "kept", at=NOW - 89 * DAY_S).tell(*whole_run("ses_1"))
    assert len(rows(tmp_path, "SELECT * FROM runs")) == 4
    with recorder(tmp_path) as sink:
        Teller(sink, "new").tell(*whole_run("ses_1"))
        swept = _swept(sink)
    assert swept
    assert rows(tmp_path, "SELECT run_id FROM runs ORDER BY 1") == [("kept",), ("new",)]
    assert rows(tmp_path, "SELECT DISTINCT run_id FROM rounds ORDER BY 1") == [("kept",), ("new",)]
    assert rows(tmp_path, "SELECT DISTINCT run_id FROM tool_calls ORDER BY 1") == [
        ("kept",),
        ("new",),
    ]
    assert rows(tmp_path, "SELECT session_id FROM sessions") == [("ses_1",)]


def _swept(sink: Recorder) -> bool:
    """Close, and with it wait for the sweep that follows the first batch."""
    sink.close()
    return True


def test_what_comes_too_fast_is_dropped_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Recorder(metrics_file(tmp_path), most_waiting=8, batch_s=60, clock=lambda: NOW)
    Teller(sink).tell(*whole_run())
    Teller(sink, "run_2").tell(*whole_run())
    with caplog.at_level(logging.WARNING):
        sink.close()
    assert "8 events were not counted: too many at once" in caplog.text
    found = report(tmp_path)
    assert (found.runs, found.uncounted) == ({"completed": 1}, 8)


def test_an_event_is_only_put_down_by_whoever_tells_it(tmp_path: Path) -> None:
    """A file that another process holds locked keeps nobody waiting."""
    with recorder(tmp_path) as sink:
        Teller(sink).tell(*whole_run())
    with closing(sqlite3.connect(metrics_file(tmp_path))) as other:
        other.execute("BEGIN EXCLUSIVE")
        sink = Recorder(metrics_file(tmp_path), batch_s=0.0, clock=lambda: NOW)
        Teller(sink, "run_2").tell(*whole_run())
        other.execute("COMMIT")
        sink.close()
    assert report(tmp_path).runs == {"completed": 2}


def test_after_the_end_nothing_is_counted_and_nothing_raises(tmp_path: Path) -> None:
    with recorder(tmp_path) as sink:
        Teller(sink).tell(*whole_run())
    Teller(sink, "run_2").tell(*whole_run())
    sink.close()
    assert report(tmp_path).runs == {"completed": 1}


def test_closing_one_that_heard_nothing_makes_no_file(tmp_path: Path) -> None:
    with recorder(tmp_path / "home"):
        pass
    assert not (tmp_path / "home").exists()


def test_the_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    with recorder(tmp_path) as sink:
        Teller(sink).tell(*whole_run())
        sink.close()
    modes = {path.name: path.stat().st_mode & 0o077 for path in tmp_path.glob("metrics.db*")}
    assert modes == dict.fromkeys(modes, 0)


@pytest.mark.parametrize(
    "content", [b"no database at all" * 100, b"SQLite format 3\x00" + b"x" * 9000]
)
def test_a_damaged_file_is_set_aside_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    metrics_file(tmp_path).write_bytes(content)
    with caplog.at_level(logging.WARNING), recorder(tmp_path) as sink:
        Teller(sink).tell(*whole_run())
    assert "was damaged" in caplog.text
    assert report(tmp_path).runs == {"completed": 1}
    [aside] = tmp_path.glob("metrics.db.damaged-*")
    assert aside.read_bytes() == content


def test_a_file_that_is_damaged_while_it_is_used_loses_no_later_run(tmp_path: Path) -> None:
    with recorder(tmp_path, keep_days=None) as sink:
        for n in range(40):
            Teller(sink, f"run_{n}").tell(*whole_run())
    path = metrics_file(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with recorder(tmp_path, keep_days=None) as sink:
        Teller(sink, "after").tell(*whole_run())
    assert report(tmp_path).runs == {"completed": 1}
    assert len(list(tmp_path.glob("metrics.db.damaged-*"))) == 1


@pytest.mark.parametrize("remove", [True, False])
def test_a_run_goes_on_being_counted_when_the_file_goes_or_breaks_under_it(
    tmp_path: Path, remove: bool
) -> None:
    events = whole_run()
    with recorder(tmp_path, keep_days=None) as sink:
        teller = Teller(sink)
        teller.tell(*events[:3])
        _until_written(tmp_path, 1)
        for path in tmp_path.glob("metrics.db*"):
            if remove:
                path.unlink()
            elif path.name == "metrics.db":
                # Gone to another name, as when another process found it damaged.
                path.rename(path.with_name("metrics.db.damaged-1"))
            else:
                path.unlink()
        teller.tell(*events[3:])
    found = report(tmp_path)
    assert (found.runs, found.total.answers, found.tool_calls) == ({"completed": 1}, 1, 2)


def _until_written(home: Path, answers: int) -> None:
    """Poll: the thread tells nobody when it has written."""
    give_up = time.monotonic() + 5
    while time.monotonic() < give_up:
        with contextlib.suppress(sqlite3.OperationalError):
            if len(rows(home, "SELECT * FROM rounds")) >= answers:
                return
    raise AssertionError("nothing was written")


def test_a_file_of_a_newer_version_is_left_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(metrics_file(tmp_path))) as newer:
        newer.execute("PRAGMA user_version = 9")
    before = metrics_file(tmp_path).read_bytes()
    with caplog.at_level(logging.WARNING), recorder(tmp_path) as sink:
        Teller(sink).tell(*whole_run())
    assert "written by a newer bamboo-mcp" in caplog.text
    assert metrics_file(tmp_path).read_bytes() == before


def test_a_folder_where_the_file_should_be_costs_only_the_figures(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics_file(tmp_path).mkdir()
    with caplog.at_level(logging.WARNING), recorder(tmp_path) as sink:
        Teller(sink).tell(*whole_run())
    assert "events were not counted: they could not be written" in caplog.text


PROCESS = """
import sys
from pathlib import Path
from tests.metrics.counted import Teller, recorder, whole_run
with recorder(Path(sys.argv[1])) as sink:
    for n in range(200):
        Teller(sink, f"run_{sys.argv[2]}_{n}").tell(*whole_run(f"ses_{n}"))
"""


def test_several_processes_count_into_one_file(tmp_path: Path) -> None:
    home = tmp_path / "home"
    processes = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(home), str(n)], env=dict(os.environ))
        for n in range(3)
    ]
    assert [process.wait(20) for process in processes] == [0, 0, 0]
    found = report(home)
    assert (found.runs, found.sessions) == ({"completed": 600}, 200)
    assert found.total.answers == 1200


def test_sqlite_is_not_loaded_before_there_is_something_to_write(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from bamboo_mcp.metrics.recorder import Recorder;"
        f"r = Recorder(Path({str(tmp_path / 'm.db')!r})); r.close();"
        "print('sqlite3' in sys.modules, 'opentelemetry' in sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["False", "False"]


def test_only_what_is_counted_is_listened_to() -> None:
    assert TextDelta not in Recorder.KINDS
    assert {RunStarted, ModelAnswered, RunEnded} <= Recorder.KINDS


def test_without_a_file_there_is_no_report(tmp_path: Path) -> None:
    assert read_report(tmp_path, now=NOW, days=30, by="model") is None


def test_an_event_of_an_unknown_kind_is_no_fault(tmp_path: Path) -> None:
    with recorder(tmp_path) as sink:
        sink.emit(EventRecord(run_id=RunId("r"), seq=1, at=NOW, event=TextDelta(text="x")))
        Teller(sink).tell(*whole_run())
    assert report(tmp_path).total.input == 200 == (Usage(input=100) + Usage(input=100)).input
