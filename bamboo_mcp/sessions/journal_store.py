"""Sessions on disk: an append-only journal each, and a small record, replaced when edited."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from bamboo_mcp.disk.atomic import remove_leftovers
from bamboo_mcp.disk.calls import shown_path, storage_error
from bamboo_mcp.disk.journal import Page
from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.disk.layout import is_plain, sessions_folder
from bamboo_mcp.disk.lines import Damage
from bamboo_mcp.disk.locks import try_lock
from bamboo_mcp.domain.errors import InvalidInput, StorageError
from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.messages import Message
from bamboo_mcp.domain.sessions import Session, SessionHits, SessionMeta
from bamboo_mcp.ports import SessionWriter
from bamboo_mcp.sessions.folders import DOOMED
from bamboo_mcp.sessions.index import SessionIndex
from bamboo_mcp.sessions.listing import edited, exists_already, unknown
from bamboo_mcp.sessions.records import (
    MESSAGES,
    RECORD,
    read_messages,
    read_meta,
    session_folder,
    write_meta,
)
from bamboo_mcp.sessions.search import SessionSearch
from bamboo_mcp.sessions.writer import JournalWriter, Opening, decode_all, near

logger = logging.getLogger(__name__)

_PATIENCE_S = 10.0
"""How long an edit waits for the edits of other processes."""

_BORN_KEPT = 1000
_BORN_BYTES = 16 * 1024
"""New sessions up to this size are opened without being read back, so many of them."""


class JournalSessionStore:
    """The `SessionStore` of a home folder, in `<home>/sessions/<id>/`.

    Several processes may use one home folder. `index` is a cache for `list_sessions`, nothing more;
    so is what `search` keeps (default: that of the home folder).
    """

    def __init__(
        self,
        home: Path,
        journals: Journals,
        index: SessionIndex,
        *,
        search: SessionSearch | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._search = search or SessionSearch(home, calls=journals.calls)
        self._sessions = sessions_folder(home)
        self._prefix = f"{self._sessions}{os.sep}"
        self._journals = journals
        self._index = index
        self._clock = clock
        self._durable = journals.durability != "process"
        self._turns: dict[SessionId, tuple[anyio.Lock, list[None]]] = {}
        self._born: OrderedDict[SessionId, JournalWriter] = OrderedDict()
        """Made here and not yet opened: mostly the sessions of subagents that wait to begin."""

    async def create(self, meta: SessionMeta, messages: Sequence[Message] = ()) -> None:
        if not is_plain(meta.session_id):
            raise InvalidInput(
                f"{meta.session_id!r} cannot be a session id",
                hint="letters, digits, - and _, at most 80 of them",
            )
        path = f"{self._prefix}{meta.session_id}{os.sep}{MESSAGES}"
        try:
            writer = JournalWriter.made(self._journals, path, meta, messages)
        except FileExistsError as error:
            raise exists_already(meta.session_id) from error
        self._index.put(meta)
        if writer.size <= _BORN_BYTES:
            # Its file stays open too: the bound on open files takes it away when it is in the way.
            self._born[meta.session_id] = writer
            if len(self._born) > _BORN_KEPT:
                self._born.popitem(last=False)[1].close()
        else:
            writer.close()
        await writer.flush()

    async def load(
        self, session_id: SessionId, *, offset: int = 0, limit: int | None = None
    ) -> Session:
        # What was found in the file counts from now on, also for who opens the session.
        self._forget_born(session_id)
        folder = session_folder(self._sessions, session_id)
        return await near(folder, partial(_load, folder, offset, limit))

    def open(self, session_id: SessionId) -> AbstractAsyncContextManager[SessionWriter]:
        return Opening(partial(self._writer, session_id))

    async def _writer(self, session_id: SessionId) -> JournalWriter:
        born = self._born.pop(session_id, None)
        if born is not None:
            if born.is_current():
                return born
            born.close()
        folder = session_folder(self._sessions, session_id)
        return await JournalWriter.opened(self._journals, folder)

    def _forget_born(self, session_id: SessionId) -> None:
        born = self._born.pop(session_id, None)
        if born is not None:
            born.close()

    async def edit(
        self, session_id: SessionId, change: Callable[[SessionMeta], SessionMeta]
    ) -> SessionMeta:
        folder = session_folder(self._sessions, session_id)
        async with self._alone(session_id, folder):
            meta = edited(read_meta(folder), change, self._clock())
            remove_leftovers(folder / RECORD)
            write = partial(
                write_meta, folder, meta, durable=self._durable, calls=self._journals.calls
            )
            if self._durable:
                await anyio.to_thread.run_sync(write)
            else:
                write()
        self._index.put(meta)
        return meta

    async def list_sessions(
        self, *, limit: int = 20, before: float | None = None, subagents_only: bool = False
    ) -> Sequence[SessionMeta]:
        return await self._index.page(limit=limit, before=before, subagents_only=subagents_only)

    async def search(self, query: str, *, limit: int = 20, offset: int = 0) -> SessionHits:
        return await self._search.find(query, limit=limit, offset=offset)

    async def delete(self, session_id: SessionId) -> None:
        folder = session_folder(self._sessions, session_id)
        async with self._alone(session_id, folder):
            self._forget_born(session_id)  # an open file cannot be deleted on Windows
            await anyio.to_thread.run_sync(self._delete, folder)
        self._index.remove(session_id)

    async def check(self, session_id: SessionId) -> Sequence[Damage]:
        """Every damaged line of a session's journal; reads all of it and repairs nothing."""
        folder = session_folder(self._sessions, session_id)
        page = await anyio.to_thread.run_sync(read_messages, folder)
        return page.damage

    def _delete(self, folder: Path) -> None:
        # Renamed first, so that a crash in the middle leaves no half of a session in the list.
        doomed = folder.with_name(f"{DOOMED}{folder.name}-{secrets.token_hex(4)}")
        try:
            try:
                self._journals.calls.replace(str(folder), str(doomed))
            except PermissionError:
                doomed = folder  # Windows, while a file in it is open
            shutil.rmtree(doomed)
        except OSError as error:
            raise storage_error(error, str(folder), "delete") from error
        self._search.forget(SessionId(folder.name))

    @asynccontextmanager
    async def _alone(self, session_id: SessionId, folder: Path) -> AsyncIterator[None]:
        """The only one to change the record of a session: of our tasks, and of all processes."""
        lock, users = self._turns.setdefault(session_id, (anyio.Lock(), []))
        users.append(None)
        try:
            async with lock:
                fd = await self._lock_file(folder)
                try:
                    # Deleted while we waited: the file we locked is no longer in its place.
                    if not (folder / MESSAGES).exists():
                        raise unknown(session_id)
                    yield
                finally:
                    os.close(fd)  # which lets go of the lock
        finally:
            users.pop()
            if not users:
                self._turns.pop(session_id, None)

    async def _lock_file(self, folder: Path) -> int:
        path = str(folder / "lock")
        try:
            fd = self._journals.calls.open(path, os.O_RDWR | os.O_CREAT)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise unknown(folder.name) from error
        except OSError as error:
            raise storage_error(error, path, "open") from error
        try:
            with anyio.move_on_after(_PATIENCE_S):
                pause = 0.0005
                while not try_lock(fd):
                    await anyio.sleep(pause)
                    pause = min(pause * 2, 0.02)
                return fd
            logger.error("another process holds %s", path)
            raise StorageError(
                f"another process has held {shown_path(path)!r} for {_PATIENCE_S:g} s",
                hint="try again; if it goes on, the server's log names the file",
            )
        except BaseException:
            os.close(fd)
            raise


def _load(folder: Path, offset: int, limit: int | None) -> Session:
    page: Page
    if offset < 0:
        page = read_messages(folder, tail=-offset, limit=limit)
        start = max(0, page.last_seq + offset)
    else:
        page = read_messages(folder, after=offset, limit=limit)
        start = min(offset, page.last_seq)
    # Positions are counted in the file: damage leaves a hole and moves nothing.
    records = [record for record in page.records if limit is None or record.seq <= start + limit]
    return Session(
        meta=read_meta(folder, page.header),
        messages=decode_all(folder.name, records),
        offset=start,
        total=page.last_seq,
    )
