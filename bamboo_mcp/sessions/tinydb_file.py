"""The index file: a TinyDB database of small documents, one a session, replaced atomically.

Only worker threads import this module: nobody needs tinydb before there is a session to list.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from tinydb import TinyDB
from tinydb.storages import Storage
from tinydb.table import Document, Table

from bamboo_mcp.disk.atomic import remove_leftovers, replace_file
from bamboo_mcp.disk.calls import DiskCalls, storage_error
from bamboo_mcp.domain.errors import StorageTooNew

logger = logging.getLogger(__name__)

FORMAT = 1
_ABOUT = "about"
_SESSIONS = "sessions"


class AtomicStorage(Storage):
    """A TinyDB storage that keeps what it read until another process replaced the file.

    Writes are gathered: many changes, then one `save`. Whoever saves holds the index lock.
    """

    def __init__(self, path: Path, calls: DiskCalls) -> None:
        self._path = path
        self._calls = calls
        self._data: dict[str, dict[str, Any]] | None = None
        self._signature: tuple[int, int, int] | None = None
        self._dirty = False

    def read(self) -> dict[str, dict[str, Any]] | None:
        return self._data

    def write(self, data: dict[str, dict[str, Any]]) -> None:
        self._data = data
        self._dirty = True

    def refresh(self) -> bool:
        """Read the file again if it is not the one we know; True when it has to be rebuilt.

        A damaged one is kept aside as `.bak` and counts as missing.

        Raises:
            StorageTooNew: Written by a newer version.
        """
        signature = self._look()
        if signature == self._signature and self._data is not None:
            return False
        self._signature = signature
        self._dirty = False
        self._data = {_ABOUT: {"1": {"format": FORMAT}}, _SESSIONS: {}}
        if signature is None:
            return True
        found = self._parse()
        if found is not None:
            self._data = found
            return False
        logger.warning("the index %s is damaged; it is rebuilt from the sessions", self._path)
        with contextlib.suppress(OSError):
            self._calls.replace(str(self._path), str(self._path) + ".bak")
        return True

    def save(self) -> None:
        if not self._dirty:
            return
        remove_leftovers(self._path)
        # A cache: after power loss it is rebuilt, so it never waits for the disk.
        replace_file(self._path, msgspec.json.encode(self._data), durable=False, calls=self._calls)
        self._signature = self._look()
        self._dirty = False

    def _look(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(error, str(self._path), "look at") from error
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _parse(self) -> dict[str, dict[str, Any]] | None:
        try:
            data = msgspec.json.decode(self._path.read_bytes(), type=dict[str, dict[str, Any]])
        except (msgspec.DecodeError, OSError):
            return None
        about, sessions = data.get(_ABOUT, {}).get("1"), data.get(_SESSIONS)
        if not isinstance(about, dict) or not isinstance(about.get("format"), int):
            return None
        if about["format"] > FORMAT:
            raise StorageTooNew(
                f"{str(self._path)!r} has format {about['format']}; "
                f"this bamboo-mcp reads up to {FORMAT}",
                hint="use the newer bamboo-mcp that wrote it",
            )
        if sessions is None or not all(isinstance(one, dict) for one in sessions.values()):
            return None
        return data


class _SessionTable(Table):
    document_id_class = str  # type: ignore[assignment]


class _Database(TinyDB):
    table_class = _SessionTable


class IndexFile:
    """The documents of the index, by session id."""

    def __init__(self, path: Path, calls: DiskCalls) -> None:
        self._storage = AtomicStorage(path, calls)
        self._database = _Database(storage=lambda: self._storage)
        self._table = self._database.table(_SESSIONS, cache_size=0)

    def refresh(self) -> bool:
        """Take in what other processes wrote; True when there is nothing and it must be rebuilt."""
        return self._storage.refresh()

    def __len__(self) -> int:
        return len((self._storage.read() or {}).get(_SESSIONS, {}))

    def documents(self) -> Mapping[str, Mapping[str, Any]]:
        return {str(document.doc_id): document for document in self._table.all()}

    def change(self, puts: Mapping[str, Mapping[str, Any]], removed: Iterable[str]) -> None:
        """Put some documents in place and take some out, in two passes whatever their number."""
        known = (self._storage.read() or {}).get(_SESSIONS, {})
        gone = [one for one in {*puts, *removed} if one in known]
        if gone:
            self._table.remove(doc_ids=gone)  # type: ignore[arg-type]
        if puts:
            self._table.insert_multiple(
                Document(document, doc_id=one)  # type: ignore[arg-type]
                for one, document in puts.items()
            )

    def save(self) -> None:
        self._storage.save()
