"""The arithmetic of the benchmarks; nothing here is timed."""

from __future__ import annotations

from tests.benchmarks.pairing import Row, ratio_of, row, table, take_turns


def test_contestants_take_turns_and_the_first_changes_from_round_to_round() -> None:
    order: list[str] = []

    def contestant(name: str) -> float:
        order.append(name)
        return 1.0

    figures = take_turns({"a": lambda: contestant("a"), "b": lambda: contestant("b")}, 2, warm_up=0)
    assert order == ["a", "b", "b", "a"]
    assert figures == {"a": [1.0, 1.0], "b": [1.0, 1.0]}


def test_a_warm_up_round_is_run_and_not_counted() -> None:
    runs = iter(range(10))
    assert take_turns({"a": lambda: float(next(runs))}, 2) == {"a": [1.0, 2.0]}


def test_a_ratio_is_of_the_rounds_so_that_drift_of_the_machine_falls_out() -> None:
    ratio = ratio_of([2.0, 20.0, 200.0], [1.0, 10.0, 100.0])
    assert (ratio.low, ratio.median, ratio.high) == (2.0, 2.0, 2.0)


def test_a_figure_over_its_target_says_so_in_the_table() -> None:
    over = row("start", [3.0], [2.0], unit="ms", target=1.2, note="why")
    fine = Row(claim="memory", unit="KB", ours=8.0, target=25.0)
    said = table([over, fine]).splitlines()
    assert said[1].endswith("1.5x [1.5, 1.5]  <= 1.2  OVER")
    assert said[2].endswith("<= 25   ok")
    assert said[3] == "  start: why"
    assert over.as_json()["verdict"] == "OVER"
