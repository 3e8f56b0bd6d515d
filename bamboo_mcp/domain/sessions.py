"""A session: one conversation and what people and agents noted about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bamboo_mcp.domain.ids import OwnerId, RunId, SessionId, SubagentId, Subject
from bamboo_mcp.domain.messages import Message, ToolResultBlock
from bamboo_mcp.domain.subagents import SubagentSpec
from bamboo_mcp.domain.value import Value


class SessionMeta(Value, frozen=True, kw_only=True, gc=False):
    """All of a session but its messages. Times are seconds since the epoch.

    `version` counts changes of this record, `title_version` those of its title; by them people's
    edits win over a run's copy (`merged`). A session that is a subagent's carries `subagent_id`,
    `spec` and its latest `run_id`.
    """

    session_id: SessionId
    created_at: float
    updated_at: float = 0.0
    title: str = ""
    title_version: int = 0
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
    earlier_runs: tuple[RunId, ...] = ()
    """Of a resumed subagent: the runs before `run_id`, oldest first."""
    extra: Mapping[str, Any] = {}

    @property
    def chosen_model(self) -> str:
        """As it was asked for; empty: the default."""
        return self.model or (self.spec.model if self.spec is not None else "")

    def retitled(self, title: str) -> SessionMeta:
        return msgspec.structs.replace(self, title=title, title_version=self.title_version + 1)


class Session(Value, frozen=True, kw_only=True):
    """A loaded session. `offset` is the position of the first message given; 0 when all are."""

    meta: SessionMeta
    messages: Sequence[Message] = ()
    offset: int = 0
    total: int = 0

    @property
    def updated_at(self) -> float:
        """When it was last spoken in or edited; to be asked when its last message is loaded."""
        last = self.messages[-1].at if self.messages else 0.0
        return max(self.meta.updated_at, self.meta.created_at, last)


class SessionHit(Value, frozen=True, kw_only=True):
    """A session that was searched for, and where it says so best.

    `position` is that of a message, None for the title.
    """

    meta: SessionMeta
    position: int | None = None
    excerpt: str = ""


class SessionHits(Value, frozen=True, kw_only=True):
    """Best first. `unread` sessions could not be looked through in time; asking again goes on."""

    hits: Sequence[SessionHit] = ()
    unread: int = 0


_BY_HAND = ("title", "title_version", "version", "updated_at", "extra")


def merged(latest: SessionMeta, mine: SessionMeta, *, base: SessionMeta) -> SessionMeta:
    """`mine`, which was made from `base`, saved over `latest`, which others may have made from it.

    Whatever others changed meanwhile stays theirs; all else that was changed here is taken over,
    and of two titles the one of the higher `title_version`. To be used inside `SessionStore.edit`,
    where `latest` is what is on disk.
    """
    changes: dict[str, Any] = {
        name: value
        for name in SessionMeta.__struct_fields__
        if name not in _BY_HAND
        and (value := getattr(mine, name)) != (was := getattr(base, name))
        and getattr(latest, name) == was
    }
    if mine.title_version > latest.title_version:
        changes.update(title=mine.title, title_version=mine.title_version)
    elif mine.title != base.title and latest.title == base.title:
        changes.update(title=mine.title)
    extra = _merged_extra(latest.extra, mine.extra, base.extra)
    updated_at = max(latest.updated_at, mine.updated_at)
    return msgspec.structs.replace(latest, **changes, extra=extra, updated_at=updated_at)


def _merged_extra(
    latest: Mapping[str, Any], mine: Mapping[str, Any], base: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Key by key as `merged`; a key that is not there counts as a value of its own."""
    absent = object()
    kept = dict(latest)
    for key in {*mine, *base}:
        here, was = mine.get(key, absent), base.get(key, absent)
        if here == was or latest.get(key, absent) != was:
            continue
        if here is absent:
            kept.pop(key, None)
        else:
            kept[key] = here
    return kept


def place(messages: list[Message], message: Message) -> None:
    """Add `message` where a conversation has it: answers of tools right behind their calls.

    Somebody else may have appended in between, a person's wish for one. Services refuse a history
    in which a call is not answered at once, and the wish is to be read after the answers anyway.
    Adding what is on disk one by one therefore gives the same history at every reading.
    """
    if messages and messages[-1].role != "assistant" and _answers(message):
        calls = {block.call_id for block in message.blocks if isinstance(block, ToolResultBlock)}
        for index in range(len(messages) - 1, -1, -1):
            before = messages[index]
            if before.role == "assistant":
                if any(call.id in calls for call in before.tool_calls):
                    messages.insert(index + 1, message)
                    return
                break
            if _answers(before):
                break
    messages.append(message)


def _answers(message: Message) -> bool:
    # A loop, not `any` of a generator: this is on the way of every append.
    for block in message.blocks:
        if isinstance(block, ToolResultBlock):
            return True
    return False
