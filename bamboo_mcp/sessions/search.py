"""Full-text search over titles and messages: a cache that is read on by whoever searches.

Nothing happens when a message is appended. A search first compares the sizes of all journals with
what it has read of them and reads on what is new, in a worker thread; so any number of processes
may share the file, and one that is missing or damaged is made anew by the next search.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio
import anyio.from_thread
import anyio.to_thread
import msgspec

from bamboo_mcp.disk.calls import DISK, DiskCalls
from bamboo_mcp.disk.journal import read_journal
from bamboo_mcp.disk.layout import search_file, sessions_folder
from bamboo_mcp.domain.errors import StorageError
from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.messages import Message, ToolResultBlock, text_of
from bamboo_mcp.domain.sessions import SessionHit, SessionHits
from bamboo_mcp.sessions.folders import journal_size, read_listed, record_mtime, session_names
from bamboo_mcp.sessions.records import KIND, MESSAGES
from bamboo_mcp.sessions.words import SEPARATOR, apart, excerpt, terms_of

if TYPE_CHECKING:
    import sqlite3

    from bamboo_mcp.sessions.database import CacheDatabase

logger = logging.getLogger(__name__)

FORMAT = 1
SCHEMA = """
CREATE TABLE sessions (
    number INTEGER PRIMARY KEY,
    session_id TEXT UNIQUE NOT NULL,
    seq INTEGER NOT NULL,
    size INTEGER NOT NULL,
    edited_at INTEGER NOT NULL
);
CREATE VIRTUAL TABLE texts USING fts5(text, tokenize = 'unicode61 remove_diacritics 2')
"""
POSITIONS = 32
"""A text's row is its session's number shifted by so many bits, plus its place in the journal.

Place 0 is the title.
"""
_MASK = (1 << POSITIONS) - 1
_RESULT_CHARS = 4_000
"""Of a tool's answer so much is searched: whole files pass through some."""
_PAGE = 1_000
_COMMIT_S = 0.5
_PATIENCE_S = 1.0
_TITLE_WEIGHT = 4
_MERGE = 500
"""Pages that a deletion may merge; for a large index that is not all, but bounded."""

_decode = msgspec.json.Decoder(Message).decode


class _Read(NamedTuple):
    """How far a session has been read."""

    number: int
    seq: int
    size: int
    edited_at: int


class _Found(NamedTuple):
    """How a session lies on the disk."""

    session_id: SessionId
    size: int
    edited_at: int


