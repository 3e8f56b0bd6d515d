"""The list of sessions in SQLite: a page is read, the rest stays on the disk; for any number."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar

import msgspec

from bamboo_mcp.disk.calls import DiskCalls
from bamboo_mcp.disk.layout import index_database, sessions_folder
from bamboo_mcp.domain.errors import StorageError, StorageTooNew
from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.sessions.database import CacheDatabase, birth_mark, transaction
from bamboo_mcp.sessions.folders import read_listed, record_mtime, session_names
from bamboo_mcp.sessions.index_rows import Changes, row_of
from bamboo_mcp.sessions.listing import page_of

logger = logging.getLogger(__name__)

FORMAT = 1
_SCHEMA = """
CREATE TABLE sessions (
    session_id TEXT PRIMARY KEY,
    created_at REAL NOT NULL,
    subagent INTEGER NOT NULL,
    version INTEGER NOT NULL,
    edited_at INTEGER NOT NULL,
    cut INTEGER NOT NULL,
    record BLOB NOT NULL
);
CREATE INDEX newest ON sessions (created_at DESC, session_id DESC);
CREATE INDEX newest_subagents ON sessions (created_at DESC, session_id DESC) WHERE subagent
"""
_PUT = """
INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (session_id) DO UPDATE SET
    created_at = excluded.created_at, subagent = excluded.subagent, version = excluded.version,
    edited_at = excluded.edited_at, cut = excluded.cut, record = excluded.record
WHERE excluded.version >= sessions.version
"""
Row: TypeAlias = tuple[str, float, int, int, int, int, bytes]
T = TypeVar("T")

_decode = msgspec.json.Decoder(SessionMeta).decode


def open_index(home: Path, calls: DiskCalls) -> CacheDatabase:
    return CacheDatabase(index_database(home), _SCHEMA, FORMAT, calls)


class SqliteIndex:
    """Implements `IndexRows` in `<home>/index.db`."""

    def __init__(self, home: Path, calls: DiskCalls) -> None:
        self._sessions = sessions_folder(home)
        self._database = open_index(home, calls)
        self._healed = ""
        """The birth mark of the file that was compared with the folders."""

    def page(
        self,
        noted: Changes,
        *,
        limit: int,
        before: float | None,
        subagents_only: bool,
    ) -> Sequence[SessionMeta]:
        def choose(metas: Mapping[SessionId, SessionMeta | None]) -> Sequence[SessionMeta]:
            return page_of(
                (meta for meta in metas.values() if meta is not None),
                limit=limit,
                before=before,
                subagents_only=subagents_only,
            )

        def read(database: sqlite3.Connection) -> Sequence[SessionMeta]:
            rows = _select(database, noted, limit, before, subagents_only)
            metas: Changes = {}
            for session_id, version, cut, record in rows:
                latest = noted.get(session_id)
                if session_id in noted and (latest is None or latest.version >= version):
                    continue
                metas[session_id] = self._meta_of(session_id, record, bool(cut))
            for session_id, meta in noted.items():
                metas.setdefault(session_id, meta)
            return choose(metas)

        try:
            return self._use(read, noted)
        except StorageTooNew:
            raise
        except StorageError:
            # A full disk takes no index. The sessions are all there, and read one by one.
            logger.exception("the list is read from the sessions, without its index")
            metas: Changes = {one: self._read(one) for one in session_names(self._sessions)}
            metas.update(noted)
            return choose(metas)

    def write(self, changes: Changes, known: Collection[SessionId]) -> None:
        puts = [self._row(meta) for meta in changes.values() if meta is not None]
        gone = [session_id for session_id, meta in changes.items() if meta is None]
        self._use(partial(self._change, puts, gone), known)

    def _use(self, work: Callable[[sqlite3.Connection], T], known: Collection[SessionId]) -> T:
        def healed(database: sqlite3.Connection) -> T:
            mark = birth_mark(database)
            if mark != self._healed:
                self._heal(database, known)
                self._healed = mark
            return work(database)

        return self._database.use(healed)

    def _change(
        self, puts: Iterable[Row], gone: Iterable[str], database: sqlite3.Connection
    ) -> None:
        with transaction(database):
            database.executemany(_PUT, puts)
            database.executemany("DELETE FROM sessions WHERE session_id = ?", _singly(gone))

    def _heal(self, database: sqlite3.Connection, known: Collection[SessionId]) -> None:
        """Take in what the folders have and the index lacks or has older; drop what is gone."""
        rows = database.execute("SELECT session_id, edited_at FROM sessions")
        listed: dict[str, int] = dict(rows.fetchall())
        puts: list[Row] = []
        for name in session_names(self._sessions, sweep=True):
            edited_at = listed.pop(name, None)
            if name in known:
                continue  # just made or changed here, and not yet written: no need to read it back
            if edited_at == record_mtime(str(self._sessions / name)):
                continue
            meta = self._read(name)
            if meta is not None:
                puts.append(self._row(meta))
        self._change(puts, listed, database)

    def _row(self, meta: SessionMeta) -> Row:
        record, cut = row_of(meta)
        return (
            meta.session_id,
            meta.created_at,
            int(meta.subagent_id is not None),
            meta.version,
            record_mtime(str(self._sessions / meta.session_id)),
            int(cut),
            record,
        )

    def _meta_of(self, session_id: str, record: bytes, cut: bool) -> SessionMeta | None:
        if not cut:
            try:
                return _decode(record)
            except msgspec.DecodeError as error:
                logger.warning("session %s: its line in the index: %s", session_id, error)
        return self._read(SessionId(session_id))

    def _read(self, session_id: SessionId) -> SessionMeta | None:
        return read_listed(self._sessions, session_id)


def _select(
    database: sqlite3.Connection,
    noted: Changes,
    limit: int,
    before: float | None,
    subagents_only: bool,
) -> list[tuple[SessionId, int, int, bytes]]:
    """The rows of a page, as many more as noted changes could take away, and those noted."""
    bounds = ["created_at < ?"] if before is not None else []
    bounds += ["subagent"] if subagents_only else []
    where = f"WHERE {' AND '.join(bounds)}" if bounds else ""
    columns = "SELECT session_id, version, cut, record FROM sessions"
    wanted = (*((before,) if before is not None else ()), max(0, limit) + len(noted))
    rows = database.execute(
        f"{columns} {where} ORDER BY created_at DESC, session_id DESC LIMIT ?",
        wanted,
    ).fetchall()
    seen = {row[0] for row in rows}
    for session_id in noted:
        if session_id not in seen:
            rows += database.execute(f"{columns} WHERE session_id = ?", (session_id,)).fetchall()
    return rows


def _singly(values: Iterable[str]) -> list[tuple[str]]:
    return [(value,) for value in values]
