"""The list of sessions in TinyDB: all of it in memory, replaced as a whole; for a thousand."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from bamboo_mcp.disk.calls import DiskCalls, make_folders
from bamboo_mcp.disk.layout import index_file, sessions_folder
from bamboo_mcp.disk.locks import index_lock
from bamboo_mcp.domain.errors import StorageError, StorageTooNew
from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.sessions.folders import read_listed, record_mtime, session_names
from bamboo_mcp.sessions.index_rows import Changes, document_of
from bamboo_mcp.sessions.listing import page_of
from bamboo_mcp.sessions.tinydb_file import IndexFile

logger = logging.getLogger(__name__)

_LAG_NS = 10_000_000_000
"""The index lags behind the records by its debounce, and clocks of file systems are coarse."""


class TinydbIndex:
    """Implements `IndexRows` in `<home>/index.json`."""

    def __init__(self, home: Path, calls: DiskCalls) -> None:
        self._home = home
        self._path = index_file(home)
        self._sessions = sessions_folder(home)
        self._calls = calls
        self._file: IndexFile | None = None

    def page(
        self,
        noted: Changes,
        *,
        limit: int,
        before: float | None,
        subagents_only: bool,
    ) -> Sequence[SessionMeta]:
        documents = self._current(noted).documents()
        metas: dict[str, SessionMeta | None] = {}
        for session_id, document in documents.items():
            metas[session_id] = self._meta_of(session_id, document)
        for session_id, meta in noted.items():
            known = metas.get(session_id)
            if meta is None or known is None or known.version <= meta.version:
                metas[session_id] = meta
        chosen = page_of(
            (meta for meta in metas.values() if meta is not None),
            limit=limit,
            before=before,
            subagents_only=subagents_only,
        )
        return [meta for meta in map(partial(self._whole, documents), chosen) if meta is not None]

    def write(self, changes: Changes, known: Collection[SessionId]) -> None:
        make_folders(self._home, self._calls)
        current = self._current(known)
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

    def count(self) -> int:
        return 0 if self._file is None else len(self._file)

    def _whole(
        self, documents: Mapping[str, Mapping[str, Any]], meta: SessionMeta
    ) -> SessionMeta | None:
        """The record in full, where the index has it cut."""
        document = documents.get(meta.session_id, {})
        if not document.get("cut") or document.get("version", 0) != meta.version:
            return meta
        return read_listed(self._sessions, meta.session_id)

    def _current(self, known: Collection[SessionId]) -> IndexFile:
        """The index as the file is now, made whole when it is new to us, missing or damaged."""
        if self._file is None:
            opened = IndexFile(self._path, self._calls)
            opened.refresh()
            self._heal(opened, known)
            self._file = opened
        elif self._file.refresh():
            self._heal(self._file, known)
        return self._file

    def _heal(self, index: IndexFile, known: Collection[SessionId]) -> None:
        """Take in what the folders have and the index lacks or has older; drop what is gone."""
        if not self._home.is_dir():
            return
        try:
            with index_lock(self._lock_path()):
                index.refresh()
                self._compare(index, known)
                index.save()
        except StorageTooNew:
            raise
        except StorageError:
            # The list is right in memory all the same.
            logger.exception("the index of sessions could not be brought up to date")

    def _compare(self, index: IndexFile, known: Collection[SessionId]) -> None:
        documents = index.documents()
        try:
            written_at = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            written_at = 0
        names: set[str] = set()
        puts: dict[str, Mapping[str, Any]] = {}
        for name in session_names(self._sessions, sweep=True):
            names.add(name)
            edited_at = record_mtime(str(self._sessions / name))
            if name in documents and edited_at <= written_at - _LAG_NS:
                continue
            if name in known:
                continue  # just made or changed here, and not yet written: no need to read it back
            meta = read_listed(self._sessions, name)
            if meta is not None:
                puts[name] = document_of(meta)
        index.change(puts, [one for one in documents if one not in names])

    def _lock_path(self) -> Path:
        return self._path.with_suffix(".lock")

    def _meta_of(self, session_id: str, document: Mapping[str, Any]) -> SessionMeta | None:
        try:
            return msgspec.convert(dict(document), SessionMeta)
        except msgspec.ValidationError:
            return read_listed(self._sessions, SessionId(session_id))
