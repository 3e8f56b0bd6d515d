"""A run: one agent working on one conversation until it ends, once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from bamboo_mcp.domain.ids import OwnerId, RunId, SessionId, SteerId, SubagentId
from bamboo_mcp.domain.models import Effort
from bamboo_mcp.domain.questions import PermissionMode
from bamboo_mcp.domain.usage import NO_USAGE, Usage
from bamboo_mcp.domain.value import Value

RunStatus: TypeAlias = Literal[
    "pending", "running", "waiting", "completed", "cancelled", "error", "lost"
]
"""mcp-surface, "Statuses"; `waiting` needs an answer, `lost` means its process died."""

TerminalStatus: TypeAlias = Literal["completed", "cancelled", "error", "lost"]

TERMINAL: frozenset[str] = frozenset(("completed", "cancelled", "error", "lost"))


class Limits(Value, frozen=True, kw_only=True, gc=False):
    """Every bound of a run; the defaults are those of the reference, section 5.7, where it has one.

    A 0 in `max_tokens` or `max_cost_usd` means none may be used, None means no bound. With a bound
    of money a model whose price is not known is not asked.
    """

    max_rounds: int = 200
    max_calls_per_round: int = 80
    max_failures_per_tool: int = 3
    """Consecutive failures of one tool; the next call is refused without running."""
    max_identical_calls: int = 3
    """The same tool with the same arguments in a row (reference 10.3)."""
    tool_timeout_s: float = 120.0
    batch_timeout_s: float = 300.0
    timeout_s: float = 3600.0
    max_tokens: int | None = None
    max_cost_usd: float | None = None
    soft_share: float = 0.8
    """From this share of rounds, tokens, money or time on, the model is told to finish."""
    max_result_chars: int = 200_000
    """A tool result longer than this is cut in the history: head and tail are kept."""


class ModelRoster(Value, frozen=True, kw_only=True, gc=False):
    """The models beside the primary one, which `RunRequest.model` names; "" takes the setting.

    Without a setting `fast` is the primary model and `summarisation` is `background`; `background`
    is nothing else, and whoever needs it is told that none is set (document 001, reference 5.8).
    """

    fast: str = ""
    background: str = ""
    summarisation: str = ""


class SkillChoice(Value, frozen=True, kw_only=True, gc=False):
    """Which skills a run may use. What is left open is taken from the session's record."""

    selected: tuple[str, ...] | None = None
    """None: what the session says, else all; empty: none."""
    disabled: tuple[str, ...] | None = None
    mode: str = ""


NO_CHOICE = SkillChoice()

ImageMode: TypeAlias = Literal["placeholder", "error", "ocr", "vision"]


class ImageFallback(Value, frozen=True, kw_only=True, gc=False):
    """What a model that sees no images gets in their place; the conversation keeps the images."""

    mode: ImageMode = "placeholder"
    vision_model: str = ""
    """For `vision`: who describes them, a name as in `RunRequest.model`."""


Confidence: TypeAlias = Literal["low", "medium", "high"]
GoalStatus: TypeAlias = Literal[
    "active", "achieved", "blocked", "need_input", "exhausted", "budget_limited"
]
"""`active`: not reached, and nothing else is known; `budget_limited`: no further try was left."""


class Goal(Value, frozen=True, kw_only=True, gc=False):
    """What a run is to reach, and who watches over it (reference 5.9).

    A judge model looks each time the agent wants to end. Without `auto_continue` it only reports.
    An empty `text` is no goal, also where the session has one.
    """

    text: str = ""
    criteria: str = ""
    """How the judge shall tell; empty: from the goal itself."""
    auto_continue: bool = False
    max_continuations: int = 3
    min_confidence: Confidence = "medium"
    """A judge less sure than this neither ends a run as achieved nor overrules the agent."""
    model: str = ""
    """The judge; empty: the `fast` model."""
    max_output_tokens: int = 1024
    timeout_s: float = 60.0


class RunRequest(Value, frozen=True, kw_only=True, gc=False):
    """What an agent is asked to do.

    `model` is the primary one: resolved (`provider:model`), a role, or empty for the default.
    """

    run_id: RunId
    session_id: SessionId
    subagent_id: SubagentId | None = None
    model: str = ""
    roster: ModelRoster = ModelRoster()
    effort: Effort | None = None
    effort_source: str = ""
    """Who chose the effort, for the log ("argument", "setting"); empty: the request itself."""
    system_prompt: str = ""
    limits: Limits = Limits()
    mode: PermissionMode = "default"
    workspace: str = ""
    allow_tools: tuple[str, ...] | None = None
    deny_tools: tuple[str, ...] = ()
    depth: int = 0
    output_schema: Mapping[str, Any] | None = None
    """The JSON Schema that the answer must fit; None: any text will do."""
    skills: SkillChoice = NO_CHOICE
    image_fallback: ImageFallback | None = None
    """None: a placeholder."""
    goal: Goal | None = None
    """None: what the session says, else none."""


Delivery: TypeAlias = Literal["next_round", "when_idle", "interrupt"]
SteerState: TypeAlias = Literal["queued", "delivered", "undelivered", "refused"]


class Steer(Value, frozen=True, kw_only=True, gc=False):
    """A message sent to a running agent."""

    steer_id: SteerId
    text: str
    delivery: Delivery = "next_round"
    at: float = 0.0


class SteerReceipt(Value, frozen=True, kw_only=True, gc=False):
    """Where a steering message is now.

    It ends in delivered, undelivered or refused, never in two.
    """

    steer_id: SteerId
    state: SteerState
    text: str = ""
    round: int | None = None
    """The round whose model call read it."""
    reason: str = ""


class Outcome(Value, frozen=True, kw_only=True, gc=False):
    """How a run's body ended. `text` is the answer, or the part of one that a cancelled run had."""

    status: TerminalStatus
    text: str = ""
    error_code: str = ""
    error: str = ""
    usage: Usage = NO_USAGE
    rounds: int = 0
    model: str = ""
    cost_usd: float | None = None
    """Of its answers; None when there was none, or what one of them cost is not known."""
    undelivered: tuple[Steer, ...] = ()
    notes: tuple[str, ...] = ()
    """What we have to say of the run beside its answer, a line each: what it left was stopped."""
    goal: GoalStatus | None = None
    """What became of the run's goal, if it had one."""


class RunState(Value, frozen=True, kw_only=True, gc=False):
    """What is known of a run at this moment (reference 5.1). Times are seconds since the epoch."""

    run_id: RunId
    session_id: SessionId
    status: RunStatus = "pending"
    owner: OwnerId | None = None
    subagent_id: SubagentId | None = None
    started_at: float = 0.0
    ended_at: float | None = None
    rounds: int = 0
    usage: Usage = NO_USAGE
    cost_usd: float | None = None
    last_tool: str = ""
    last_tool_phase: Literal["", "begin", "finished", "error"] = ""
    last_event_at: float = 0.0
    last_seq: int = 0
    pause_until: float = 0.0
    """Till then it waits before it asks its model again, for the reason below."""
    pause_reason: str = ""
    outcome: Outcome | None = None
