"""Seams of conversations between runs: the store and a session held open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.messages import Message
from bamboo_mcp.domain.sessions import Session, SessionHits, SessionMeta
from bamboo_mcp.ports.runs import Conversation


class SessionWriter(Conversation, Protocol):
    """A conversation held open for a run.

    What others append meanwhile comes in before the next append from here, and a tool's answer
    stands right behind its call (`domain.sessions.place`).
    """

    @property
    def meta(self) -> SessionMeta: ...
    async def flush(self) -> None:
        """Return once what was appended survives power loss, if the durability setting says so."""
        ...


class SessionStore(Protocol):
    """Conversations between runs. Several processes may use one store at the same time.

    `open` loads the messages and keeps the session ready to append; several may hold one session,
    and every append of each is kept. `edit` merges a change into the latest record under its lock:
    `change` gets the record as it is on disk and returns the new one; `version` goes up by one.
    Who has made changes to a copy saves it with `change = partial(merged, mine=copy, base=read)`.

    Raises:
        UnknownId: No such session.
        StorageError: Reading or writing failed; what was written before is intact.
    """

    async def create(self, meta: SessionMeta, messages: Sequence[Message] = ()) -> None: ...
    async def load(
        self, session_id: SessionId, *, offset: int = 0, limit: int | None = None
    ) -> Session:
        """Messages from `offset` on; a negative one counts from the end and reads only the tail."""
        ...

    def open(self, session_id: SessionId) -> AbstractAsyncContextManager[SessionWriter]: ...
    async def edit(
        self, session_id: SessionId, change: Callable[[SessionMeta], SessionMeta]
    ) -> SessionMeta: ...
    async def list_sessions(
        self, *, limit: int = 20, before: float | None = None, subagents_only: bool = False
    ) -> Sequence[SessionMeta]:
        """Newest first by `created_at`; `before` pages on."""
        ...

    async def search(self, query: str, *, limit: int = 20, offset: int = 0) -> SessionHits:
        """Sessions whose title and messages have all words of `query`, the best first.

        A word also finds longer ones that begin with it; words in double quotes must follow each
        other. `offset` pages on in the order of the hits.

        Raises:
            InvalidInput: There is no word in `query`.
        """
        ...

    async def delete(self, session_id: SessionId) -> None: ...
