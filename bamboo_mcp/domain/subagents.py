"""Subagents: what one was asked to be, and what can be said about it."""

from __future__ import annotations

from typing import Literal, TypeAlias

from bamboo_mcp.domain.ids import RunId, SessionId, SubagentId, Subject
from bamboo_mcp.domain.models import Effort
from bamboo_mcp.domain.questions import PermissionMode, Question
from bamboo_mcp.domain.runs import Limits, Outcome, RunStatus, SteerReceipt
from bamboo_mcp.domain.usage import NO_USAGE, Usage
from bamboo_mcp.domain.value import Value

MAX_TASK_CHARS = 1_000_000
MAX_STEER_CHARS = 100_000

WaitMode: TypeAlias = Literal["all", "any"]


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


class Subagent(Value, frozen=True, kw_only=True, gc=False):
    """A subagent as it is now, put together from its session and its run."""

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
    question: Question | None = None
    outcome: Outcome | None = None
    steers: tuple[SteerReceipt, ...] = ()


class WaitResult(Value, frozen=True, kw_only=True):
    """What a wait saw when it ended: `done` when its condition holds, else its time was up."""

    subagents: tuple[Subagent, ...]
    done: bool
