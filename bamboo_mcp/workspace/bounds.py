"""How much a workspace tool may read, write and answer, and how names are shown."""

from __future__ import annotations

from bamboo_mcp.domain.value import Value

MIB = 1024 * 1024
MAX_LINE_CHARS = 2000
_NOTE_ROOM = 300
"""Kept free in every answer for what is said about the cut."""


class Bounds(Value, frozen=True, kw_only=True):
    """All from settings; `max_result_chars` is of one answer."""

    max_result_chars: int = 40_000
    max_read_bytes: int = 10 * MIB
    max_write_bytes: int = 10 * MIB

    @property
    def room(self) -> int:
        """Characters for the body of an answer."""
        return max(self.max_result_chars - _NOTE_ROOM, _NOTE_ROOM)


def fit_lines(lines: list[str], room: int) -> list[str]:
    """As many whole lines from the beginning as have room; a first line that has none is cut."""
    used = 0
    for count, line in enumerate(lines):
        used += len(line) + 1
        if used > room:
            return lines[:count] or [line[: room - 1] + "…"]
    return lines


def cut_line(line: str, limit: int = MAX_LINE_CHARS) -> str:
    if len(line) <= limit:
        return line
    return f"{line[:limit]}… [line cut, {len(line)} characters]"


def shown_name(name: str) -> str:
    """A file name as one printable line: control characters and bytes that are no text escaped."""
    if name.isprintable():
        return name
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in name
    )


def shown_size(size: int) -> str:
    if size < 1024:
        return f"{size} B"
    if size < 1024 * 1024:
        return f"{size / 1024:.1f} KiB"
    return f"{size / 1024 / 1024:.1f} MiB"
