"""One run folded from its events, cheap enough to be told every one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from bamboo_mcp.domain.events import (
    CommandEnded,
    EventRecord,
    GoalContinued,
    GoalDeclared,
    GoalJudged,
    GoalSettled,
    LimitNear,
    ModelAnswered,
    ModelReplaced,
    PlanUpdated,
    ProviderWaiting,
    QuestionAnswered,
    QuestionAsked,
    RoundStarted,
    RunEnded,
    RunEvent,
    RunPicture,
    RunQueued,
    RunStarted,
    SideModelAnswered,
    SteerRefused,
    SteerUndelivered,
    SubagentEnded,
    SubagentSpawned,
    ToolFinished,
    ToolStarted,
    Warned,
)
from bamboo_mcp.domain.ids import OwnerId, QuestionId, RunId, SessionId, SubagentId
from bamboo_mcp.domain.questions import Question
from bamboo_mcp.domain.runs import Outcome, RunState, RunStatus
from bamboo_mcp.domain.usage import NO_USAGE

CRITICAL_KEPT = 64
"""Critical events a late follower gets at once; document 002 asks for 32. The log has them all."""


class RunTrack:
    """What `RunState` says, kept up to date. The value itself is only built when somebody asks."""

    __slots__ = (
        "_unpriced",
        "cost_usd",
        "critical",
        "ended_at",
        "last_budget",
        "last_event_at",
        "last_seq",
        "last_tool",
        "last_tool_phase",
        "outcome",
        "owner",
        "pause_reason",
        "pause_until",
        "questions",
        "rounds",
        "run_id",
        "session_id",
        "started_at",
        "status",
        "subagent_id",
        "usage",
    )

    def __init__(
        self,
        run_id: RunId,
        *,
        session_id: SessionId | None = None,
        subagent_id: SubagentId | None = None,
        owner: OwnerId | None = None,
    ) -> None:
        self.run_id = run_id
        self.session_id = session_id or SessionId("")
        self.subagent_id = subagent_id
        self.owner = owner
        self.status: RunStatus = "pending"
        self.started_at = 0.0
        self.ended_at: float | None = None
        self.rounds = 0
        self.usage = NO_USAGE
        self.cost_usd: float | None = None
        self._unpriced = False
        self.last_budget: RunEvent | None = None
        self.critical: list[RunEvent] | None = None
        """The latest ones; most runs never have any."""
        self.last_tool = ""
        self.last_tool_phase: Literal["", "begin", "finished", "error"] = ""
        self.last_event_at = 0.0
        self.last_seq = 0
        self.pause_until = 0.0
        self.pause_reason = ""
        self.outcome: Outcome | None = None
        self.questions: dict[QuestionId, Question] = {}

    def apply(self, record: EventRecord) -> bool:
        """Take one event in, in order; True when the status is another one now."""
        self.last_seq = record.seq
        self.last_event_at = record.at
        fold = _FOLDS.get(type(record.event))
        if fold is None:
            return False
        before = self.status
        fold(self, record.event)
        return self.status != before

    def lose(self) -> None:
        """Its process is gone without a last event."""
        self.status = "lost"
        self.ended_at = self.last_event_at
        self.questions.clear()
        self.outcome = Outcome(
            status="lost",
            error_code="owner_gone",
            error="the server process that worked on it is gone",
            usage=self.usage,
            rounds=self.rounds,
            cost_usd=self.cost_usd,
        )

    def state(self) -> RunState:
        return RunState(
            run_id=self.run_id,
            session_id=self.session_id,
            status=self.status,
            owner=self.owner,
            subagent_id=self.subagent_id,
            started_at=self.started_at,
            ended_at=self.ended_at,
            rounds=self.rounds,
            usage=self.usage,
            cost_usd=self.cost_usd,
            last_tool=self.last_tool,
            last_tool_phase=self.last_tool_phase,
            last_event_at=self.last_event_at,
            last_seq=self.last_seq,
            pause_until=self.pause_until,
            pause_reason=self.pause_reason,
            outcome=self.outcome,
        )

    def picture(self) -> RunPicture:
        return RunPicture(
            state=self.state(),
            last_budget=self.last_budget,
            critical=tuple(self.critical[-CRITICAL_KEPT:]) if self.critical else (),
        )

    def _note_critical(self, event: RunEvent) -> None:
        if self.critical is None:
            self.critical = [event]
            return
        self.critical.append(event)
        # Cut now and then, not each time: the list is short and shown rarely.
        if len(self.critical) > 2 * CRITICAL_KEPT:
            del self.critical[:-CRITICAL_KEPT]

    def _bound_near(self, event: LimitNear) -> None:
        self.last_budget = event
        self._note_critical(event)

    def _pauses(self, event: ProviderWaiting) -> None:
        self.pause_until = self.last_event_at + event.delay_s
        self.pause_reason = event.reason

    def _queued(self, event: RunQueued) -> None:
        self.session_id = event.session_id
        self.subagent_id = event.subagent_id
        self.owner = event.owner

    def _started(self, event: RunStarted) -> None:
        self.session_id = event.session_id
        self.subagent_id = event.subagent_id
        self.owner = event.owner
        self.started_at = self.last_event_at
        self.status = "running"

    def _round(self, event: RoundStarted) -> None:
        self.rounds = event.round

    def _answered(self, event: ModelAnswered | SideModelAnswered) -> None:
        self.last_budget = event
        self.usage = self.usage + event.usage
        if event.cost_usd is None:
            self._unpriced = True
            self.cost_usd = None
        elif not self._unpriced:
            self.cost_usd = (self.cost_usd or 0.0) + event.cost_usd

    def _tool_started(self, event: ToolStarted) -> None:
        self.last_tool = event.tool
        self.last_tool_phase = "begin"

    def _tool_finished(self, event: ToolFinished) -> None:
        self.last_tool = event.tool
        self.last_tool_phase = "error" if event.is_error else "finished"

    def _question_asked(self, event: QuestionAsked) -> None:
        self._note_critical(event)
        self.questions[event.question.question_id] = event.question
        self.status = "waiting"

    def _question_answered(self, event: QuestionAnswered) -> None:
        self._note_critical(event)
        self.questions.pop(event.question_id, None)
        if not self.questions and self.status == "waiting":
            self.status = "running"

    def _ended(self, event: RunEnded) -> None:
        self.outcome = event.outcome
        self.status = event.outcome.status
        self.ended_at = self.last_event_at
        self.questions.clear()


_FOLDS: dict[type, Callable[[RunTrack, Any], None]] = {
    RunQueued: RunTrack._queued,
    RunStarted: RunTrack._started,
    RoundStarted: RunTrack._round,
    ProviderWaiting: RunTrack._pauses,
    ModelAnswered: RunTrack._answered,
    SideModelAnswered: RunTrack._answered,
    LimitNear: RunTrack._bound_near,
    ToolStarted: RunTrack._tool_started,
    ToolFinished: RunTrack._tool_finished,
    QuestionAsked: RunTrack._question_asked,
    QuestionAnswered: RunTrack._question_answered,
    RunEnded: RunTrack._ended,
}
_FOLDS |= dict.fromkeys(
    (
        CommandEnded,
        GoalContinued,
        GoalDeclared,
        GoalJudged,
        GoalSettled,
        ModelReplaced,
        PlanUpdated,
        SteerRefused,
        SteerUndelivered,
        SubagentEnded,
        SubagentSpawned,
        Warned,
    ),
    RunTrack._note_critical,
)
