"""The bounds of a run: rounds, tokens, money, seconds, and which tool calls are refused unrun."""

from __future__ import annotations

import math

from bamboo_mcp.agent.clock import RunClock
from bamboo_mcp.domain.events import LimitNear
from bamboo_mcp.domain.runs import Limits
from bamboo_mcp.domain.usage import NO_USAGE, Usage

FINAL_ROUND_S = (5.0, 60.0)
"""The last round, when time is up, may take a quarter of the run's time, within these bounds."""

_NOTHING: frozenset[str] = frozenset()  # one for all: each call of frozenset() makes another


class RunLimits:
    """Rounds, tokens, money and time.

    Near a bound the model is told once; at it, one round without tools is left, except where the
    bound is 0: then there is none. An answer of unknown cost reaches every bound of money.
    """

    __slots__ = (
        "_clock",
        "_limits",
        "_soft_share",
        "_unpriced",
        "_warned",
        "cost_usd",
        "usage",
    )

    def __init__(self, limits: Limits, clock: RunClock) -> None:
        self._limits = limits
        self._clock = clock
        self._soft_share = min(limits.soft_share, 1.0)
        self._warned = _NOTHING
        self._unpriced = False
        self.usage = NO_USAGE
        self.cost_usd: float | None = None
        """Of all answers; None before the first one, and once the cost of one is not known."""

    def spend(self, usage: Usage, cost_usd: float | None) -> None:
        """Count one answer."""
        self.usage = self.usage + usage
        if cost_usd is None:
            self._unpriced = True
            self.cost_usd = None
        elif not self._unpriced:
            self.cost_usd = cost_usd if self.cost_usd is None else self.cost_usd + cost_usd

    def look(self, round_number: int) -> LimitNear | None:
        """The bound that makes `round_number` the last one (`final`), or one that comes near.

        That a bound comes near is said once.
        """
        if self._all_far(round_number):
            return None
        near: LimitNear | None = None
        for name, used, bound in self._measures(round_number):
            if used < bound * self._soft_share:
                continue
            if used >= bound:
                return LimitNear(limit=name, value=bound, final=True)
            if near is None and name not in self._warned:
                near = LimitNear(limit=name, value=bound)
        if near is not None:
            self._warned |= {near.limit}
        return near

    @property
    def final_round_s(self) -> float:
        least, most = FINAL_ROUND_S
        return min(max(self._limits.timeout_s / 4, least), most)

    def out_of_time(self) -> LimitNear:
        return LimitNear(limit="timeout_s", value=self._limits.timeout_s, final=True)

    def _all_far(self, round_number: int) -> bool:
        """Nearly every round of nearly every run: nothing has to be put together to see it."""
        limits, share = self._limits, self._soft_share
        return (
            limits.max_tokens is None
            and limits.max_cost_usd is None
            and round_number - 1 < limits.max_rounds * share
            and self._clock.elapsed() < limits.timeout_s * share
        )

    def _measures(self, round_number: int) -> list[tuple[str, float, float]]:
        limits = self._limits
        measures: list[tuple[str, float, float]] = [
            ("max_rounds", round_number - 1, limits.max_rounds),
            ("timeout_s", self._clock.elapsed(), limits.timeout_s),
        ]
        if limits.max_tokens is not None:
            measures.append(("max_tokens", self.usage.total, limits.max_tokens))
        if (most := limits.max_cost_usd) is not None:
            spent = math.inf if self._unpriced else self.cost_usd or 0.0
            if most or spent:  # with no money at all a free model may still be asked
                measures.append(("max_cost_usd", spent, most))
        return measures


class CallLimits:
    """Which tool calls are not run: too many in a round, the same over and over, a failing tool.

    A tool that failed `max_failures_per_tool` times in a row is refused until another tool
    succeeds; then it has one more try (reference 5.7 and 10.3).
    """

    __slots__ = ("_failures", "_last", "_limits", "_repeats")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._failures: dict[str, int] = {}
        self._last: tuple[str, str] = ("", "")
        self._repeats = 0

    def refusal(self, position: int, name: str, arguments_json: str) -> str | None:
        """Why this call must not run, or None. `position` counts from 0 within the round."""
        limits = self._limits
        if position >= limits.max_calls_per_round:
            return f"not run: a round may have at most {limits.max_calls_per_round} tool calls"
        self._repeats = self._repeats + 1 if self._last == (name, arguments_json) else 1
        self._last = (name, arguments_json)
        if self._repeats > limits.max_identical_calls:
            return (
                f"not run: {name} was called {limits.max_identical_calls} times in a row with "
                "exactly these arguments; its answer will not change, do something else"
            )
        failures = self._failures.get(name, 0)
        if failures >= limits.max_failures_per_tool:
            return (
                f"not run: {name} failed {failures} times in a row; "
                "try another tool or other means, or say what is in the way"
            )
        return None

    def note(self, name: str, *, failed: bool) -> None:
        if failed:
            self._failures[name] = self._failures.get(name, 0) + 1
            return
        self._failures.pop(name, None)
        if self._failures:
            ceiling = self._limits.max_failures_per_tool - 1
            self._failures = {tool: min(n, ceiling) for tool, n in self._failures.items()}
