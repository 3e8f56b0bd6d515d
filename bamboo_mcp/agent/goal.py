"""The goal keeper: a second look before a run ends, and a bounded number of tries more.

The policy is that of reference 5.9. The agent may declare its goal complete or blocked by a tool;
a judge model decides when it declares nothing, and may overrule a "complete" if it is sure.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from bamboo_mcp.agent.goal_judge import Verdict, ask_judge
from bamboo_mcp.agent.side_calls import SideCalls
from bamboo_mcp.domain.errors import BambooError
from bamboo_mcp.domain.events import (
    GoalContinued,
    GoalDeclared,
    GoalJudged,
    GoalJudging,
    GoalSettled,
)
from bamboo_mcp.domain.messages import Message
from bamboo_mcp.domain.runs import Goal, GoalStatus
from bamboo_mcp.ports import Emit, ToolContext, ToolExecutor
from bamboo_mcp.tools.catalogue import Listed
from bamboo_mcp.tools.function import FunctionExecutor, tool, tools_of
from bamboo_mcp.tools.overlay import OverlayExecutor

logger = logging.getLogger(__name__)

Declared: TypeAlias = Literal["", "complete", "blocked"]
_SURENESS = {"low": 0, "medium": 1, "high": 2}


class GoalKeeper:
    """That of one run."""

    def __init__(self, goal: Goal, *, side: SideCalls, emit: Emit) -> None:
        self._goal = goal
        self._side = side
        self._emit = emit
        self._declared: Declared = ""
        self._reason = ""
        self._looks = 0
        self._continuations = 0
        self.status: GoalStatus = "active"

    def over(self, tools: ToolExecutor) -> ToolExecutor:
        """`tools` with the one that only the agent of such a run has."""
        if not self._goal.auto_continue:
            return tools
        return OverlayExecutor(FunctionExecutor(tools_of(self)), Listed(tools))

    async def before_end(self, messages: Sequence[Message], *, within_s: float) -> str:
        """The agent wants to end: what to tell it so that it goes on, or "" to let it."""
        if self._declared == "blocked" and self._goal.auto_continue:
            self._settle("blocked")
            return ""
        verdict = await self._judge(messages, min(self._goal.timeout_s, within_s))
        status = settled(self._goal, self._declared, verdict)
        if not self._goal.auto_continue:
            self.status = status
            return ""
        if status != "active":
            self._settle(status)
            return ""
        if self._continuations >= self._goal.max_continuations:
            self._settle("budget_limited")
            return ""
        self._continuations += 1
        self._declared = ""
        limit = self._goal.max_continuations
        self._emit(GoalContinued(count=self._continuations, limit=limit))
        missing = f" What a second look found: {verdict.reasoning}" if verdict else ""
        return (
            f"[goal] Your goal is not reached yet ({self._continuations} of {limit} further tries)."
            f"{missing} Go on with it. Call update_goal once it is complete, or when something "
            "outside your power is in the way."
        )

    def cut_off(self) -> None:
        """A bound of the run ended it before its goal was settled."""
        if self.status == "active" and self._goal.auto_continue:
            self._settle("budget_limited")

    @tool(title="Update goal", group="control", effect="control", idempotent=True)
    async def update_goal(
        self,
        context: ToolContext,
        *,
        state: Annotated[
            Literal["complete", "blocked"],
            Meta(description="complete: reached and checked. blocked: out of your power."),
        ],
        reason: Annotated[
            str, Meta(description="What shows it, or what is in the way.", max_length=2000)
        ],
    ) -> str:
        """Say that the goal of this run is reached, or that it cannot be.

        Call it once, right before your final answer, and only after you have checked: a second look
        is taken at the evidence. Not for progress or partial results: go on working instead. Not
        for questions you can answer yourself. Returns a confirmation. Example:
        `{"state": "complete", "reason": "all 12 tests pass"}`.
        """
        self._declared, self._reason = state, reason
        self._emit(GoalDeclared(state=state, reason=reason))
        return f"noted: {state}. Now give your final answer."

    async def _judge(self, messages: Sequence[Message], within_s: float) -> Verdict | None:
        """None when there is no verdict; why is in the log."""
        self._looks += 1
        number = self._looks
        self._emit(GoalJudging(number=number))
        declared = f"{self._declared}: {self._reason}" if self._declared else ""
        try:
            verdict = await ask_judge(self._side, self._goal, declared, messages, within_s=within_s)
        except BambooError as error:
            self._emit(GoalJudged(number=number, error=error.message))
            return None
        except Exception:
            # The provider may be a plugin's; the answer of the run is there and must not be lost.
            logger.exception("the judge of a goal failed")
            self._emit(GoalJudged(number=number, error="it failed inside; see the server's log"))
            return None
        self._emit(
            GoalJudged(
                number=number,
                decision=verdict.decision,
                confidence=verdict.confidence,
                reasoning=verdict.reasoning,
            )
        )
        return verdict

    def _settle(self, status: GoalStatus) -> None:
        self.status = status
        self._emit(GoalSettled(status=status, continuations=self._continuations))


def settled(goal: Goal, declared: Declared, verdict: Verdict | None) -> GoalStatus:
    """What is to be thought of the goal now; `active`: not reached, go on."""
    if declared == "blocked":
        return "blocked"
    if verdict is None:
        return "achieved" if declared else "need_input"
    sure = _SURENESS[verdict.confidence] >= _SURENESS[goal.min_confidence]
    if declared:
        return "active" if verdict.decision == "continue" and sure else "achieved"
    match verdict.decision:
        case "continue":
            return "active"
        case "achieved":
            return "achieved" if sure else "active"
        case stopping:
            return stopping
