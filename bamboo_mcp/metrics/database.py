"""Figures of runs in one file, `metrics.db`: its tables, its opening, and when it is set aside.

SQLite is imported when the file is opened. Several processes write it, each a batch at a time.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from bamboo_mcp.disk.calls import make_folders
from bamboo_mcp.disk.locks import index_lock
from bamboo_mcp.domain.errors import StorageCorrupt, StorageError, StorageTooNew

if TYPE_CHECKING:
    from sqlite3 import Connection, DatabaseError

logger = logging.getLogger(__name__)

VERSION = 1
BUSY_S = 5.0
"""So long a batch waits for that of another process."""

_TOKENS = """
    input INTEGER NOT NULL DEFAULT 0,
    output INTEGER NOT NULL DEFAULT 0,
    cache_read INTEGER NOT NULL DEFAULT 0,
    cache_write INTEGER NOT NULL DEFAULT 0,
    reasoning INTEGER NOT NULL DEFAULT 0"""

_TABLES = f"""
CREATE TABLE sessions (
    session_id TEXT PRIMARY KEY,
    first_at REAL NOT NULL,
    last_at REAL NOT NULL
);
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE,
    subagent_id TEXT NOT NULL DEFAULT '',
    owner TEXT NOT NULL DEFAULT '',
    model TEXT NOT NULL DEFAULT '',
    began_at REAL NOT NULL,
    ended_at REAL,
    status TEXT NOT NULL,
    error_code TEXT NOT NULL DEFAULT '',
    error TEXT NOT NULL DEFAULT ''
);
CREATE INDEX runs_by_time ON runs (began_at);
CREATE INDEX runs_by_session ON runs (session_id);
CREATE TABLE rounds (
    run_id TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
    round INTEGER NOT NULL,
    began_at REAL NOT NULL,
    duration_s REAL NOT NULL,
    provider TEXT NOT NULL DEFAULT '',
    model TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL,
    stop TEXT NOT NULL DEFAULT '',
    error_code TEXT NOT NULL DEFAULT '',
    waits INTEGER NOT NULL DEFAULT 0,{_TOKENS},
    cost_usd REAL,
    PRIMARY KEY (run_id, round)
) WITHOUT ROWID;
CREATE INDEX rounds_by_time ON rounds (began_at);
CREATE TABLE side_calls (
    run_id TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    purpose TEXT NOT NULL,
    began_at REAL NOT NULL,
    provider TEXT NOT NULL DEFAULT '',
    model TEXT NOT NULL DEFAULT '',{_TOKENS},
    cost_usd REAL,
    PRIMARY KEY (run_id, seq)
) WITHOUT ROWID;
CREATE INDEX side_calls_by_time ON side_calls (began_at);
CREATE TABLE tool_calls (
    run_id TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    tool TEXT NOT NULL,
    began_at REAL NOT NULL,
    duration_s REAL NOT NULL,
    is_error INTEGER NOT NULL,
    error TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (run_id, seq)
) WITHOUT ROWID;
CREATE INDEX tool_calls_by_time ON tool_calls (began_at);
CREATE TABLE gaps (at REAL NOT NULL, events INTEGER NOT NULL);
"""
"""A cost that is not known is NULL. `seq` is the event's: a repeated event is not counted twice.
`side_calls` are answers of models that a run asked beside its own, as to judge it. `gaps` tells how
many events were not counted."""


def metrics_file(home: Path) -> Path:
    return home / "metrics.db"


def open_for_writing(path: Path) -> Connection:
    """The file, made or brought to order as needed; one that is damaged is set aside and said.

    Raises:
        StorageTooNew: A newer version wrote it.
        StorageError: It cannot be used.
        sqlite3.Error: The same, in SQLite's words.
    """
    from sqlite3 import DatabaseError

    make_folders(path.parent)
    try:
        return _opened(path)
    except DatabaseError as error:
        if not is_damage(error):
            raise
    set_aside(path)
    return _opened(path)


def is_damage(error: DatabaseError) -> bool:
    """Is the file itself broken? A full disk or a lock that is held is not that."""
    from sqlite3 import SQLITE_CORRUPT, SQLITE_NOTADB

    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (SQLITE_CORRUPT, SQLITE_NOTADB)


def set_aside(path: Path) -> None:
    """Move a damaged file out of the way, unless another process just has.

    Raises:
        StorageError: It cannot be moved.
    """
    with index_lock(path.with_suffix(".lock")):
        if _is_sound(path):
            return
        aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
        for ending in ("-wal", "-shm", ""):
            try:
                path.with_name(path.name + ending).replace(aside.with_name(aside.name + ending))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StorageError(
                    f"{path.name!r} is damaged and cannot be moved away: {error.strerror}",
                    hint="figures of runs are not kept until it is removed",
                ) from error
    logger.warning("%s was damaged: it is now %s, and counting begins anew", path, aside.name)


def open_for_reading(path: Path) -> Connection | None:
    """None when there is no such file.

    Raises:
        StorageCorrupt, StorageTooNew, StorageError
    """
    from sqlite3 import DatabaseError, connect

    if not path.exists():
        return None
    try:
        connection = connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)
        try:
            _check_version(connection, path)
        except BaseException:
            connection.close()
            raise
    except DatabaseError as error:
        raise unreadable(path, error) from error
    return connection


def unreadable(path: Path, error: DatabaseError) -> StorageError:
    if is_damage(error):
        return StorageCorrupt(
            f"{path} is damaged: {error}",
            hint="the next run sets it aside and begins a new one; or remove it",
        )
    return StorageError(f"{path} cannot be read: {error}", hint="check the disk and the rights")


def remove_old(connection: Connection, before: float, *, at_most: int = 500) -> int:
    """Delete the oldest runs that ended before then, with all that is theirs; how many it were."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        removed = connection.execute(
            "DELETE FROM runs WHERE run_id IN (SELECT run_id FROM runs"
            " WHERE coalesce(ended_at, began_at) < ? AND began_at < ? LIMIT ?)",
            (before, before, at_most),
        ).rowcount
        if removed < at_most:
            connection.execute(
                "DELETE FROM sessions WHERE last_at < ?"
                " AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.session_id = sessions.session_id)",
                (before,),
            )
            connection.execute("DELETE FROM gaps WHERE at < ?", (before,))
    if removed:
        connection.execute("PRAGMA incremental_vacuum(1000)").fetchall()
    return removed


def _opened(path: Path) -> Connection:
    from sqlite3 import connect

    # SQLite would make it readable by others; what it puts beside it takes over these rights.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        _check_version(connection, path)
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            if not _check_version(connection, path):
                # Not `executescript`: it would end the transaction that keeps others out.
                for statement in _TABLES.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {VERSION}")
    except BaseException:
        connection.close()
        raise
    return connection


def _check_version(connection: Connection, path: Path) -> int:
    """0 for an empty file."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise StorageTooNew(
            f"{path.name!r} was written by a newer bamboo-mcp (its format is {version}, "
            f"this one knows {VERSION})",
            hint="use the newer version, or another home folder",
        )
    return version


def _is_sound(path: Path) -> bool:
    from sqlite3 import DatabaseError, connect

    try:
        with closing(connect(path, timeout=BUSY_S)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()
            return bool(found and found[0] == "ok")
    except DatabaseError as error:
        return not is_damage(error)
