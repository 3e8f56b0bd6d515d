"""Sessions in memory, for tests and for servers that are to leave nothing behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.messages import Message
from bamboo_mcp.domain.sessions import Session, SessionMeta
from bamboo_mcp.ports import SessionWriter
from bamboo_mcp.sessions.listing import edited, exists_already, page_of, unknown, window


class _Kept:
    __slots__ = ("messages", "meta")

    def __init__(self, meta: SessionMeta, messages: Sequence[Message]) -> None:
        self.meta = meta
        self.messages = list(messages)


class _MemoryWriter:
    """All writers of a session share its list, so each sees at once what another appends."""

    __slots__ = ("_kept", "_session_id", "_sessions")

    def __init__(self, sessions: Mapping[SessionId, _Kept], session_id: SessionId) -> None:
        self._sessions = sessions
        self._session_id = session_id

    async def __aenter__(self) -> SessionWriter:
        kept = self._sessions.get(self._session_id)
        if kept is None:
            raise unknown(self._session_id)
        self._kept = kept
        return self

    async def __aexit__(self, *reason: object) -> None:
        return None

    @property
    def meta(self) -> SessionMeta:
        return self._kept.meta

    @property
    def messages(self) -> Sequence[Message]:
        return self._kept.messages

    def append(self, message: Message) -> None:
        if self._sessions.get(self._session_id) is not self._kept:
            raise unknown(self._session_id)
        self._kept.messages.append(message)

    async def flush(self) -> None:
        """Nothing to do: memory survives nothing."""


class MemorySessionStore:
    """A `SessionStore` that forgets everything when its process ends."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._sessions: dict[SessionId, _Kept] = {}
        self._clock = clock

    async def create(self, meta: SessionMeta, messages: Sequence[Message] = ()) -> None:
        if meta.session_id in self._sessions:
            raise exists_already(meta.session_id)
        self._sessions[meta.session_id] = _Kept(meta, messages)

    async def load(
        self, session_id: SessionId, *, offset: int = 0, limit: int | None = None
    ) -> Session:
        kept = self._kept(session_id)
        total = len(kept.messages)
        start, stop = window(total, offset, limit)
        return Session(
            meta=kept.meta, messages=kept.messages[start:stop], offset=start, total=total
        )

    def open(self, session_id: SessionId) -> AbstractAsyncContextManager[SessionWriter]:
        return _MemoryWriter(self._sessions, session_id)

    async def edit(
        self, session_id: SessionId, change: Callable[[SessionMeta], SessionMeta]
    ) -> SessionMeta:
        kept = self._kept(session_id)
        kept.meta = edited(kept.meta, change, self._clock())
        return kept.meta

    async def list_sessions(
        self, *, limit: int = 20, before: float | None = None, subagents_only: bool = False
    ) -> Sequence[SessionMeta]:
        metas = (kept.meta for kept in self._sessions.values())
        return page_of(metas, limit=limit, before=before, subagents_only=subagents_only)

    async def delete(self, session_id: SessionId) -> None:
        self._kept(session_id)
        del self._sessions[session_id]

    def _kept(self, session_id: SessionId) -> _Kept:
        kept = self._sessions.get(session_id)
        if kept is None:
            raise unknown(session_id)
        return kept