class SessionSearch:
    """Searches the sessions of a home folder. `budget_s` bounds the reading on of one search."""

    def __init__(self, home: Path, *, calls: DiskCalls = DISK, budget_s: float = 10.0) -> None:
        self._path = search_file(home)
        self._sessions = sessions_folder(home)
        self._calls = calls
        self._budget_s = budget_s
        self._thread: anyio.CapacityLimiter | None = None

    async def find(self, query: str, *, limit: int, offset: int) -> SessionHits:
        """See `SessionStore.search`.

        Raises:
            InvalidInput, StorageError, StorageTooNew
        """
        terms = terms_of(query)
        if self._thread is None:
            self._thread = anyio.CapacityLimiter(1)
        return await anyio.to_thread.run_sync(
            partial(self._find, terms, max(0, limit), max(0, offset)), limiter=self._thread
        )

    # What follows runs in a worker thread.

    def forget(self, session_id: SessionId) -> None:
        """Take a deleted session's words out at once, where there are any."""
        if not self._path.exists():
            return
        try:
            self._database().use(partial(_forget, session_id))
        except StorageError:
            # The next search sees that its folder is gone.
            logger.warning("session %s stays in the search until the next one", session_id)

    def _database(self) -> CacheDatabase:
        return open_search(self._path, self._calls)

    def _find(self, terms: Sequence[str], limit: int, offset: int) -> SessionHits:
        database = self._database()
        unread = self._read_on(database)
        rows = database.use(partial(_matches, terms, limit, offset))
        hits = [self._hit(terms, *row) for row in rows]
        return SessionHits(hits=tuple(hit for hit in hits if hit is not None), unread=unread)

    def _hit(
        self, terms: Sequence[str], session_id: str, place: int, text: str
    ) -> SessionHit | None:
        meta = read_listed(self._sessions, SessionId(session_id))
        if meta is None:
            return None
        return SessionHit(
            meta=meta, position=place - 1 if place else None, excerpt=excerpt(text, terms)
        )

    def _read_on(self, database: CacheDatabase) -> int:
        """Take in what is new; returns how many sessions there was no time for."""
        stale, gone = self._compare(database)
        if not stale and not gone:
            return 0
        try:
            with database.lock(patience_s=_PATIENCE_S):
                # Another process may have read them while we waited.
                stale, gone = self._compare(database)
                for session_id in gone:
                    database.use_as_it_is(partial(_forget, session_id))
                return database.use_as_it_is(partial(self._take_in, stale))
        except StorageError as error:
            logger.warning("the search is not up to date: %s", error)
            return len(stale)

    def _compare(self, database: CacheDatabase) -> tuple[list[_Found], list[SessionId]]:
        """The sessions that were not read to their end, newest first, and those that are gone."""
        known = database.use(_known)
        stale: list[_Found] = []
        for name in session_names(self._sessions):
            folder = str(self._sessions / name)
            found = _Found(name, journal_size(folder), record_mtime(folder))
            read = known.pop(name, None)
            if found.size >= 0 and (read is None or (read.size, read.edited_at) != found[1:]):
                stale.append(found)
        stale.sort(key=lambda found: found.edited_at, reverse=True)
        return stale, list(known)

    def _take_in(self, stale: Sequence[_Found], database: sqlite3.Connection) -> int:
        """Read sessions until time is up, a transaction every half second for those who wait."""
        from bamboo_mcp.sessions.database import transaction

        give_up = time.monotonic() + self._budget_s
        done = 0
        while done < len(stale) and (done == 0 or time.monotonic() < give_up):
            commit = min(give_up, time.monotonic() + _COMMIT_S)
            with transaction(database):
                while done < len(stale):
                    _checkpoint()
                    self._take_in_one(database, stale[done])
                    done += 1
                    if time.monotonic() > commit:
                        break
        return len(stale) - done

    def _take_in_one(self, database: sqlite3.Connection, found: _Found) -> None:
        read = _known(database, found.session_id).get(found.session_id)
        if read is not None and found.size < read.size:
            _remove(database, read.number)  # cut, or another one of the same name
            read = None
        if read is None:
            made = database.execute(
                "INSERT INTO sessions (session_id, seq, size, edited_at) VALUES (?, 0, 0, -1)",
                (found.session_id,),
            )
            assert made.lastrowid is not None
            read = _Read(made.lastrowid, 0, 0, -1)
        first = read.number << POSITIONS
        if found.edited_at != read.edited_at:
            meta = read_listed(self._sessions, found.session_id)
            database.execute("DELETE FROM texts WHERE rowid = ?", (first,))
            if meta is not None and meta.title:
                database.execute(_ADD, (first, apart(meta.title)))
        seq = read.seq
        for place, text in _texts(self._sessions / found.session_id, read.seq):
            seq = place
            if text:
                database.execute(_ADD, (first + place, apart(text)))
        database.execute(
            "UPDATE sessions SET seq = ?, size = ?, edited_at = ? WHERE number = ?",
            (seq, found.size, found.edited_at, read.number),
        )


_ADD = "INSERT OR REPLACE INTO texts (rowid, text) VALUES (?, ?)"

_ALL = f"""
WITH matching AS MATERIALIZED (
    SELECT rowid AS place, rank AS score FROM texts WHERE texts MATCH ?
), best AS (
    SELECT place >> {POSITIONS} AS number, place,
        min(CASE place & {_MASK} WHEN 0 THEN score * {_TITLE_WEIGHT} ELSE score END) AS score
    FROM matching GROUP BY place >> {POSITIONS}
)
SELECT session_id, best.place & {_MASK}, best.place FROM best JOIN sessions USING (number)
WHERE %s ORDER BY score, number DESC LIMIT ? OFFSET ?
"""
_HAS = f"number IN (SELECT rowid >> {POSITIONS} FROM texts WHERE texts MATCH ?)"


