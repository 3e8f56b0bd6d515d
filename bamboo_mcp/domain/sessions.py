"""A session: one conversation and what people and agents noted about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bamboo_mcp.domain.ids import OwnerId, RunId, SessionId, SubagentId, Subject
from bamboo_mcp.domain.messages import Message
from bamboo_mcp.domain.subagents import SubagentSpec
from bamboo_mcp.domain.value import Value


class SessionMeta(Value, frozen=True, kw_only=True, gc=False):
    """All of a session but its messages. Times are seconds since the epoch.

    `version` counts changes of this record; by it people's edits (title, pinned) win over a run's
    copy. A session that is a subagent's carries `subagent_id`, `spec` and its latest `run_id`.
    """

    session_id: SessionId
    created_at: float
    updated_at: float = 0.0
    title: str = ""
    pinned: bool = False
    version: int = 0
    model: str = ""
    workspace: str = ""
    caller: Subject = Subject("local")
    parent_id: SessionId | None = None
    subagent_id: SubagentId | None = None
    spec: SubagentSpec | None = None
    run_id: RunId | None = None
    owner: OwnerId | None = None
    """The server process that works on `run_id`; gone without a `RunEnded` means lost."""
    extra: Mapping[str, Any] = {}


class Session(Value, frozen=True, kw_only=True):
    """A loaded session. `offset` is the position of the first message given; 0 when all are."""

    meta: SessionMeta
    messages: Sequence[Message] = ()
    offset: int = 0
    total: int = 0
