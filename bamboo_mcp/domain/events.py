"""What happens in a run, as a closed union; the product's record, written before anyone is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from bamboo_mcp.domain.ids import CallId, OwnerId, QuestionId, RunId, SessionId, SteerId, SubagentId
from bamboo_mcp.domain.models import Effort
from bamboo_mcp.domain.questions import Answer, Question
from bamboo_mcp.domain.runs import Confidence, GoalStatus, Outcome, RunState
from bamboo_mcp.domain.usage import NO_USAGE, Usage
from bamboo_mcp.domain.value import Tagged, Value


class RunQueued(Tagged, frozen=True, kw_only=True):
    """First event of a run: it is accepted, waits for its place, and can be followed."""

    session_id: SessionId
    owner: OwnerId | None = None
    subagent_id: SubagentId | None = None


class RunStarted(Tagged, frozen=True, kw_only=True):
    """The run is executed. `owner` tells which server process works on it."""

    session_id: SessionId
    owner: OwnerId | None = None
    subagent_id: SubagentId | None = None
    model: str = ""
    effort: Effort | None = None
    effort_source: str = ""


class RoundStarted(Tagged, frozen=True, kw_only=True):
    round: int


class TextDelta(Tagged, frozen=True, kw_only=True):
    text: str


class ReasoningDelta(Tagged, frozen=True, kw_only=True):
    text: str


class ModelAnswered(Tagged, frozen=True, kw_only=True):
    """A model call is over. `usage` and `cost_usd` are of this call alone; None: not known."""

    round: int
    provider: str = ""
    model: str = ""
    """As the service calls the one that answered."""
    stop: str = "end"
    usage: Usage = NO_USAGE
    cost_usd: float | None = None


class SideModelAnswered(Tagged, frozen=True, kw_only=True):
    """A model was asked beside the conversation. What it used and cost is the run's too."""

    purpose: Literal["judge", "vision"]
    model: str = ""
    usage: Usage = NO_USAGE
    cost_usd: float | None = None


class ProviderWaiting(Tagged, frozen=True, kw_only=True):
    """The provider asked for patience: a visible wait before the next try."""

    delay_s: float
    reason: str
    attempt: int = 1


class ModelReplaced(Tagged, frozen=True, kw_only=True):
    """A model could not answer, and the next of its role does from here on: `provider:model`."""

    failed: str
    model: str
    reason: str


class ToolStarted(Tagged, frozen=True, kw_only=True):
    call_id: CallId
    tool: str
    arguments: Mapping[str, Any] = {}


class ToolProgressed(Tagged, frozen=True, kw_only=True):
    call_id: CallId
    tool: str
    done: float
    total: float | None = None
    message: str = ""


class ToolFinished(Tagged, frozen=True, kw_only=True):
    """`preview` is the first line or so of the result; the whole is in the session."""

    call_id: CallId
    tool: str
    is_error: bool = False
    duration_s: float = 0.0
    preview: str = ""


class SteerQueued(Tagged, frozen=True, kw_only=True):
    steer_id: SteerId
    text: str
    delivery: str = "next_round"


class SteerDelivered(Tagged, frozen=True, kw_only=True):
    """The model call of `round` reads it."""

    steer_id: SteerId
    round: int


class SteerUndelivered(Tagged, frozen=True, kw_only=True):
    """The run ended first; the text is handed back."""

    steer_id: SteerId
    text: str


class SteerRefused(Tagged, frozen=True, kw_only=True):
    steer_id: SteerId
    reason: str


class QuestionAsked(Tagged, frozen=True, kw_only=True):
    question: Question


class QuestionAnswered(Tagged, frozen=True, kw_only=True):
    question_id: QuestionId
    answer: Answer


class LimitNear(Tagged, frozen=True, kw_only=True):
    """A soft or hard limit: the model is told to finish, or gets one last round without tools."""

    limit: str
    value: float
    final: bool = False


class Warned(Tagged, frozen=True, kw_only=True):
    """Something the watcher should know that did not stop the run."""

    code: str
    message: str


class GoalDeclared(Tagged, frozen=True, kw_only=True):
    """What the agent itself says of its goal."""

    state: Literal["complete", "blocked"]
    reason: str = ""


class GoalJudging(Tagged, frozen=True, kw_only=True):
    """The agent wants to end, and the judge looks for the `number`th time."""

    number: int


class GoalJudged(Tagged, frozen=True, kw_only=True):
    """What the judge says. With `error` it came to no verdict, and `decision` is empty."""

    number: int
    decision: Literal["", "continue", "achieved", "blocked", "need_input", "exhausted"] = ""
    confidence: Confidence = "low"
    reasoning: str = ""
    error: str = ""


class GoalContinued(Tagged, frozen=True, kw_only=True):
    """The agent is sent on for the `count`th time, of `limit`."""

    count: int
    limit: int


class GoalSettled(Tagged, frozen=True, kw_only=True):
    """The agent is not sent on any more; why."""

    status: GoalStatus
    continuations: int = 0


class CommandEnded(Tagged, frozen=True, kw_only=True):
    """A background command of the run has ended; `cause` says by whose doing."""

    command_id: str
    cause: str
    exit_code: int | None = None
    duration_s: float = 0.0


class PlanUpdated(Tagged, frozen=True, kw_only=True):
    """The agent's plan as it is now, whole: (step, status) each."""

    version: int
    steps: tuple[tuple[str, str], ...] = ()


class SubagentSpawned(Tagged, frozen=True, kw_only=True):
    """In the parent's log: it has a child."""

    subagent_id: SubagentId
    run_id: RunId
    title: str = ""


class SubagentEnded(Tagged, frozen=True, kw_only=True):
    subagent_id: SubagentId
    run_id: RunId
    status: Literal["completed", "cancelled", "error", "lost"]


class RunEnded(Tagged, frozen=True, kw_only=True):
    """Last event of a run: exactly one in every outcome, and nothing follows it."""

    outcome: Outcome


RunEvent: TypeAlias = (
    RunQueued
    | RunStarted
    | RoundStarted
    | TextDelta
    | ReasoningDelta
    | ModelAnswered
    | SideModelAnswered
    | ProviderWaiting
    | ModelReplaced
    | ToolStarted
    | ToolProgressed
    | ToolFinished
    | SteerQueued
    | SteerDelivered
    | SteerUndelivered
    | SteerRefused
    | QuestionAsked
    | QuestionAnswered
    | LimitNear
    | Warned
    | GoalDeclared
    | GoalJudging
    | GoalJudged
    | GoalContinued
    | GoalSettled
    | CommandEnded
    | PlanUpdated
    | SubagentSpawned
    | SubagentEnded
    | RunEnded
)


class EventRecord(Value, frozen=True, kw_only=True, gc=False):
    """An event in a run's log.

    `seq` counts from 1 without gaps and is the cursor; `at` is epoch seconds.
    """

    run_id: RunId
    seq: int
    at: float
    event: RunEvent


class RunPicture(Value, frozen=True, kw_only=True):
    """All of a run that somebody needs who comes late (document 002, "runner state").

    `last_budget` tells of tokens or a bound; `critical` are the latest events that change what is
    shown of a run, oldest first. Everything else is in the log, behind `state.last_seq`.
    """

    state: RunState
    last_budget: RunEvent | None = None
    critical: tuple[RunEvent, ...] = ()