def open_search(path: Path, calls: DiskCalls) -> CacheDatabase:
    """Raises `StorageError` where Python's SQLite cannot search texts."""
    try:
        import sqlite3

        memory = sqlite3.connect(":memory:")
        try:
            memory.execute("CREATE VIRTUAL TABLE texts USING fts5(text)")
        finally:
            memory.close()
    except (ImportError, sqlite3.OperationalError) as error:
        raise StorageError(
            "this Python has no SQLite with full-text search (FTS5)",
            hint="list the sessions without a query, or use another build of Python",
        ) from error
    from bamboo_mcp.sessions.database import CacheDatabase

    return CacheDatabase(path, SCHEMA, FORMAT, calls)


def searched_text(message: Message) -> str:
    """What of a message is searched: its text, and the beginnings of what tools answered."""
    parts = [message.text]
    for block in message.blocks:
        if isinstance(block, ToolResultBlock):
            parts.append(text_of(block.content)[:_RESULT_CHARS])
    return "\n".join(part for part in parts if part)


def _texts(folder: Path, seq: int) -> Iterator[tuple[int, str]]:
    """The places and texts of the messages behind `seq`."""
    while True:
        try:
            page = read_journal(str(folder / MESSAGES), KIND, after=seq, limit=_PAGE)
        except StorageError as error:
            logger.warning("session %s cannot be searched: %s", folder.name, error)
            return
        for record in page.records:
            seq = record.seq
            try:
                text = searched_text(_decode(record.payload))
            except msgspec.DecodeError:
                text = ""  # of a kind this version does not know
            yield seq, text
        if len(page.records) < _PAGE:
            return


def _known(database: sqlite3.Connection, only: str | None = None) -> dict[SessionId, _Read]:
    where, values = ("WHERE session_id = ?", (only,)) if only is not None else ("", ())
    rows = database.execute(
        f"SELECT session_id, number, seq, size, edited_at FROM sessions {where}", values
    )
    return {SessionId(name): _Read(*rest) for name, *rest in rows}


def known_sessions(database: sqlite3.Connection) -> dict[SessionId, int]:
    """How many messages of each session were read."""
    return {session_id: read.seq for session_id, read in _known(database).items()}


def _forget(session_id: SessionId, database: sqlite3.Connection) -> None:
    """Take a session out, so that what was deleted is not left in spare pages of the file."""
    import sqlite3

    from bamboo_mcp.sessions.database import transaction

    database.execute("PRAGMA secure_delete = FAST")
    with transaction(database):
        try:
            database.execute("INSERT INTO texts (texts, rank) VALUES ('secure-delete', 1)")
            merge = False
        except sqlite3.OperationalError:
            merge = True  # before SQLite 3.42: words go when parts of the index are merged
        for read in _known(database, session_id).values():
            _remove(database, read.number)
        if merge:
            database.execute("INSERT INTO texts (texts, rank) VALUES ('merge', ?)", (-_MERGE,))


def _remove(database: sqlite3.Connection, number: int) -> None:
    first = number << POSITIONS
    database.execute("DELETE FROM texts WHERE rowid BETWEEN ? AND ?", (first, first + _MASK))
    database.execute("DELETE FROM sessions WHERE number = ?", (number,))


def _matches(
    terms: Sequence[str], limit: int, offset: int, database: sqlite3.Connection
) -> list[tuple[str, int, str]]:
    """Sessions that have all terms, the best first: id, place of the best text, that text."""
    phrases = [_phrase(term) for term in terms]
    rows = database.execute(
        _ALL % " AND ".join([_HAS] * len(phrases)),
        (" OR ".join(phrases), *phrases, limit, offset),
    ).fetchall()
    return [(session_id, place, _text(database, row)) for session_id, place, row in rows]


def _text(database: sqlite3.Connection, row: int) -> str:
    found: tuple[str] | None = database.execute(
        "SELECT text FROM texts WHERE rowid = ?", (row,)
    ).fetchone()
    return found[0].replace(SEPARATOR, "") if found else ""


def _phrase(term: str) -> str:
    """In the language of FTS5; quotes make everything inside plain words."""
    return '"' + apart(term).replace('"', '""') + '"*'


def _checkpoint() -> None:
    """Stop here if whoever searches has been cancelled."""
    anyio.from_thread.check_cancelled()
