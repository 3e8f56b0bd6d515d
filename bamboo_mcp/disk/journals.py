"""All journals a process has open: a bound on open files, and one disk sync for many who wait."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, TypeAlias

import anyio
import anyio.from_thread
import anyio.to_thread

from bamboo_mcp.disk.calls import (
    DISK,
    DiskCalls,
    file_size,
    make_folders,
    shown_path,
    storage_error,
    write_all,
)
from bamboo_mcp.disk.journal import Journal, header_line, read_header, verified_end
from bamboo_mcp.disk.lines import Record, frame
from bamboo_mcp.disk.locks import lock, unlock
from bamboo_mcp.domain.errors import StorageError, UnknownId

Durability: TypeAlias = Literal["process", "turn", "always"]
"""What an append survives. `process`: our death, not power loss. `turn`: also power loss once
`flush` has returned (a turn's end). `always`: power loss as soon as it returns; each append then
waits for the disk, and so does everything else in the process."""

_BINARY = getattr(os, "O_BINARY", 0)

_MOST_OPEN = 4096
"""Enough that a thousand subagents need not open their files again for each line."""

_FLUSH_S = 10.0
"""How long a flush waits for the disk. A sync takes milliseconds, on a broken disk for ever."""


def _fair_share() -> int:
    """A quarter of the files the system lets us open: 256 on most, 64 under the macOS desktop."""
    if sys.platform == "win32":
        return 256
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST_OPEN if soft < 0 else max(8, min(_MOST_OPEN, soft // 4))


class _Round:
    """One round of syncs, done in a worker thread for everybody who waits at that moment."""

    __slots__ = ("begun", "done", "journals")

    def __init__(self, journals: dict[Journal, int]) -> None:
        self.journals = journals
        self.begun = False
        self.done = anyio.Event()


class Journals:
    """Makes, opens and syncs journals. One for all sessions and runs of a process.

    At most `open_limit` of them have an open file (default: a quarter of what the system allows);
    the others reopen it at their next append.
    """

    def __init__(
        self,
        durability: Durability = "turn",
        *,
        calls: DiskCalls = DISK,
        open_limit: int | None = None,
    ) -> None:
        self.durability: Durability = durability
        self.calls = calls
        self._open_limit = open_limit or _fair_share()
        self._open: dict[Journal, None] = {}
        """In the order in which they are looked at when one has to make room."""
        self._wanted: dict[Journal, int] = {}
        self._round: _Round | None = None
        self._thread: anyio.CapacityLimiter | None = None

    def create(
        self,
        path: Path | str,
        kind: str,
        made: bytes,
        payloads: Iterable[bytes] = (),
        *,
        shared: bool = False,
        on_foreign: Callable[[Record], None] | None = None,
    ) -> Journal:
        """A new file in a new or existing folder; its first records are in the header's write.

        Raises:
            FileExistsError: There is one already.
            StorageFull, StorageError: There is none still.
        """
        name = str(path)
        folders = self._make_parent(name)
        lines = [header_line(kind, made)]
        for payload in payloads:
            lines.append(frame(len(lines), payload))
        data = b"".join(lines)
        try:
            fd = self.calls.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        except FileExistsError:
            raise
        except OSError as error:
            raise storage_error(error, name, "make") from error
        journal = Journal(
            self,
            name,
            fd,
            size=len(data),
            last_seq=len(lines) - 1,
            shared=shared,
            on_foreign=on_foreign,
        )
        journal.new_folders = folders
        try:
            write_all(self.calls, fd, data)
            if self.durability == "always":
                self._sync_path(journal, fd)
                journal.synced_size = journal.size
        except OSError as error:
            os.close(fd)
            with contextlib.suppress(OSError):
                self.calls.remove(name)
            raise storage_error(error, name, "make") from error
        self._admit(journal)
        return journal

    def open(
        self,
        path: Path | str,
        kind: str,
        *,
        shared: bool = False,
        on_foreign: Callable[[Record], None] | None = None,
    ) -> Journal:
        """Open a file to append, verifying its tail; a torn one is cut and kept in `<name>.torn`.

        Raises:
            UnknownId: No such file.
            StorageTooNew: A newer version wrote it.
            StorageError: It cannot be opened.
        """
        name = str(path)
        fd = self._open_fd(name)
        try:
            lock(fd, name)
            try:
                read_header(fd, os.fstat(fd).st_size, name, kind)
                size, last_seq = verified_end(fd, name)
                journal = Journal(
                    self,
                    name,
                    fd,
                    size=size,
                    last_seq=last_seq,
                    shared=shared,
                    on_foreign=on_foreign,
                )
                journal._catch_up(fd)
            finally:
                unlock(fd)
        except BaseException:
            os.close(fd)
            raise
        self._admit(journal)
        return journal

    def reopen(self, journal: Journal) -> int:
        """Give a journal its file back after the bound took it away."""
        journal.fd = self._open_fd(journal.path)
        journal.used = True  # else it could be the very one that has to make room
        self._admit(journal)
        return journal.fd

    def close(self, journal: Journal) -> None:
        if journal.fd >= 0:
            os.close(journal.fd)
            journal.fd = -1
            self._open.pop(journal, None)

    def __enter__(self) -> Journals:
        return self

    def __exit__(self, *reason: object) -> None:
        """Close every file. A journal used after that opens its own again."""
        for journal in tuple(self._open):
            self.close(journal)

    async def flush_file(self, path: Path) -> None:
        """As `flush`, for a file that nobody here holds open any more."""
        if self.durability == "process":
            return
        journal = Journal(self, str(path), -1, size=file_size(path), last_seq=0, shared=False)
        journal.new_folders = (str(path.parent), str(path.parent.parent))
        await self.flush(journal)

    async def flush(self, journal: Journal) -> None:
        """Return once everything appended to `journal` so far survives power loss.

        With durability `process` it returns at once. All who wait at the same time share the work.

        Raises:
            StorageError: The disk refused; what was appended since the last flush may be lost.
        """
        if self.durability == "process":
            return
        try:
            with anyio.fail_after(_FLUSH_S):
                await self._flushed(journal)
        except TimeoutError as error:
            raise StorageError(
                f"{shown_path(journal.path)}: the disk did not take it within {_FLUSH_S:g} s",
                hint="what was written survives this process, not a power cut",
            ) from error

    async def _flushed(self, journal: Journal) -> None:
        wanted = journal.size
        while journal.synced_size < wanted:
            if journal.sync_failed is not None:
                raise journal.sync_failed
            self._wanted[journal] = wanted
            if self._round is None:
                await self._start_round()
            else:
                await self._round.done.wait()

    async def _start_round(self) -> None:
        """Sync all that is wanted now. Who comes meanwhile waits for the next round.

        A cancelled caller leaves at once; the thread ends the round for the others by itself.
        """
        current = self._round = _Round(self._wanted)
        self._wanted = {}
        if self._thread is None:
            self._thread = anyio.CapacityLimiter(1)
        try:
            await anyio.to_thread.run_sync(
                self._sync_round, current, abandon_on_cancel=True, limiter=self._thread
            )
        finally:
            if not current.begun:  # cancelled before the thread had it
                self._finish(current)

    def _finish(self, current: _Round) -> None:
        if self._round is current:
            self._round = None
        current.done.set()

    def _sync_round(self, current: _Round) -> None:
        """In a worker thread, on its own descriptors: the loop may close a journal's meanwhile."""
        current.begun = True
        try:
            for journal, size in current.journals.items():
                self._sync_journal(journal, size)
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is gone, and all who waited with it
                anyio.from_thread.run_sync(self._finish, current)

    def _sync_journal(self, journal: Journal, size: int) -> None:
        try:
            fd = self.calls.open(journal.path, os.O_RDWR)
            try:
                self._sync_path(journal, fd)
            finally:
                os.close(fd)
        except FileNotFoundError:
            pass  # deleted: nothing left to keep
        except OSError as error:
            # A sync that failed once must not be believed later: the kernel drops the pages.
            journal.sync_failed = storage_error(error, journal.path, "sync")
            return
        journal.synced_size = max(journal.synced_size, size)

    def _sync_path(self, journal: Journal, fd: int) -> None:
        self.calls.sync(fd)
        for folder in journal.new_folders:
            self.calls.sync_folder(folder)
        journal.new_folders = ()

    def _make_parent(self, name: str) -> tuple[str, ...]:
        """Make the folder of a new file; returns the folders whose names a sync must keep."""
        # Not pathlib, and rather partition than dirname: a thousand subagents make two thousand
        # folders, and each of these costs a part of that again.
        folder = name.rpartition(os.sep)[0]
        try:
            self.calls.make_folder(folder)
        except FileExistsError:
            return (folder,)
        except FileNotFoundError:
            make_folders(Path(folder), self.calls)
        except OSError as error:
            raise storage_error(error, folder, "make the folder") from error
        return (folder, folder.rpartition(os.sep)[0])

    def _open_fd(self, name: str) -> int:
        try:
            return self.calls.open(name, os.O_RDWR | os.O_APPEND | _BINARY)
        except FileNotFoundError as error:
            raise UnknownId(f"there is no {name!r}") from error
        except OSError as error:
            raise storage_error(error, name, "open") from error

    def _admit(self, journal: Journal) -> None:
        """Note an open file, and close one that was not used for a round (the clock algorithm)."""
        self._open[journal] = None
        while len(self._open) > self._open_limit:
            oldest = next(iter(self._open))
            del self._open[oldest]
            if oldest.used:
                oldest.used = False
                self._open[oldest] = None
            else:
                os.close(oldest.fd)
                oldest.fd = -1
