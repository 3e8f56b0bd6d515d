"""The list of sessions: a cache, written in batches, healed from the sessions."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

import anyio
import anyio.to_thread
from anyio.abc import TaskStatus

from bamboo_mcp.disk.calls import DISK, DiskCalls
from bamboo_mcp.disk.layout import index_database, index_file, sessions_folder
from bamboo_mcp.domain.errors import StorageError
from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.sessions.index_rows import Changes, IndexRows

if TYPE_CHECKING:
    from bamboo_mcp.sessions.sqlite_index import SqliteIndex
    from bamboo_mcp.sessions.tinydb_index import TinydbIndex

logger = logging.getLogger(__name__)

_RETRY_S = 1.0
_LAST_FLUSH_S = 5.0

MANY = 1000
"""Beyond so many sessions SQLite takes over: TinyDB reads and writes all of its file each time."""

IndexKind: TypeAlias = Literal["auto", "tinydb", "sqlite"]

T = TypeVar("T")


class SessionIndex:
    """Answers `list_sessions` without opening every session. All of its file is for one thread.

    `put` and `remove` only take note; `run`, started in a group of the app, writes what was noted
    at most every `debounce_s`, and after twice that while more comes. Until then this process lists
    it from memory; one that dies first leaves it to the next, which compares the index with the
    folders when it first opens it.

    With the kind `auto` it is a TinyDB file up to `many` sessions, then a SQLite file; once there
    is one, every process on this home folder goes over to it.
    """

    def __init__(
        self,
        home: Path,
        *,
        kind: IndexKind = "auto",
        many: int = MANY,
        calls: DiskCalls = DISK,
        debounce_s: float = 0.1,
    ) -> None:
        self._home = home
        self._kind: IndexKind = kind
        self._many = many
        self._calls = calls
        self._debounce_s = debounce_s
        self._noted: Changes = {}
        self._writing: Changes = {}
        self._bell: anyio.Event | None = None
        self._turn: anyio.Lock | None = None
        self._thread: anyio.CapacityLimiter | None = None
        self._small: TinydbIndex | None = None
        self._large: SqliteIndex | None = None

    def put(self, meta: SessionMeta) -> None:
        self._note(meta.session_id, meta)

    def remove(self, session_id: SessionId) -> None:
        self._note(session_id, None)

    async def page(
        self, *, limit: int, before: float | None, subagents_only: bool
    ) -> Sequence[SessionMeta]:
        """See `SessionStore.list_sessions`."""
        noted = {**self._writing, **self._noted}
        return await self._in_thread(
            lambda: self._current().page(
                noted, limit=limit, before=before, subagents_only=subagents_only
            )
        )

    async def flush(self) -> None:
        """Write what was noted.

        Raises:
            StorageError: It could not be written and stays noted.
        """
        if self._turn is None:
            self._turn = anyio.Lock()
        async with self._turn:
            if not self._noted:
                return
            changes = self._writing = self._noted
            self._noted = {}
            try:
                await self._in_thread(partial(self._write, changes))
            except BaseException:
                self._noted = {**changes, **self._noted}
                raise
            finally:
                self._writing = {}

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Write noted changes until cancelled, and once more then."""
        task_status.started()
        try:
            while True:
                if not self._noted:
                    self._bell = anyio.Event()
                    await self._bell.wait()
                noted = len(self._noted)
                await anyio.sleep(self._debounce_s)
                if len(self._noted) > noted:
                    # In the middle of a burst the thread would only take time from those who make
                    # it, and write again for the rest.
                    await anyio.sleep(self._debounce_s)
                if not await self._try_flush():
                    await anyio.sleep(_RETRY_S)
        finally:
            with anyio.move_on_after(_LAST_FLUSH_S, shield=True):
                await self._try_flush()

    async def _try_flush(self) -> bool:
        try:
            await self.flush()
        except StorageError:
            # Nothing is lost: the index is only a cache of the sessions.
            logger.exception("the index of sessions could not be written")
            return False
        return True

    def _note(self, session_id: SessionId, meta: SessionMeta | None) -> None:
        self._noted[session_id] = meta
        if self._bell is not None:
            self._bell.set()
            self._bell = None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._thread is None:
            self._thread = anyio.CapacityLimiter(1)
        return await anyio.to_thread.run_sync(work, limiter=self._thread)

    # What follows runs in the thread.

    def _write(self, changes: Changes) -> None:
        # What was noted since then is known here as well. (A copy is made in one step of Python's.)
        self._current().write(changes, {**changes, **self._noted})

    def _current(self) -> IndexRows:
        """The file that counts now. Its kind is looked at each time: others decide it too."""
        if self._large is None and self._wants_sqlite():
            from bamboo_mcp.sessions.sqlite_index import SqliteIndex

            self._large = SqliteIndex(self._home, self._calls)
            self._small = None
            with contextlib.suppress(OSError):
                self._calls.remove(str(index_file(self._home)))
        if self._large is not None:
            return self._large
        if self._small is None:
            from bamboo_mcp.sessions.tinydb_index import TinydbIndex

            self._small = TinydbIndex(self._home, self._calls)
        return self._small

    def _wants_sqlite(self) -> bool:
        if self._kind != "auto":
            return self._kind == "sqlite"
        if index_database(self._home).exists():
            return True
        if self._small is None:
            from bamboo_mcp.sessions.folders import count_up_to

            many = count_up_to(sessions_folder(self._home), self._many)
        else:
            many = self._small.count()
        return many > self._many and _has_sqlite()


def _has_sqlite() -> bool:
    try:
        import sqlite3  # noqa: F401
    except ImportError:
        logger.warning("this Python has no sqlite3: the list of many sessions stays slow")
        return False
    return True
