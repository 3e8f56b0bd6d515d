from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from bamboo_mcp.cli.stats import columns
from bamboo_mcp.domain.events import ModelAnswered, RoundStarted, RunEnded, RunStarted
from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.runs import Outcome
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.metrics.database import metrics_file
from bamboo_mcp.metrics.recorder import Recorder
from tests.cli.small_app import command
from tests.metrics.counted import DAY_S, Teller, whole_run


def counted(home: Path, *costs: float | None) -> None:
    """A run a day with two answers of that cost, the last one today."""
    sink = Recorder(metrics_file(home), batch_s=0.0)
    for n, cost in enumerate(reversed(costs)):
        at = time.time() - 20 - n * DAY_S
        Teller(sink, f"run_{n}", at=at).tell(*whole_run(f"ses_{n}", cost=cost))
    sink.close()


def test_the_table_shows_models_with_tokens_caches_and_cost(tmp_path: Path) -> None:
    counted(tmp_path, 0.25, 0.5)
    result = command("--home", str(tmp_path), "stats")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "last 30 days: 2 runs (2 completed) in 2 sessions"
    assert "4 model answers, 400 tokens in (240 from caches), 40 out, $1.50" in lines[1]
    row = next(line.split() for line in lines if line.startswith("p:m"))
    assert row == ["p:m", "2", "4", "400", "240", "120", "40", "$1.50", "1.0"]


def test_the_chart_has_a_column_a_day_and_says_what_it_shows(tmp_path: Path) -> None:
    counted(tmp_path, 0.5, 1.0)
    shown = command("--home", str(tmp_path), "stats", "--by", "day").stdout
    assert "$2.00 " in shown
    assert shown.rstrip().endswith("dollars a day")
    counted(tmp_path / "free", 0.0, 0.0)
    shown = command("--home", str(tmp_path / "free"), "stats").stdout
    assert shown.rstrip().endswith("tokens a day")


def test_what_is_not_known_is_a_question_mark_and_how_to_change_it(tmp_path: Path) -> None:
    counted(tmp_path, None)
    shown = command("--home", str(tmp_path), "stats").stdout
    assert "?" in next(line for line in shown.splitlines() if line.startswith("p:m"))
    assert "$" not in shown
    assert "price_input" in shown
    counted(tmp_path / "part", 0.5, None)
    assert "$1.00 + ?" in command("--home", str(tmp_path / "part"), "stats").stdout


def test_what_is_free_is_said_to_be(tmp_path: Path) -> None:
    counted(tmp_path, 0.0)
    shown = command("--home", str(tmp_path), "stats").stdout
    assert "$0 " in next(line for line in shown.splitlines() if line.startswith("p:m"))


def test_tools_are_shown_with_their_failures(tmp_path: Path) -> None:
    counted(tmp_path, 0.0)
    shown = command("--home", str(tmp_path), "stats", "--by", "tool").stdout
    rows = [line.split() for line in shown.splitlines()]
    assert ["look", "1", "0.50", "0.5", "s"] in rows
    assert ["fail", "1", "1", "0.25", "0.2", "s"] in rows


def test_only_the_days_that_are_asked_for_count(tmp_path: Path) -> None:
    counted(tmp_path, 1.0, 1.0, 1.0)
    assert "2 runs" in command("--home", str(tmp_path), "stats", "--days", "2").stdout
    assert command("--home", str(tmp_path), "stats", "--days", "0").exit_code == 2


def test_json_is_complete_for_programs(tmp_path: Path) -> None:
    counted(tmp_path, None)
    result = command("--home", str(tmp_path), "stats", "--json", "--by", "tool")
    found = msgspec.json.decode(result.stdout)
    assert found["runs"] == {"completed": 1}
    assert (found["total"]["cost_usd"], found["total"]["unpriced"]) == (None, 2)
    assert found["total"]["waits"] == 0, "zeros are said too"
    assert [one["name"] for one in found["tools"]] == ["fail", "look"]
    assert len(found["per_day"]) == 1


def test_nothing_counted_yet_is_said_and_no_file_is_made(tmp_path: Path) -> None:
    home = tmp_path / "home"
    result = command("--home", str(home), "stats")
    assert (result.exit_code, result.stdout) == (0, f"no runs in the last 30 days in {home}\n")
    assert not home.exists()
    assert command("--home", str(home), "stats", "--json").stdout == "{}\n"


def test_counting_that_is_off_is_said(tmp_path: Path) -> None:
    off = {"BAMBOO_METRICS__ENABLED": "false"}
    shown = command("--home", str(tmp_path), "stats", environ=off).stdout
    assert "metrics.enabled is off" in shown


def test_a_damaged_file_is_an_error_with_what_to_do(tmp_path: Path) -> None:
    metrics_file(tmp_path).write_bytes(b"no database" * 1000)
    result = command("--home", str(tmp_path), "stats")
    assert result.exit_code == 1
    assert "metrics.db is damaged" in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_names_cannot_style_or_act_on_the_terminal(tmp_path: Path) -> None:
    sink = Recorder(metrics_file(tmp_path), batch_s=0.0)
    Teller(sink, at=time.time() - 9).tell(
        RunStarted(session_id=SessionId("s")),
        RoundStarted(round=1),
        ModelAnswered(round=1, model="[red]x[/red]\x1b[2J", usage=Usage(input=1)),
        RunEnded(outcome=Outcome(status="error", error_code="\x07[b]")),
    )
    sink.close()
    shown = command("--home", str(tmp_path), "stats").stdout
    assert "[red]x[/red]\\x1b[2J" in shown
    assert "errors: \\x07[b] 1" in shown


@pytest.mark.parametrize(
    ("values", "rows", "drawn"),
    [
        ([0.0, 1.0, 2.0], 1, [" ▄█"]),
        ([8.0, 16.0], 2, [" █", "██"]),
        ([0.001, 1000.0], 1, ["▁█"]),
        ([0.0, 0.0], 1, [""]),
    ],
)
def test_bars_are_in_proportion_and_the_smallest_can_be_seen(
    values: list[float], rows: int, drawn: list[str]
) -> None:
    assert columns(values, rows) == drawn


def test_a_terminal_without_blocks_gets_letters() -> None:
    assert columns([1.0, 8.0], 1, plain=True) == [".#"]
