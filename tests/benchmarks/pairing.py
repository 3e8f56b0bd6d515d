"""Measuring in pairs: contestants take turns within each round, so that a noisy machine is fair.

A claim is the median of the ratios of single rounds, with a 95 % interval of that median; absolute
figures are shown beside it, and only for orientation.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Contestant = Callable[[], float]
"""Does its work once and returns the figure: seconds, bytes, kilobytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g}x [{self.low:.3g}, {self.high:.3g}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table. `ours` and `theirs` are medians in `unit`; `target` bounds the figure.

    With `theirs` None the figure is `ours` itself and stands in no ratio to anything measured.
    `note` says what must be known to read the line.
    """

    claim: str
    unit: str
    ours: float
    theirs: float | None = None
    ratio: Ratio | None = None
    target: float | None = None
    note: str = ""

    @property
    def figure(self) -> float:
        return self.ratio.median if self.ratio else self.ours

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        return "ok" if self.figure <= self.target else "OVER"

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict}


def take_turns(
    contestants: Mapping[str, Contestant], rounds: int, *, warm_up: int = 1
) -> dict[str, list[float]]:
    """Each contestant once a round, the order turned by one from round to round."""
    names = list(contestants)
    figures: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-warm_up, rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            figure = contestants[name]()
            if number >= 0:
                figures[name].append(figure)
    return figures


def ratio_of(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """The median of the paired ratios; the interval by resampling the rounds (seeded)."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    chance = random.Random(0)
    medians = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(2_000))
    return Ratio(median=statistics.median(ratios), low=medians[50], high=medians[-51])


def row(
    claim: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    unit: str,
    scale: float = 1.0,
    target: float | None = None,
    note: str = "",
) -> Row:
    """`scale` turns what was measured into `unit`."""
    return Row(
        claim=claim,
        unit=unit,
        ours=statistics.median(ours) * scale,
        theirs=statistics.median(theirs) * scale,
        ratio=ratio_of(ours, theirs),
        target=target,
        note=note,
    )


def table(rows: Sequence[Row]) -> str:
    cells = [("", "ours", "theirs", "figure [95 %]", "target", "")]
    for one in rows:
        cells.append(
            (
                one.claim,
                f"{one.ours:.4g} {one.unit}",
                "" if one.theirs is None else f"{one.theirs:.4g} {one.unit}",
                str(one.ratio) if one.ratio else f"{one.ours:.4g} {one.unit}",
                "" if one.target is None else f"<= {one.target:g}",
                one.verdict,
            )
        )
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    return "\n".join(lines + [f"  {one.claim}: {one.note}" for one in rows if one.note])
