"""The event sink that keeps the figures: it takes events in, and its own thread writes them."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

from bamboo_mcp.contributions import Services
from bamboo_mcp.domain.errors import BambooError
from bamboo_mcp.domain.events import EventRecord
from bamboo_mcp.metrics import database
from bamboo_mcp.metrics.counting import KINDS, Counting, Row

if TYPE_CHECKING:
    from sqlite3 import Connection

logger = logging.getLogger(__name__)

MOST_WAITING = 20_000
"""So many events wait to be written; what comes then is not counted, and that is said."""
BATCH_S = 0.5
"""So long events are gathered before they are written together."""
CLOSE_WITHIN_S = 2.0
DAY_S = 86_400.0
_ROWS_AT_ONCE = 2_000
_SWEEP_EVERY_S = 3_600.0


class Recorder:
    """Counts the runs of this process in `path`.

    The thread begins with the first event and ends with `close`. What cannot be written is dropped
    and said in the log; a run is never told. `keep_days` None: figures are never removed.
    """

    KINDS = KINDS

    def __init__(
        self,
        path: Path,
        *,
        keep_days: float | None = 90,
        most_waiting: int = MOST_WAITING,
        batch_s: float = BATCH_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keep_s = None if keep_days is None else keep_days * DAY_S
        self._most_waiting = most_waiting
        self._batch_s = batch_s
        self._waiting: deque[EventRecord] = deque()
        self._writer = _Writer(path, clock)
        self._clock = clock
        self._awake = False
        self._news = Event()
        self._closing = Event()
        self._thread: Thread | None = None
        self._dropped = 0
        self._swept = float("-inf")

    def emit(self, record: EventRecord) -> None:
        if len(self._waiting) >= self._most_waiting:
            self._dropped += 1
            return
        self._waiting.append(record)
        if not self._awake:
            self._wake()

    def _wake(self) -> None:
        self._awake = True
        self._news.set()
        if self._thread is None:
            self._thread = Thread(target=self._work, name="metrics", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Write what waits, for a moment at most."""
        self._most_waiting = 0
        self._closing.set()
        self._news.set()
        if self._thread is None:
            return
        self._thread.join(CLOSE_WITHIN_S)
        if self._thread.is_alive() or self._waiting:
            logger.warning("%d events were not counted at the end", len(self._waiting))

    def _work(self) -> None:
        try:
            while not self._closing.is_set():
                self._news.wait()
                self._closing.wait(self._batch_s)
                self._news.clear()
                self._awake = False  # what comes from here on wakes us again
                self._write()
                self._sweep()
            self._write()  # what came between the last look and the closing
        except Exception:
            logger.exception("figures of runs are not kept any more")
            self._most_waiting = 0
        finally:
            self._writer.close()

    def _write(self) -> None:
        while self._waiting or self._dropped:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _ROWS_AT_ONCE))]
            dropped, self._dropped = self._dropped, 0
            if self._closing.is_set() and not batch:
                return  # these came after the end
            if dropped:
                logger.warning("%d events were not counted: too many at once", dropped)
            if not self._writer.write(batch, dropped):
                logger.warning("%d events were not counted: they could not be written", len(batch))

    def _sweep(self) -> None:
        if self._keep_s is None or time.monotonic() - self._swept < _SWEEP_EVERY_S:
            return
        while self._writer.remove_old(self._clock() - self._keep_s):
            if self._closing.is_set():
                return
        self._swept = time.monotonic()


class _Writer:
    """The database as the thread sees it. A fault is said once, until a write succeeds again."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._connection: Connection | None = None
        self._file: tuple[int, int] | None = None
        self._counting = Counting()
        self._silent = False

    def write(self, batch: list[EventRecord], dropped: int) -> bool:
        rows = self._counting.rows(batch)
        if dropped:
            rows.append(("INSERT INTO gaps (at, events) VALUES (?, ?)", (self._clock(), dropped)))
        return self._tried(lambda connection: _insert(connection, rows))

    def remove_old(self, before: float) -> int:
        """How many runs went; 0: none is left that should, or it cannot be done now."""
        removed = 0

        def remove(connection: Connection) -> None:
            nonlocal removed
            removed = database.remove_old(connection, before)

        return removed if self._tried(remove) else 0

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _tried(self, act: Callable[[Connection], None]) -> bool:
        """Do it; once more if the file turns out to be damaged, or lacks what we wrote to it."""
        from sqlite3 import DatabaseError, IntegrityError

        try:
            try:
                act(self._open())
            except DatabaseError as error:
                damaged = database.is_damage(error)
                if not damaged and not isinstance(error, IntegrityError):
                    raise
                self.close()
                if damaged:
                    database.set_aside(self._path)
                act(self._open())
        except (BambooError, DatabaseError, OSError) as error:
            self.close()
            if not self._silent:
                logger.warning("figures of runs cannot be kept in %s: %s", self._path, error)
            self._silent = True
            return False
        self._silent = False
        return True

    def _open(self) -> Connection:
        if self._connection is not None and self._file != _identity(self._path):
            self.close()  # somebody removed it, or another process set it aside
        if self._connection is None:
            self._connection = database.open_for_writing(self._path)
            self._file = _identity(self._path)
            _insert(self._connection, self._counting.foundation())
        return self._connection


class Nobody:
    """A sink that hears nothing."""

    KINDS: frozenset[type] = frozenset()

    def emit(self, record: EventRecord) -> None:
        return


def _insert(connection: Connection, rows: list[Row]) -> None:
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for statement, values in rows:
            connection.execute(statement, values)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def sink(services: Services) -> Recorder | Nobody:
    """As the settings want it; agents in memory leave nothing behind."""
    chosen = services.settings.metrics
    if services.in_memory or not chosen.enabled:
        return Nobody()
    return Recorder(database.metrics_file(services.home), keep_days=chosen.retention_days or None)
