"""What every session store does alike: pages of a list, windows of messages, edits of a record."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence

import msgspec

from bamboo_mcp.domain.errors import InvalidInput, UnknownId
from bamboo_mcp.domain.sessions import SessionMeta


def unknown(session_id: str) -> UnknownId:
    return UnknownId(f"there is no session {session_id!r}")


def exists_already(session_id: str) -> InvalidInput:
    return InvalidInput(f"there is a session {session_id!r} already", hint="take a new id")


def page_of(
    metas: Iterable[SessionMeta], *, limit: int, before: float | None, subagents_only: bool
) -> Sequence[SessionMeta]:
    """Newest first by `created_at`; of two born together, the greater id first."""
    wanted = (
        meta
        for meta in metas
        if (before is None or meta.created_at < before)
        and (not subagents_only or meta.subagent_id is not None)
    )
    return heapq.nlargest(
        max(0, limit), wanted, key=lambda meta: (meta.created_at, meta.session_id)
    )


def window(total: int, offset: int, limit: int | None) -> tuple[int, int]:
    """First position and the one behind the last, of `total` messages; see `SessionStore.load`."""
    start = max(0, total + offset) if offset < 0 else min(offset, total)
    stop = total if limit is None else min(total, start + max(0, limit))
    return start, stop


def edited(
    latest: SessionMeta, change: Callable[[SessionMeta], SessionMeta], now: float
) -> SessionMeta:
    """`change` made to the latest record: version one up, its time now unless `change` set it."""
    changed = change(latest)
    if changed.session_id != latest.session_id:
        raise InvalidInput(
            f"an edit may not turn session {latest.session_id!r} into {changed.session_id!r}"
        )
    touched = changed.updated_at if changed.updated_at != latest.updated_at else now
    return msgspec.structs.replace(changed, version=latest.version + 1, updated_at=touched)
