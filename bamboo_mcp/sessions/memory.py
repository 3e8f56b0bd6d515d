"""Sessions in memory, for tests and for servers that are to leave nothing behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.messages import Message
from bamboo_mcp.domain.sessions import Session, SessionHit, SessionHits, SessionMeta, place
from bamboo_mcp.ports import SessionWriter
from bamboo_mcp.sessions.listing import edited, exists_already, page_of, unknown, window
from bamboo_mcp.sessions.words import excerpt, folded_words, holds, terms_of


class _Kept:
    __slots__ = ("messages", "meta")

    def __init__(self, meta: SessionMeta, messages: Sequence[Message]) -> None:
        self.meta = meta
        self.messages: list[Message] = []
        for message in messages:
            place(self.messages, message)


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
        place(self._kept.messages, message)

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

    async def search(self, query: str, *, limit: int = 20, offset: int = 0) -> SessionHits:
        terms = terms_of(query)
        newest = sorted(self._sessions.values(), key=lambda kept: -kept.meta.created_at)
        hits = [hit for kept in newest if (hit := _hit(kept, terms)) is not None]
        # In order of age but for this: what is in the title goes first.
        hits.sort(key=lambda hit: hit.position is not None)
        return SessionHits(hits=hits[offset : offset + limit])

    async def delete(self, session_id: SessionId) -> None:
        self._kept(session_id)
        del self._sessions[session_id]

    def _kept(self, session_id: SessionId) -> _Kept:
        kept = self._sessions.get(session_id)
        if kept is None:
            raise unknown(session_id)
        return kept


def _hit(kept: _Kept, terms: Sequence[str]) -> SessionHit | None:
    """Where a session has the terms, if it has them all: in its title, or in which message."""
    texts = [kept.meta.title, *(message.text for message in kept.messages)]
    words = [folded_words(text) for text in texts]
    if not all(any(holds(one, term) for one in words) for term in terms):
        return None
    best = max(range(len(texts)), key=lambda at: sum(holds(words[at], term) for term in terms))
    return SessionHit(
        meta=kept.meta,
        position=best - 1 if best else None,
        excerpt=excerpt(texts[best], terms),
    )
