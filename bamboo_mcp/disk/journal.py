"""An append-only file of JSON records: one write each, a number and a checksum on every line.

The first line says what the file is: `{"format": 1, "kind": ..., "made": ...}`, with number 0. The
records behind it count from 1 without gaps, and the number is the cursor of whoever reads.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from bamboo_mcp.disk.calls import (
    DiskCalls,
    is_linked,
    read_at,
    shown_path,
    storage_error,
    write_all,
)
from bamboo_mcp.disk.lines import (
    Damage,
    Record,
    Scanner,
    find,
    frame,
    last_line,
    salvage,
    unframe,
)
from bamboo_mcp.disk.locks import lock, unlock
from bamboo_mcp.domain.errors import (
    BambooError,
    StorageCorrupt,
    StorageError,
    StorageTooNew,
    UnknownId,
)
from bamboo_mcp.domain.value import Value

logger = logging.getLogger(__name__)

FORMAT = 1
_HEADER_BLOCK = 4096
_RAW_NULL = msgspec.Raw(b"null")


class Header(Value, frozen=True, kw_only=True):
    """The first line. `made` is what the owner of the file wrote into it at its birth."""

    format: int
    kind: str
    made: msgspec.Raw = _RAW_NULL


class Page(Value, frozen=True, kw_only=True):
    """Records read from a journal. `header` is None when damaged; `last_seq` is the file's."""

    records: Sequence[Record]
    header: Header | None
    last_seq: int
    damage: Sequence[Damage] = ()


_decode_header = msgspec.json.Decoder(Header).decode


def header_line(kind: str, made: bytes) -> bytes:
    """The line of a `Header`. `kind` is a word, so that nothing in it must be escaped."""
    return frame(0, b'{"format":%d,"kind":"%b","made":%b}' % (FORMAT, kind.encode(), made))


def parse_header(payload: bytes, path: str, kind: str) -> Header | None:
    """None when it makes no sense.

    Raises:
        StorageTooNew: It makes sense to a later version.
    """
    try:
        header = _decode_header(payload)
    except msgspec.DecodeError:
        return None
    if header.format > FORMAT:
        raise StorageTooNew(
            f"{shown_path(path)!r} has format {header.format}; this version of bamboo-mcp reads "
            f"up to {FORMAT}",
            hint="use the newer bamboo-mcp that wrote it",
        )
    return header if header.kind == kind else None


def read_header(fd: int, size: int, path: str, kind: str) -> Header | None:
    """The header of an open journal, or None when its line is damaged or torn."""
    span = _HEADER_BLOCK
    while True:
        data = read_at(fd, 0, min(span, size))
        newline = data.find(b"\n")
        if newline != -1:
            record = unframe(data[:newline])
            if record is None or record.seq != 0:
                return None
            return parse_header(record.payload, path, kind)
        if span >= size:
            return None
        span *= 8


def open_to_read(path: str) -> int:
    """Raises `UnknownId` when there is no such file."""
    try:
        return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except FileNotFoundError as error:
        raise UnknownId(f"there is no {shown_path(path)!r}") from error
    except OSError as error:
        raise storage_error(error, path, "open") from error


def read_journal(
    path: str,
    kind: str,
    *,
    after: int = 0,
    tail: int | None = None,
    limit: int | None = None,
) -> Page:
    """Read the records behind `after`, or the last `tail` ones, without reading what lies before.

    Damage is reported and stepped over. A torn last line is nobody's record and is left alone.

    Raises:
        UnknownId: No such file.
        StorageTooNew: Written by a newer version.
    """
    fd = open_to_read(path)
    try:
        size = os.fstat(fd).st_size
        header = read_header(fd, size, path, kind)
        end = last_line(fd, size)
        last_seq = end.seq if end is not None else 0
        if tail is not None:
            after = max(0, last_seq - tail)
        if limit == 0:
            return Page(records=(), header=header, last_seq=last_seq)
        offset, expected = find(fd, size, after)
        wanted = None if limit is None else limit + max(0, after + 1 - expected)
        scan = Scanner(fd, path, start=offset, expected=expected).run(size, limit=wanted)
    except OSError as error:
        raise storage_error(error, path, "read") from error
    finally:
        os.close(fd)
    records = [record for record in scan.records if record.seq > after]
    if records:
        last_seq = max(last_seq, records[-1].seq)
    return Page(
        records=records if limit is None else records[:limit],
        header=header,
        last_seq=last_seq,
        damage=scan.damage,
    )


class Keeper(Protocol):
    """Who holds the journals of a process (`journals.Journals`): opens and closes their files."""

    @property
    def calls(self) -> DiskCalls: ...
    @property
    def durability(self) -> str: ...
    def reopen(self, journal: Journal) -> int: ...
    def close(self, journal: Journal) -> None: ...


