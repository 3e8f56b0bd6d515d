"""What is wrong with files of a home folder: findings with file and line, and the plain repairs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from bamboo_mcp.disk.calls import read_at, storage_error
from bamboo_mcp.disk.journal import Page, open_to_read, read_journal
from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.domain.errors import BambooError, StorageTooNew
from bamboo_mcp.domain.value import Value

Repair: TypeAlias = Literal["", "cut", "remove", "record"]
"""`cut` the torn end of a journal; `remove` what is rebuilt, or no use; write the `record` anew."""

_TAIL_BLOCK = 64 * 1024


class Finding(Value, frozen=True, kw_only=True):
    """One thing that is not as it should be.

    `line` 0 is the file as a whole. What is `harmless` is a leftover, or caught up by itself.
    """

    path: Path
    line: int = 0
    what: str
    harmless: bool = False
    repair: Repair = ""
    repair_words: str = ""
    """What the repair does, for whoever is asked about it."""


def check_journal(
    path: Path, kind: str, decode: Callable[[bytes], object]
) -> tuple[list[Finding], Page | None]:
    """Every line of a journal; `decode` is given each record and raises `msgspec.DecodeError`.

    Returns what was read as well, None when nothing could be.
    """
    try:
        page = read_journal(str(path), kind)
        torn = torn_bytes(path)
    except StorageTooNew as error:
        return [Finding(path=path, what=error.message, harmless=True)], None
    except BambooError as error:
        return [Finding(path=path, what=error.message)], None
    found = [Finding(path=path, line=one.line, what=one.reason) for one in page.damage]
    if page.header is None and not any(one.line == 1 for one in found):
        found.insert(0, Finding(path=path, line=1, what="the first line is no header of ours"))
    for record in page.records:
        try:
            decode(record.payload)
        except msgspec.DecodeError as error:
            what = f"whole, but of no kind that this version knows: {error}"
            found.append(Finding(path=path, line=record.seq + 1, what=what, harmless=True))
    if torn and (page.header is not None or page.records):
        found.append(
            Finding(
                path=path,
                line=page.last_seq + 2,
                what=f"{torn} bytes at the end are no whole line",
                repair="cut",
                repair_words=f"cut them off, and keep them in {path.name}.torn",
            )
        )
    return found, page


def torn_bytes(path: Path) -> int:
    """How many bytes follow the last line's end. One that is being written is looked at twice."""
    first = _behind_last_line(path)
    if first == (0, 0):
        return 0
    again = _behind_last_line(path)
    return again[1] if again == first else 0


def _behind_last_line(path: Path) -> tuple[int, int]:
    """The size of a file and how much of it is behind its last newline; (0, 0): nothing is."""
    fd = open_to_read(str(path))
    try:
        size = os.fstat(fd).st_size
        start = size
        while start > 0:
            start = max(0, start - _TAIL_BLOCK)
            newline = read_at(fd, start, _TAIL_BLOCK).rfind(b"\n")
            if newline >= 0:
                behind = size - (start + newline + 1)
                return (size, behind) if behind else (0, 0)
        return size, size
    except OSError as error:
        raise storage_error(error, str(path), "read") from error
    finally:
        os.close(fd)


def cut_torn_end(path: Path, kind: str) -> None:
    """What opening a journal does by itself. Raises `StorageError`."""
    with Journals("process") as journals:
        journals.open(path, kind, shared=True).close()


def remove(path: Path) -> None:
    """A file or folder. Raises `StorageError`."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, str(path), "remove") from error


def leftovers(folder: Path) -> list[Finding]:
    """What crashes and repairs left in a folder."""
    found: list[Finding] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") and path.name.endswith(".tmp"):
            what = "left by a process that died while it replaced a file"
            found.append(leftover(path, what))
        elif path.suffix in (".torn", ".bak"):
            what = "kept aside when a damaged file was repaired"
            found.append(Finding(path=path, what=what, harmless=True))
    return found


def leftover(path: Path, what: str) -> Finding:
    return Finding(
        path=path, what=what, harmless=True, repair="remove", repair_words="remove it, it is no use"
    )
