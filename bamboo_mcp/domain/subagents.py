"""Subagents: what one was asked to be, and what can be said about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from bamboo_mcp.domain.ids import RunId, SessionId, SubagentId, Subject
from bamboo_mcp.domain.models import Effort
from bamboo_mcp.domain.questions import PermissionMode, Question
from bamboo_mcp.domain.runs import Limits, Outcome, RunStatus, SteerReceipt
from bamboo_mcp.domain.usage import NO_USAGE, Usage
from bamboo_mcp.domain.value import Value

MAX_TASK_CHARS = 1_000_000
MAX_STEER_CHARS = 100_000

WaitMode: TypeAlias = Literal["all", "any", "first_success", "first_error"]
"""When a wait is over: all ended, or one did; completed; as an error or lost. None left: always."""

Context: TypeAlias = Literal["fresh", "fork"]
"""What a subagent knows at birth: its task, or also the end of its parent's conversation."""

RUN_STRIDE = 1 << 32
"""A subagent's runs told one after the other: its n-th run (from 0) begins at n strides."""


class SubagentSpec(Value, frozen=True, kw_only=True, gc=False):
    """What a subagent is to do and may do. Empty text means: take the setting."""

    task: str
    title: str = ""
    role: str = ""
    model: str = ""
    model_asked: str | None = None
    """What was asked for, kept beside the model it came to: a role goes on to its fallbacks."""
    effort: Effort | None = None
    system_prompt: str = ""
    isolation: str = ""
    """`in_process`, or the name of another launcher; one that cannot serve refuses."""
    workspace: str = ""
    allow_tools: tuple[str, ...] | None = None
    deny_tools: tuple[str, ...] = ()
    limits: Limits = Limits()
    permission_mode: PermissionMode | None = None
    caller: Subject = Subject("local")
    parent_id: SubagentId | None = None
    depth: int = 1
    may_spawn: bool = False
    context: Context = "fresh"
    fork_messages: int = 20
    """With `fork`: at most so many of the parent's last messages."""
    output_schema: Mapping[str, Any] | None = None
    """The JSON Schema that its answer must fit."""
    idempotency_key: str = ""
    """The same key from the same caller within a day is the same subagent."""
    asked: str = ""
    """What the caller asked for, to compare when a key comes again; empty: the spec itself."""


class Subagent(Value, frozen=True, kw_only=True, gc=False):
    """A subagent as it is now, put together from its session and its newest run."""

    subagent_id: SubagentId
    session_id: SessionId
    run_id: RunId
    spec: SubagentSpec
    status: RunStatus
    created_at: float
    started_at: float = 0.0
    ended_at: float | None = None
    rounds: int = 0
    usage: Usage = NO_USAGE
    cost_usd: float | None = None
    last_activity: str = ""
    """One short line for people and models: "round 3: read_file"."""
    last_seq: int = 0
    """How far it has told: the last event of its run, beyond all positions of its earlier runs."""
    earlier_runs: tuple[RunId, ...] = ()
    """The runs before `run_id`, oldest first; it was resumed after each."""
    question: Question | None = None
    outcome: Outcome | None = None
    steers: tuple[SteerReceipt, ...] = ()


class WaitResult(Value, frozen=True, kw_only=True):
    """What a wait saw when it ended: `done` when its condition holds, else its time was up."""

    subagents: tuple[Subagent, ...]
    done: bool
    stalled: Mapping[SubagentId, float] = {}
    """Seconds without a sign of life, of those silent for as long as the caller asked about."""