class Journal:
    """A journal open for appending; made by `Journals`, closed and reopened behind the scenes.

    With `shared`, other writers may append to the file too: each append takes the file's lock, and
    what others wrote since is handed to `on_foreign` first. Not for use by two threads.
    """

    __slots__ = (
        "_calls",
        "_doubtful",
        "_journals",
        "_on_foreign",
        "_shared",
        "_size",
        "_sync_each",
        "fd",
        "last_seq",
        "new_folders",
        "path",
        "sync_failed",
        "synced_size",
        "used",
    )

    def __init__(
        self,
        journals: Keeper,
        path: str,
        fd: int,
        *,
        size: int,
        last_seq: int,
        shared: bool,
        on_foreign: Callable[[Record], None] | None = None,
    ) -> None:
        self.path = path
        self.fd = fd
        self.last_seq = last_seq
        self.used = True
        """Appended to lately; the bound on open files closes those that were not."""
        self.synced_size = 0
        self.sync_failed: BambooError | None = None
        self.new_folders: tuple[str, ...] = ()
        self._journals = journals
        self._calls: DiskCalls = journals.calls
        self._size = size
        self._shared = shared
        self._on_foreign = on_foreign
        self._sync_each = journals.durability == "always"
        self._doubtful = False

    @property
    def size(self) -> int:
        return self._size

    def append(self, payload: bytes) -> int:
        """Write one record and return its number. `payload` is JSON without a newline.

        Raises:
            StorageFull, StorageError: Nothing was added; a later append may succeed.
            UnknownId: The file was deleted.
        """
        fd = self.fd
        if fd < 0:
            fd = self._journals.reopen(self)
        self.used = True
        if not self._shared and not self._doubtful:
            return self._write(fd, payload)
        lock(fd, self.path)
        try:
            self._catch_up(fd)
            return self._write(fd, payload)
        finally:
            unlock(fd)

    def catch_up(self) -> None:
        """Hand what others wrote since to `on_foreign`; cut off what a dead one wrote in part."""
        fd = self.fd if self.fd >= 0 else self._journals.reopen(self)
        lock(fd, self.path)
        try:
            self._catch_up(fd)
        finally:
            unlock(fd)

    def close(self) -> None:
        self._journals.close(self)

    def _write(self, fd: int, payload: bytes) -> int:
        seq = self.last_seq + 1
        line = frame(seq, payload)
        try:
            written = self._calls.write(fd, line)
            if written < len(line):
                write_all(self._calls, fd, line[written:])
            if self._sync_each:
                self._calls.sync(fd)
        except OSError as error:
            self._undo(fd)
            raise storage_error(error, self.path, "append to") from error
        self._size += len(line)
        self.last_seq = seq
        return seq

    def _undo(self, fd: int) -> None:
        """Cut off what a failed append left, or remember to look before the next one."""
        try:
            self._calls.truncate(fd, self._size)
        except OSError:
            self._doubtful = True
            logger.warning("could not cut a failed append off %r; the next one will", self.path)

    def _catch_up(self, fd: int) -> None:
        status = os.fstat(fd)
        if not is_linked(status):
            raise UnknownId(f"{shown_path(self.path)!r} was deleted")
        size = status.st_size
        if size == self._size:
            self._doubtful = False
            return
        if size < self._size:
            raise StorageCorrupt(
                f"{shown_path(self.path)!r} lost {self._size - size} bytes at its end"
            )
        try:
            scan = Scanner(fd, self.path, start=self._size, expected=self.last_seq + 1).run(size)
        except OSError as error:
            raise storage_error(error, self.path, "read") from error
        for damage in scan.damage:
            logger.warning("damaged record: %s", damage)
        for record in scan.records[: scan.solid]:
            self._adopt(record)
        self._size = scan.good_end
        if scan.good_end < size:
            self._cut(fd, size)
        self._doubtful = False

    def _adopt(self, record: Record) -> None:
        self.last_seq = record.seq
        if self._on_foreign is not None:
            self._on_foreign(record)

    def _cut(self, fd: int, size: int) -> None:
        """Cut all behind the last whole line, keep it aside, and put back what is whole in it.

        The caller holds the lock, so nobody is in the middle of writing it.
        """
        torn = read_at(fd, self._size, size - self._size)
        keep_aside(self._calls, self.path + ".torn", torn)
        try:
            self._calls.truncate(fd, self._size)
        except OSError as error:
            raise storage_error(error, self.path, "cut the torn end of") from error
        logger.warning("cut a torn end of %d bytes off %r", len(torn), self.path)
        for record in salvage(torn, self.last_seq + 1):
            if record.seq == self.last_seq + 1:
                self._write(fd, record.payload)
                if self._on_foreign is not None:
                    self._on_foreign(record)


def keep_aside(calls: DiskCalls, path: str, data: bytes) -> None:
    """Add `data` to a file nobody reads but people. On a full disk it is not worth failing for."""
    try:
        fd = calls.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            write_all(calls, fd, data)
        finally:
            os.close(fd)
    except OSError:
        logger.warning("could not keep %d torn bytes in %r", len(data), path)


def verified_end(fd: int, path: str) -> tuple[int, int]:
    """Offset behind the last whole line and its number.

    Raises:
        StorageError: Not one line is whole: this is no journal, or only the start of one.
    """
    tail = last_line(fd, os.fstat(fd).st_size)
    if tail is None:
        raise StorageError(
            f"{shown_path(path)!r} has no whole line", hint="it was never written in full"
        )
    return tail.end, tail.seq
