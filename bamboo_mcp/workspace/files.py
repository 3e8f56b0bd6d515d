"""Tools for one file: read_file, write_file and edit_file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, BinaryIO
from weakref import WeakValueDictionary

import anyio
from anyio import to_thread
from msgspec import Meta

from bamboo_mcp.domain.errors import InvalidInput, WorkspaceError
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.tools.function import tool
from bamboo_mcp.workspace.bounds import Bounds, cut_line, shown_name, shown_size
from bamboo_mcp.workspace.door import Door
from bamboo_mcp.workspace.edits import BOM, Replacement, keep_style, replace_text
from bamboo_mcp.workspace.opening import open_door
from bamboo_mcp.workspace.reads import ReadMarks
from bamboo_mcp.workspace.roots import relative_path, root_of

_SNIFFED_BYTES = 8192

FilePath = Annotated[
    str, Meta(description="The file, relative to the workspace.", min_length=1, max_length=4000)
]


class FileTools:
    """Share the marks of what each session has read, and one lock for each file being written."""

    def __init__(self, bounds: Bounds, marks: ReadMarks) -> None:
        self._bounds = bounds
        self._marks = marks
        self._locks: WeakValueDictionary[tuple[Path, str], anyio.Lock] = WeakValueDictionary()

    @tool(title="Read file", group="workspace", effect="read")
    async def read_file(
        self,
        context: ToolContext,
        *,
        path: FilePath,
        offset: Annotated[int, Meta(description="First line to read, from 1.", ge=1)] = 1,
        limit: Annotated[int, Meta(description="Most lines to read.", ge=1, le=100_000)] = 2000,
    ) -> str:
        """Read a text file of the workspace with line numbers.

        Use it before `write_file` or `edit_file` on an existing file. For a folder use
        `list_directory`, to look for something use `search_files`. Each line comes as its number, a
        tab and its text; numbers and tab are not part of the file. A long answer ends with the
        `offset` to go on from. Binary and very large files are refused.
        Example: {"path": "src/main.py", "offset": 200}
        """
        return await to_thread.run_sync(self._read, context, path, offset, limit)

    @tool(title="Write file", group="workspace", effect="write", idempotent=True)
    async def write_file(
        self,
        context: ToolContext,
        *,
        path: FilePath,
        content: Annotated[str, Meta(description="The whole new content.")],
    ) -> str:
        """Create a file of the workspace, or replace all of it.

        An existing file must have been read in this session and be unchanged since. To change only
        a part use `edit_file`. Missing folders are made. Permissions and line endings are kept.
        Says how many bytes were written and whether the file is new.
        Example: {"path": "notes/today.md", "content": "# Today\\n"}
        """
        key = root_of(context), relative_path(root_of(context), path)
        async with self._locks.setdefault(key, anyio.Lock()):
            return await to_thread.run_sync(self._write, context, *key, content)

    @tool(title="Edit file", group="workspace", effect="write")
    async def edit_file(
        self,
        context: ToolContext,
        *,
        path: FilePath,
        old_text: Annotated[
            str,
            Meta(description="Exact text to replace.", min_length=1, max_length=65_536),
        ],
        new_text: Annotated[str, Meta(description="What to put there.", max_length=262_144)],
        replace_all: Annotated[bool, Meta(description="Replace every occurrence.")] = False,
    ) -> str:
        """Replace an exact piece of text in a file of the workspace.

        The file must have been read in this session and be unchanged since. `old_text` must occur
        exactly once, so include enough lines around it, or set `replace_all`. Do not include line
        numbers. Line endings of the file are kept. Says which lines changed.
        Example: {"path": "a.py", "old_text": "x = 1", "new_text": "x = 2"}
        """
        key = root_of(context), relative_path(root_of(context), path)
        wanted = Replacement(old=old_text, new=new_text, everywhere=replace_all)
        # Two edits of one round may hit one file: one after the other, each sees the other's work.
        async with self._locks.setdefault(key, anyio.Lock()):
            return await to_thread.run_sync(self._edit, context, *key, wanted)

    # What follows blocks, and runs in worker threads.

    def _read(self, context: ToolContext, path: str, offset: int, limit: int) -> str:
        root = root_of(context)
        inside = relative_path(root, path)
        with open_door(root) as door:
            try:
                data, status = self._content(door, inside)
            except WorkspaceError as error:
                raise _with_suggestion(door, inside, error) from error
        if b"\0" in data[:_SNIFFED_BYTES]:
            raise WorkspaceError(
                f"{inside!r} is a binary file of {shown_size(len(data))}; not shown"
            )
        self._marks.note(context, root, inside, status)
        return self._numbered(inside, data, offset, limit)

    def _content(self, door: Door, path: str) -> tuple[bytes, os.stat_result]:
        file, status = door.open_file(path)
        with file:
            data = read_at_most(file, self._bounds.max_read_bytes + 1)
        if len(data) > self._bounds.max_read_bytes:
            size, most = shown_size(status.st_size), shown_size(self._bounds.max_read_bytes)
            raise WorkspaceError(
                f"{path!r} has {size}, over the {most} that are read",
                hint="Use search_files to find the part that matters, or run_command.",
            )
        return data, status

    def _numbered(self, path: str, data: bytes, offset: int, limit: int) -> str:
        text = data.removeprefix(BOM).decode("utf-8", "replace")
        lines = text.split("\n")
        if lines[-1] == "":
            lines.pop()
        if not lines:
            return f"[{shown_name(path)} is empty]"
        if offset > len(lines):
            raise InvalidInput(f"offset {offset} is past the end: {path!r} has {len(lines)} lines")
        room = self._bounds.room
        body: list[str] = []
        for number in range(offset, min(offset + limit, len(lines) + 1)):
            line = f"{number:6}\t{cut_line(lines[number - 1].removesuffix(chr(13)))}"
            room -= len(line) + 1
            if room < 0 and body:
                break
            body.append(line)
        last = offset + len(body) - 1
        notes = [f"lines {offset}-{last} of {len(lines)}; go on with offset {last + 1}"]
        if last == len(lines):
            notes = [f"end of file, {len(lines)} lines"] if offset > 1 else []
        if b"\r\n" in data:
            notes.append("lines end with CRLF")
        if "\ufffd" in text:
            notes.append("some bytes are not UTF-8 and shown as \ufffd")
        return "\n".join(body + [f"[{note}]" for note in notes])

    def _write(self, context: ToolContext, root: Path, path: str, content: str) -> str:
        data = _encoded(content, "content")
        styled = ""
        with open_door(root) as door:
            try:
                before = door.look(path)
            except WorkspaceError:
                before = None  # missing, or what `replace` will refuse with its reason
            if before is not None:
                self._marks.require(context, root, path, before)
                old, _ = self._content(door, path)
                kept = keep_style(old, data)
                styled = " (line endings kept as CRLF)" if kept != data and b"\r\n" in kept else ""
                data = kept
            created = self._replace(door, context, root, path, data)
        verb = "created" if created else "wrote"
        return f"{verb} {shown_name(path)}: {len(data)} bytes{styled}"

    def _edit(self, context: ToolContext, root: Path, path: str, wanted: Replacement) -> str:
        _encoded(wanted.new, "new_text")
        with open_door(root) as door:
            try:
                old, status = self._content(door, path)
            except WorkspaceError as error:
                raise _with_suggestion(door, path, error) from error
            self._marks.require(context, root, path, status)
            data, lines = replace_text(old, wanted, path)
            self._replace(door, context, root, path, data)
        where = ", ".join(str(line) for line in lines[:20]) + (", ..." if len(lines) > 20 else "")
        name = shown_name(path)
        return f"edited {name}: {len(lines)} replaced, at line {where}; now {len(data)} bytes"

    def _replace(
        self, door: Door, context: ToolContext, root: Path, path: str, data: bytes
    ) -> bool:
        """Whether the file is new."""
        if len(data) > self._bounds.max_write_bytes:
            size, most = shown_size(len(data)), shown_size(self._bounds.max_write_bytes)
            raise InvalidInput(f"{path!r} would have {size}, over the {most} that may be written")
        created = False

        def may_write(before: os.stat_result | None) -> None:
            nonlocal created
            self._marks.require(context, root, path, before)
            created = before is None

        status = door.replace(path, data, may_write)
        self._marks.note(context, root, path, status)
        return created


def read_at_most(file: BinaryIO, limit: int) -> bytes:
    """A file without a buffer may hand out less than it was asked for."""
    parts: list[bytes] = []
    while limit > 0 and (part := file.read(min(limit, 1024 * 1024))):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)


def _encoded(text: str, field: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{field!r} has half a character (a lone surrogate) at position {error.start}"
        ) from None


def _with_suggestion(door: Door, path: str, error: WorkspaceError) -> WorkspaceError:
    """For a path that does not exist, the names next to it that look like it."""
    if not error.message.endswith("does not exist"):
        return error
    from difflib import get_close_matches

    parent, _, name = path.rpartition("/")
    try:
        names = [entry.name for entry in door.entries(parent or ".")]
    except WorkspaceError:
        return WorkspaceError(error.message, hint=f"There is no folder {parent!r} either.")
    near = get_close_matches(name, names, n=3)
    if not near:
        return error
    shown = ", ".join(shown_name(f"{parent}/{one}" if parent else one) for one in near)
    return WorkspaceError(error.message, hint=f"Near it there is: {shown}.")
