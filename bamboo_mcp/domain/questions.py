"""Questions a run asks a person, permission modes, and the answers that may come back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from bamboo_mcp.domain.ids import QuestionId, RunId, SubagentId
from bamboo_mcp.domain.value import Value

PermissionMode: TypeAlias = Literal["plan", "default", "accept_edits", "bypass"]

MODES: tuple[PermissionMode, ...] = ("plan", "default", "accept_edits", "bypass")
"""From the narrowest to the freest: plan reads only; default asks before writes and commands;
accept_edits asks before commands; bypass asks for nothing."""


def narrower(one: PermissionMode, other: PermissionMode) -> PermissionMode:
    """The less free of the two: a child is never freer than its parent."""
    return one if MODES.index(one) <= MODES.index(other) else other


Decision: TypeAlias = Literal["allow_once", "allow_session", "deny"]
Answerer: TypeAlias = Literal["person", "model", "expiry", "closed"]
"""Who answered: a person, a model by `answer_subagent`, nobody in time, or the run's own end."""


class Question(Value, frozen=True, kw_only=True):
    """Something a run cannot decide alone. `asked_at` is seconds since the epoch."""

    question_id: QuestionId
    topic: Literal["permission", "choice"]
    text: str
    asked_at: float
    run_id: RunId | None = None
    subagent_id: SubagentId | None = None
    tool: str = ""
    arguments: Mapping[str, Any] = {}
    options: tuple[str, ...] = ()
    expires_in_s: float = 300.0


class Answer(Value, frozen=True, kw_only=True):
    """`decision` answers a permission question, `text` a choice."""

    decision: Decision = "deny"
    text: str = ""
    by: Answerer = "person"
    reason: str = ""

    @property
    def allowed(self) -> bool:
        return self.decision != "deny"
