"""What is wrong with sessions and with the caches over them, and the repair of a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bamboo_mcp.disk.calls import DISK
from bamboo_mcp.disk.checking import Finding, Repair, check_journal, leftover, leftovers
from bamboo_mcp.disk.journal import Page
from bamboo_mcp.disk.layout import (
    index_database,
    index_file,
    is_plain,
    search_file,
    sessions_folder,
)
from bamboo_mcp.domain.errors import BambooError, StorageTooNew
from bamboo_mcp.domain.messages import Message
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.sessions.folders import DOOMED, session_names
from bamboo_mcp.sessions.index_rows import document_of
from bamboo_mcp.sessions.records import (
    KIND,
    MESSAGES,
    RECORD,
    read_messages,
    read_meta,
    record_fault,
    write_meta,
)

if TYPE_CHECKING:
    import sqlite3

_REBUILT: Repair = "remove"
_REBUILT_WORDS = "remove it: it is made anew from the sessions when it is next used"

_decode_message = msgspec.json.Decoder(Message).decode
_decode_meta = msgspec.json.Decoder(SessionMeta).decode


def check_sessions(home: Path) -> list[Finding]:
    """Every line and record of every session; only reads."""
    sessions = sessions_folder(home)
    listed = _indexed(home)
    found: list[Finding] = []
    for folder in sorted(sessions.iterdir()) if sessions.is_dir() else ():
        if folder.name.startswith(DOOMED):
            found.append(leftover(folder, "left by a process that died while it deleted a session"))
        elif not is_plain(folder.name) or not folder.is_dir():
            found.append(Finding(path=folder, what="is no session of ours", harmless=True))
        else:
            found += _check_session(folder, folder.name in listed)
    return found


def check_caches(home: Path) -> list[Finding]:
    """The index and the search; what only lags behind is not said, it is caught up in use."""
    found: list[Finding] = []
    if index_file(home).exists():
        found += _check_index_file(home)
    if index_database(home).exists():
        found += _checked_database(index_database(home), partial(_check_index_database, home))
    if search_file(home).exists():
        found += _checked_database(search_file(home), partial(_check_search, home))
    return found + (leftovers(home) if home.is_dir() else [])


def rebuild_record(home: Path, path: Path) -> None:
    """Write `session.json` anew: from the index where that knows it, else as the session was made.

    The damaged one is kept as `session.json.bak`. Raises `StorageError`.
    """
    folder = path.parent
    known = _indexed(home).get(folder.name)
    path.replace(path.with_name(f"{path.name}.bak"))
    meta = read_meta(folder)
    if known is not None and not known.get("cut"):
        meta = msgspec.convert(dict(known), SessionMeta)
    write_meta(folder, meta, durable=True, calls=DISK)


def _check_session(folder: Path, listed: bool) -> list[Finding]:
    """`listed`: the index knows it, so it was made in full once."""
    path = folder / MESSAGES
    existed = listed or (folder / RECORD).exists()
    if not path.exists():
        if existed:
            return [Finding(path=path, what="the messages are gone"), *leftovers(folder)]
        return [leftover(folder, "a session whose making was cut short")]
    found, page = check_journal(path, KIND, _decode_message)
    if page is not None:
        if page.header is None and not page.records and not existed:
            return [leftover(folder, "a session whose making was cut short")]
        found += _check_birth(path, page)
    return found + _check_record(folder) + leftovers(folder)


def _check_birth(path: Path, page: Page) -> list[Finding]:
    if page.header is None:
        return []  # said already
    try:
        born = _decode_meta(page.header.made)
    except msgspec.DecodeError as error:
        return [Finding(path=path, line=1, what=f"the record in it cannot be read: {error}")]
    if born.session_id != path.parent.name:
        return [Finding(path=path, line=1, what=f"is of another session: {born.session_id!r}")]
    return []


def _check_record(folder: Path) -> list[Finding]:
    path = folder / RECORD
    try:
        fault = record_fault(folder)
    except StorageTooNew as error:
        return [Finding(path=path, what=error.message, harmless=True)]
    except (BambooError, OSError) as error:
        return [Finding(path=path, what=str(error))]
    if not fault:
        return []
    return [
        Finding(
            path=path,
            line=1,
            what=fault,
            repair="record",
            repair_words="write it anew from the index, or as the session was made; "
            f"keep this one as {RECORD}.bak",
        )
    ]


def _check_index_file(home: Path) -> list[Finding]:
    path = index_file(home)
    try:
        documents = _documents_of(path)
    except StorageTooNew as error:
        return [Finding(path=path, what=error.message, harmless=True)]
    except (msgspec.MsgspecError, KeyError, TypeError, AttributeError, OSError) as error:
        return [_cache(path, f"it cannot be read: {error}")]
    return _compared(home, path, documents)


def _documents_of(path: Path) -> Mapping[str, Mapping[str, Any]]:
    data = msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, dict[str, Any]]])
    if data["about"]["1"]["format"] > 1:
        raise StorageTooNew(f"it has format {data['about']['1']['format']}, newer than this")
    return data["sessions"]


def _checked_database(path: Path, check: Callable[[], list[Finding]]) -> list[Finding]:
    if path.stat().st_size == 0:
        return [_cache(path, "it is empty")]  # to open it would make it whole
    try:
        return check()
    except StorageTooNew as error:
        return [Finding(path=path, what=error.message, harmless=True)]
    except BambooError as error:
        return [_cache(path, error.message)]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return [_cache(path, f"a row in it cannot be read: {error}")]


def _check_index_database(home: Path) -> list[Finding]:
    from bamboo_mcp.sessions.database import integrity_faults
    from bamboo_mcp.sessions.sqlite_index import open_index

    path = index_database(home)

    def look(database: sqlite3.Connection) -> list[Finding]:
        faults = [_cache(path, fault) for fault in integrity_faults(database)]
        return faults or _compared(home, path, _rows(database))

    return open_index(home, DISK).use_as_it_is(look)


def _rows(database: sqlite3.Connection) -> Mapping[str, Mapping[str, Any]]:
    rows = database.execute("SELECT session_id, version, cut, record FROM sessions")
    documents: dict[str, Mapping[str, Any]] = {}
    for session_id, version, cut, record in rows:
        document: dict[str, Any] = msgspec.json.decode(record)
        if document.get("version", 0) != version:
            document["version"] = -1  # two versions of one row: no record has that
        documents[session_id] = {**document, "cut": True} if cut else document
    return documents


def _compared(home: Path, path: Path, documents: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """Rows that say something else than the record of the same version."""
    found: list[Finding] = []
    for session_id, document in documents.items():
        meta = _whole_record(sessions_folder(home), session_id)
        if meta is None:
            continue
        version = document.get("version", 0)
        if version > meta.version:
            what = f"has version {version} of {session_id}, whose record has {meta.version}"
        elif version == meta.version and document != document_of(meta):
            what = f"says something else of {session_id} than its record"
        elif version < 0:
            what = f"contradicts itself about {session_id}"
        else:
            continue
        found.append(_cache(path, what))
    return found


def _whole_record(sessions: Path, session_id: str) -> SessionMeta | None:
    """A record that can be compared with; None for one that is gone, or damaged and said so."""
    folder = sessions / session_id
    if not is_plain(session_id):
        return None
    try:
        if record_fault(folder):
            return None
        page = read_messages(folder, limit=0)
        if page.header is None and not (folder / RECORD).exists():
            return None
        return read_meta(folder, page.header)
    except (BambooError, OSError):
        return None


def _check_search(home: Path) -> list[Finding]:
    from bamboo_mcp.sessions.database import integrity_faults
    from bamboo_mcp.sessions.search import known_sessions, open_search

    path = search_file(home)

    def look(database: sqlite3.Connection) -> list[Finding]:
        faults = [_cache(path, fault) for fault in integrity_faults(database)]
        if faults:
            return faults
        database.execute("INSERT INTO texts (texts, rank) VALUES ('integrity-check', 1)")
        sessions = sessions_folder(home)
        known = known_sessions(database)
        for session_id in set(known) & set(session_names(sessions)):
            last = _last_seq(sessions / session_id)
            if last is not None and known[session_id] > last:
                what = f"message {known[session_id]} was read once; the last one is {last}"
                faults.append(Finding(path=sessions / session_id / MESSAGES, what=what))
        return faults

    return open_search(path, DISK).use_as_it_is(look)


def _last_seq(folder: Path) -> int | None:
    try:
        return read_messages(folder, limit=0).last_seq
    except BambooError:
        return None


def _indexed(home: Path) -> Mapping[str, Mapping[str, Any]]:
    """What the index says of the sessions; nothing when it cannot be read."""
    try:
        database = index_database(home)
        if database.exists() and database.stat().st_size:
            from bamboo_mcp.sessions.sqlite_index import open_index

            return open_index(home, DISK).use_as_it_is(_rows)
        return _documents_of(index_file(home))
    except (BambooError, msgspec.MsgspecError, KeyError, TypeError, AttributeError, OSError):
        return {}


def _cache(path: Path, what: str) -> Finding:
    return Finding(path=path, what=what, repair=_REBUILT, repair_words=_REBUILT_WORDS)
