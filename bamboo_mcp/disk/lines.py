"""The line of a journal: `checksum sequence json`, and reading lines wherever a file is damaged.

`crc32` in eight hex digits, a space, the sequence number, a space, one JSON value, a newline. The
checksum covers the number and the JSON and is compared byte for byte: parsing it would take the
damaged `0000004A` for the whole `0000004a` (reliability note, S3).
"""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple
from zlib import crc32

from bamboo_mcp.disk.calls import read_at

BLOCK = 64 * 1024
_TAIL_BLOCK = 16 * 1024
_CHUNK = 1024 * 1024
_CANDIDATES = 16


class Record(NamedTuple):
    """A line that checked out. The header has sequence number 0."""

    seq: int
    payload: bytes


class Damage(NamedTuple):
    """A line that did not, or some that are not there. `line` counts from 1, the header's."""

    path: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path!r} line {self.line}: {self.reason}"


class Scan(NamedTuple):
    """What lies between two offsets of a file."""

    records: list[Record]
    damage: list[Damage]
    good_end: int
    """Offset behind the last whole line; what follows it is torn, or not yet written in full."""
    solid: int
    """How many of `records` lie before `good_end`; the others were saved out of the torn end."""


class Tail(NamedTuple):
    """The last whole line of a file: its sequence number, its payload and the offset behind it."""

    seq: int
    payload: bytes
    end: int


def frame(seq: int, payload: bytes) -> bytes:
    body = b"%d %b" % (seq, payload)
    return b"%08x %b\n" % (crc32(body), body)


def unframe(line: bytes) -> Record | None:
    """The record in `line`, given without its newline, or None when it does not check out."""
    body = line[9:]
    if line[:9] != b"%08x " % crc32(body):
        return None
    number, space, payload = body.partition(b" ")
    if not space or not number.isdigit():
        return None
    return Record(int(number), payload)


def salvage(line: bytes, expected: int) -> list[Record]:
    """Whole records inside a damaged line: a flipped newline glues two good ones together."""
    mark = re.compile(rb"[0-9a-f]{8} (?=(?:%d|%d) )" % (expected, expected + 1))
    starts = [match.start() for match in itertools.islice(mark.finditer(line), _CANDIDATES)]
    saved: list[Record] = []
    for index, start in enumerate(starts):
        # Before a record inside the line stands the byte that once was a newline.
        for end in [*(other - 1 for other in starts[index + 1 :]), len(line)]:
            record = unframe(line[start:end])
            if record is not None:
                saved.append(record)
                break
    return saved


class Scanner:
    """Reads lines from `start` on and keeps going behind damage."""

    def __init__(self, fd: int, path: str, *, start: int, expected: int) -> None:
        self._fd = fd
        self._path = path
        self._start = start
        self._expected = expected
        self._scan = Scan([], [], start, 0)
        self._good_end = start
        self._solid = 0
        self._hole = False

    def run(self, end: int, *, limit: int | None = None) -> Scan:
        """Everything up to `end`, or up to the block in which `limit` records are reached."""
        records = self._scan.records
        position, rest = self._start, b""
        while position < end and (limit is None or len(records) < limit):
            chunk = read_at(self._fd, position, min(_CHUNK, end - position))
            if not chunk:
                break
            lines = (rest + chunk).split(b"\n")
            offset = position - len(rest)
            position += len(chunk)
            rest = lines.pop()
            self._take(lines, offset)
        return Scan(records, self._scan.damage, self._good_end, self._solid)

    def _take(self, lines: list[bytes], offset: int) -> None:
        records = self._scan.records
        for line in lines:
            offset += len(line) + 1
            record = unframe(line)
            if record is None:
                self._salvage(line)
                continue
            if record.seq < self._expected:
                self._damaged(f"sequence number {record.seq} comes a second time")
            else:
                self._accept(record)
                self._solid = len(records)
            self._good_end = offset

    def _accept(self, record: Record) -> None:
        if record.seq > self._expected and not self._hole:
            self._damaged(f"records {self._expected} to {record.seq - 1} are missing")
        self._hole = False
        self._scan.records.append(record)
        self._expected = record.seq + 1

    def _salvage(self, line: bytes) -> None:
        self._hole = True
        self._damaged("the checksum does not match")
        for record in salvage(line, self._expected):
            if record.seq >= self._expected:
                self._accept(record)

    def _damaged(self, reason: str) -> None:
        # The header is line 1 and has number 0.
        self._scan.damage.append(Damage(self._path, self._expected + 1, reason))


def last_line(fd: int, size: int) -> Tail | None:
    """The last good line of the first `size` bytes, read from the end in growing blocks."""
    span = _TAIL_BLOCK
    while True:
        start = max(0, size - span)
        data = read_at(fd, start, size - start)
        newline = data.rfind(b"\n")
        while newline != -1:
            begin = data.rfind(b"\n", 0, newline) + 1
            if begin == 0 and start > 0:
                break  # its beginning may lie before this block
            record = unframe(data[begin:newline])
            if record is not None:
                return Tail(record.seq, record.payload, start + newline + 1)
            newline = begin - 1
        if start == 0:
            return None
        span *= 4


def find(fd: int, size: int, after: int) -> tuple[int, int]:
    """A place shortly before the first record behind `after`: the offset of a line, and its number.

    Halves the file instead of reading it: lines carry their numbers, so no table is needed.
    """
    low, low_seq, high = 0, 0, size
    while high - low > BLOCK:
        middle = (low + high) // 2
        hit = _first_line(fd, middle, high)
        if hit is None or hit[1] > after + 1:
            high = middle
        else:
            low, low_seq = hit
    return low, low_seq


def _first_line(fd: int, start: int, end: int) -> tuple[int, int] | None:
    """Offset and number of the first good line that begins behind `start` and ends before `end`."""
    span = _TAIL_BLOCK
    while True:
        data = read_at(fd, start, min(span, end - start))
        newline = data.find(b"\n")
        while newline != -1:
            following = data.find(b"\n", newline + 1)
            if following == -1:
                break
            record = unframe(data[newline + 1 : following])
            if record is not None:
                return start + newline + 1, record.seq
            newline = following
        if start + span >= end:
            return None
        span *= 4
