"""The list of sessions: a cache in TinyDB, written in batches, healed from the sessions."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import TaskStatus

from bamboo_mcp.disk.calls import DISK, DiskCalls, make_folders
from bamboo_mcp.disk.encoding import encode
from bamboo_mcp.disk.layout import index_file, is_plain, sessions_folder
from bamboo_mcp.disk.locks import index_lock
from bamboo_mcp.domain.errors import StorageError, StorageTooNew, UnknownId
from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.sessions.listing import page_of
from bamboo_mcp.sessions.records import RECORD, read_meta

if TYPE_CHECKING:
    from bamboo_mcp.sessions.tinydb_file import IndexFile

logger = logging.getLogger(__name__)

_WHOLE = 4096
"""A record up to this many bytes is in the index as it is; of a longer one the texts are cut."""
_CUT = 200
_RETRY_S = 1.0
_LAST_FLUSH_S = 5.0

T = TypeVar("T")
Changes = dict[SessionId, SessionMeta | None]
"""None: deleted."""


class SessionIndex:
    """Answers `list_sessions` without opening every session. All of TinyDB runs in one thread.

    `put` and `remove` only take note; `run`, started in a group of the app, writes what was noted
    at most every `debounce_s`, and after twice that while more comes. Until then this process lists
    it from memory; one that dies first leaves it to the next, which compares the index with the
    folders when it first opens it.
    """

    def __init__(self, home: Path, *, calls: DiskCalls = DISK, debounce_s: float = 0.1) -> None:
        self._home = home
        self._sessions = sessions_folder(home)
        self._calls = calls
        self._debounce_s = debounce_s
        self._noted: Changes = {}
        self._writing: Changes = {}
        self._bell: anyio.Event | None = None
        self._turn: anyio.Lock | None = None
        self._thread: anyio.CapacityLimiter | None = None
        self._file: IndexFile | None = None

    def put(self, meta: SessionMeta) -> None:
        self._note(meta.session_id, meta)

    def remove(self, session_id: SessionId) -> None:
        self._note(session_id, None)

    async def page(
        self, *, limit: int, before: float | None, subagents_only: bool
    ) -> Sequence[SessionMeta]:
        """See `SessionStore.list_sessions`."""
        noted = {**self._writing, **self._noted}
        choose = partial(page_of, limit=limit, before=before, subagents_only=subagents_only)
        return await self._in_thread(partial(self._page, noted, choose))

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

    def _page(
        self, noted: Changes, choose: Callable[[Sequence[SessionMeta]], Sequence[SessionMeta]]
    ) -> Sequence[SessionMeta]:
        documents = self._current().documents()
        metas: dict[str, SessionMeta | None] = {}
        for session_id, document in documents.items():
            metas[session_id] = self._meta_of(session_id, document)
        for session_id, meta in noted.items():
            known = metas.get(session_id)
            if meta is None or known is None or known.version <= meta.version:
                metas[session_id] = meta
        chosen = choose([meta for meta in metas.values() if meta is not None])
        return [meta for meta in map(partial(self._whole, documents), chosen) if meta is not None]

    def _whole(
        self, documents: Mapping[str, Mapping[str, Any]], meta: SessionMeta
    ) -> SessionMeta | None:
        """The record in full, where the index has it cut."""
        document = documents.get(meta.session_id, {})
        if not document.get("cut") or document.get("version", 0) != meta.version:
            return meta
        return self._read(meta.session_id)

    def _write(self, changes: Changes) -> None:
        make_folders(self._home, self._calls)
        current = self._current()
        with index_lock(self._lock_path()):
            current.refresh()
            documents = current.documents()
            puts: dict[str, Mapping[str, Any]] = {
                session_id: document_of(meta)
                for session_id, meta in changes.items()
                # Another process may have written a later version meanwhile.
                if meta is not None
                and documents.get(session_id, {}).get("version", -1) <= meta.version
            }
            current.change(puts, [one for one, meta in changes.items() if meta is None])
            current.save()

    def _current(self) -> IndexFile:
        """The index as the file is now, made whole when it is new to us, missing or damaged."""
        if self._file is None:
            from bamboo_mcp.sessions.tinydb_file import IndexFile

            opened = IndexFile(index_file(self._home), self._calls)
            opened.refresh()
            self._heal(opened)
            self._file = opened
        elif self._file.refresh():
            self._heal(self._file)
        return self._file

    def _heal(self, index: IndexFile) -> None:
        """Take in what the folders have and the index lacks or has older; drop what is gone."""
        if not self._home.is_dir():
            return
        try:
            with index_lock(self._lock_path()):
                index.refresh()
                self._compare(index)
                index.save()
        except StorageTooNew:
            raise
        except StorageError:
            # The list is right in memory all the same.
            logger.exception("the index of sessions could not be brought up to date")

    def _compare(self, index: IndexFile) -> None:
        documents = index.documents()
        try:
            written_at = index_file(self._home).stat().st_mtime
        except FileNotFoundError:
            written_at = 0.0
        names: set[str] = set()
        puts: dict[str, Mapping[str, Any]] = {}
        for folder in self._sessions.iterdir() if self._sessions.is_dir() else ():
            if not is_plain(folder.name):
                if folder.name.startswith(".deleted-"):
                    shutil.rmtree(folder, ignore_errors=True)
                continue
            names.add(folder.name)
            if folder.name in documents and not _edited_since(folder, written_at):
                continue
            if folder.name in self._noted or folder.name in self._writing:
                continue  # just made or changed here, and not yet written: no need to read it back
            meta = self._read(SessionId(folder.name))
            if meta is not None:
                puts[folder.name] = document_of(meta)
        index.change(puts, [one for one in documents if one not in names])

    def _lock_path(self) -> Path:
        return index_file(self._home).with_suffix(".lock")

    def _read(self, session_id: SessionId) -> SessionMeta | None:
        try:
            return read_meta(self._sessions / session_id)
        except UnknownId:
            return None
        except StorageError as error:
            # One session that cannot be read must not hide the others.
            logger.warning("session %s is left out of the list: %s", session_id, error)
            return None

    def _meta_of(self, session_id: str, document: Mapping[str, Any]) -> SessionMeta | None:
        try:
            return msgspec.convert(dict(document), SessionMeta)
        except msgspec.ValidationError:
            return self._read(SessionId(session_id))


def document_of(meta: SessionMeta) -> Mapping[str, Any]:
    """What the index keeps of a record: all of it, or its start and a mark that it is cut."""
    data = encode(meta)
    cut = len(data) > _WHOLE
    if cut:
        spec = meta.spec
        if spec is not None:
            spec = msgspec.structs.replace(
                spec, task=spec.task[:_CUT], system_prompt=spec.system_prompt[:_CUT]
            )
        data = encode(msgspec.structs.replace(meta, title=meta.title[:_CUT], spec=spec, extra={}))
    document: dict[str, Any] = msgspec.json.decode(data)
    return {**document, "cut": True} if cut else document


def _edited_since(folder: Path, moment: float) -> bool:
    """Whether the record may be newer than the index, which lags behind by its debounce."""
    try:
        return (folder / RECORD).stat().st_mtime > moment - 10.0
    except OSError:
        return False
