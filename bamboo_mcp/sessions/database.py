"""A SQLite file that is a cache: made when missing, shared by processes, replaced when damaged.

Only worker threads import this module: nobody needs sqlite3 before there is much to list or search.
It is opened for each use and closed again, which costs a millisecond: then nobody writes into a
file that another process has thrown away.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from bamboo_mcp.disk.calls import DiskCalls, make_folders, shown_path, storage_error
from bamboo_mcp.disk.locks import index_lock
from bamboo_mcp.domain.errors import StorageCorrupt, StorageError, StorageFull, StorageTooNew

logger = logging.getLogger(__name__)

_BUSY_S = 5.0
_PRIMARY = 0xFF
"""Of an extended error code, the part that says which kind it is."""
_DAMAGE = frozenset(
    (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR)
)
"""`SQLITE_ERROR` is a table or column that is not there: a file of somebody else's."""

T = TypeVar("T")


class CacheDatabase:
    """The file at `path` with the tables of `schema`, in version `format_number` of ours."""

    def __init__(self, path: Path, schema: str, format_number: int, calls: DiskCalls) -> None:
        self.path = path
        self._schema = schema
        self._format = format_number
        self._calls = calls

    def use(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` on the open database; a damaged one is thrown away and `work` done anew.

        Raises:
            StorageTooNew: Written by a newer version.
            StorageFull, StorageError: The disk, or another process that holds it for too long.
        """
        try:
            return self.use_as_it_is(work)
        except StorageCorrupt as damage:
            logger.warning("%s; it is rebuilt from the sessions", damage)
        with self.lock():
            try:
                # Another process may have done it while we waited.
                return self.use_as_it_is(work)
            except StorageCorrupt:
                self.throw_away()
            return self.use_as_it_is(work)

    def use_as_it_is(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """As `use`, but damage is raised as `StorageCorrupt`."""
        try:
            with contextlib.closing(self._open()) as database:
                return work(database)
        except sqlite3.Error as error:
            raise self._named(error) from error

    def lock(self, *, patience_s: float = 10.0) -> contextlib.AbstractContextManager[None]:
        """For work that no two processes should do at once. Raises `StorageError` at `enter`."""
        make_folders(self.path.parent, self._calls)
        return index_lock(self.path.with_suffix(".lock"), patience_s=patience_s)

    def throw_away(self) -> None:
        for end in ("", "-wal", "-shm", "-journal"):
            try:
                self._calls.remove(f"{self.path}{end}")
            except FileNotFoundError:
                continue
            except OSError as error:
                raise storage_error(error, f"{self.path}{end}", "remove") from error

    def _open(self) -> sqlite3.Connection:
        self._make_file()
        database = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            version: int = database.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._make_tables(database)
            elif version > self._format:
                raise StorageTooNew(
                    f"{shown_path(self.path)!r} has format {version}; "
                    f"this bamboo-mcp reads up to {self._format}",
                    hint="use the newer bamboo-mcp that wrote it",
                )
        except BaseException:
            database.close()
            raise
        return database

    def _make_file(self) -> None:
        """Readable by its owner alone, and what SQLite puts beside it then is too."""
        if self.path.exists():
            return
        make_folders(self.path.parent, self._calls)
        try:
            os.close(self._calls.open(str(self.path), os.O_RDWR | os.O_CREAT))
        except OSError as error:
            raise storage_error(error, str(self.path), "make") from error

    def _make_tables(self, database: sqlite3.Connection) -> None:
        with transaction(database):
            if database.execute("PRAGMA user_version").fetchone()[0]:
                return  # another process was faster
            database.execute("CREATE TABLE born (mark TEXT NOT NULL)")
            database.execute("INSERT INTO born VALUES (?)", (secrets.token_hex(8),))
            for statement in self._schema.split(";"):
                if statement.strip():
                    database.execute(statement)
            database.execute(f"PRAGMA user_version = {self._format}")

    def _named(self, error: sqlite3.Error) -> StorageError:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY
        words = f"{shown_path(self.path)!r}: {error}"
        if code == sqlite3.SQLITE_FULL:
            return StorageFull(words, hint="free some disk space; no message is lost")
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StorageError(words, hint="another bamboo-mcp process is at it; try again")
        if code in _DAMAGE:
            return StorageCorrupt(f"{words} (the file is damaged)")
        return StorageError(words, hint="check the disk and the rights; no message is lost")


def birth_mark(database: sqlite3.Connection) -> str:
    """Another one means that the file was made anew, by whomever."""
    mark: str = database.execute("SELECT mark FROM born").fetchone()[0]
    return mark


@contextlib.contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All that is written inside, or nothing."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def integrity_faults(database: sqlite3.Connection) -> list[str]:
    """What SQLite itself finds wrong with the file."""
    rows = database.execute("PRAGMA integrity_check(20)").fetchall()
    return [row[0] for row in rows if row[0] != "ok"]
