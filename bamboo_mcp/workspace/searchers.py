"""Two ways to find matching lines: ripgrep, and Python in a child process. Both only nominate.

What they name is read once more through the workspace's door before anything of it is shown, so
that a link swapped in while ripgrep walked shows nothing from outside.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio import to_thread
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from bamboo_mcp.domain.errors import InvalidInput, WorkspaceError
from bamboo_mcp.workspace.commands import child_environment
from bamboo_mcp.workspace.door import Door
from bamboo_mcp.workspace.files import read_at_most
from bamboo_mcp.workspace.hits import MAX_SEARCHED_BYTES, Hits, Search
from bamboo_mcp.workspace.walking import MAX_VISITED, SKIPPED, Walk

_BATCH_BYTES = 1024 * 1024
_BATCH_FILES = 200
_MAX_REPLY_BYTES = 64 * 1024
_DIED = b"bad the search process died"


@asynccontextmanager
async def _child(argv: list[str], folder: str | None = None) -> AsyncIterator[Process]:
    """A process that is killed when the block is left."""
    with anyio.CancelScope(shield=True):
        process = await anyio.open_process(argv, cwd=folder, env=child_environment())
    try:
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.aclose()


# --- ripgrep -----------------------------------------------------------------------------------


async def search_with_ripgrep(program: str, search: Search, folder: str, hits: Hits) -> bool:
    """False when ripgrep cannot do it (a pattern only Python knows): nothing was found then."""
    argv = [program, *_ripgrep_options(search), "-e", search.pattern, "--", "."]
    async with _child(argv, folder) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        await process.stdin.aclose()
        pending = b""
        try:
            while True:
                pending += await process.stdout.receive(65_536)
                pending, enough = _take_records(pending, search, hits)
                if enough:
                    return True
        except anyio.EndOfStream:
            code = await process.wait()
    return code in (0, 1) or bool(hits.files)


def _ripgrep_options(search: Search) -> list[str]:
    options = [
        "--no-config",
        "--no-messages",
        "--no-follow",
        "--hidden",
        "--no-ignore",
        "--null",
        "--crlf",
        "--sort=path",
        "--color=never",
        "--no-heading",
        "--path-separator=/",
        f"--max-filesize={MAX_SEARCHED_BYTES}",
        "--ignore-case" if search.ignore_case else "--case-sensitive",
    ]
    match search.output:
        case "files":
            options.append("--files-with-matches")
        case "count":
            options += ["--count", "--with-filename"]
        case "content":
            # The text is read through the door afterwards; here only the numbers count.
            options += ["--line-number", "--with-filename", "--max-columns=1"]
    if search.glob:
        options.append(f"--glob={search.glob}")
    return options + [f"--glob=!{name}/" for name in sorted(SKIPPED)]


def _take_records(pending: bytes, search: Search, hits: Hits) -> tuple[bytes, bool]:
    """Whole records (`path NUL`, and a line but for files) off the front; True: that is enough."""
    while (name_end := pending.find(b"\0")) >= 0:
        end, count = name_end, 1
        lines: list[int] = []
        if search.output != "files":
            end = pending.find(b"\n", name_end)
            if end < 0:
                break
            number = int(pending[name_end + 1 : end].split(b":", 1)[0])
            count, lines = (number, []) if search.output == "count" else (1, [number])
        seen = pending[:name_end].decode("utf-8", "surrogateescape").removeprefix("./")
        pending = pending[end + 1 :]
        if hits.wants(seen) and not hits.add(search.from_workspace(seen), count, lines):
            return b"", True
    return pending, False


# --- Python ------------------------------------------------------------------------------------


async def search_with_python(
    door: Door, search: Search, hits: Hits, *, one_file: bool = False
) -> None:
    """The slow way, for machines without ripgrep and patterns it does not know.

    With `one_file` the start of the search is a file.

    Raises:
        InvalidInput: The pattern is no regular expression.
        WorkspaceError: The start cannot be opened.
    """
    from bamboo_mcp.workspace import line_matcher

    lifetime_s = str(int(search.timeout_s) + 5)
    argv = [sys.executable, "-I", "-S", str(Path(line_matcher.__file__)), lifetime_s]
    files = _Files(door, search, hits, one_file)
    async with _child(argv) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        replies = BufferedByteReceiveStream(process.stdout)
        pattern = search.pattern.encode()
        await process.stdin.send(b"%d %d\n" % (search.ignore_case, len(pattern)) + pattern)
        verdict = await _reply(replies)
        if verdict != b"ok":
            reason = verdict.removeprefix(b"bad ").decode("utf-8", "replace")
            raise InvalidInput(
                f"the pattern {search.pattern[:200]!r} is no regular expression: {reason}",
                hint="Escape characters such as ( [ . * + ? with a backslash to mean them.",
            )
        while batch := await to_thread.run_sync(files.next_batch):
            async with anyio.create_task_group() as group:
                group.start_soon(_send, process, search, batch)
                enough = await _receive(replies, batch, hits)
                group.cancel_scope.cancel()
            if enough:
                return
    if files.cut:
        hits.more = f"stopped after {MAX_VISITED} names; narrow the path"


async def _send(process: Process, search: Search, batch: list[tuple[str, bytes]]) -> None:
    assert process.stdin is not None
    most = search.limit + 1 if search.output == "content" else 0
    try:
        for _, data in batch:
            await process.stdin.send(b"%d %d\n" % (most, len(data)) + data)
    except anyio.BrokenResourceError:
        return  # it has died; whoever waits for the replies says so


async def _receive(
    replies: BufferedByteReceiveStream, batch: list[tuple[str, bytes]], hits: Hits
) -> bool:
    for path, _ in batch:
        reply = await _reply(replies)
        if reply == _DIED:
            hits.more = "the search process died; what follows was not searched"
            return True
        count, _, numbers = reply.decode().partition(" ")
        lines = [int(number) for number in numbers.split(",") if number]
        if int(count) and not hits.add(path, int(count), lines):
            return True
    return False


async def _reply(replies: BufferedByteReceiveStream) -> bytes:
    try:
        return await replies.receive_until(b"\n", _MAX_REPLY_BYTES)
    except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError):
        return _DIED


class _Files:
    """Content of the files to search, some at a time, read in a worker thread."""

    def __init__(self, door: Door, search: Search, hits: Hits, one_file: bool) -> None:
        self._door = door
        self._walk = Walk(door, search.start)
        self._hits = hits
        self._files: Iterator[tuple[str, str]] = iter(self._walk)
        if one_file:
            self._files = iter([(search.start, search.start.rpartition("/")[2])])

    @property
    def cut(self) -> bool:
        return self._walk.cut

    def next_batch(self) -> list[tuple[str, bytes]]:
        batch: list[tuple[str, bytes]] = []
        size = 0
        for path, seen in self._files:
            if not self._hits.wants(seen):
                continue
            data = searchable(self._door, path)
            if data:
                batch.append((path, data))
                size += len(data)
            if size >= _BATCH_BYTES or len(batch) >= _BATCH_FILES:
                break
        return batch


def searchable(door: Door, path: str) -> bytes:
    """The content of a text file of reasonable size; of any other, nothing."""
    try:
        file, _ = door.open_file(path)
        with file:
            data = read_at_most(file, MAX_SEARCHED_BYTES + 1)
    except (WorkspaceError, OSError):
        return b""  # removed, or not ours to read: one file does not end a search
    return b"" if len(data) > MAX_SEARCHED_BYTES or b"\0" in data else data
