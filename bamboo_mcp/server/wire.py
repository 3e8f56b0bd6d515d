"""Standard input and output as the protocol's own: claimed, and waited for without blocking.

The SDK reads stdin in a worker thread that nothing can interrupt, so a server told to stop would
hang until its client closes the pipe. Here daemon threads do the blocking calls on private copies
of the descriptors: waiting for them can be cancelled, and they do not keep the process alive.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue

import anyio

from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.domain.value import Value

_CHUNK_BYTES = 262_144
_CHUNKS_AHEAD = 8
"""How far the reading thread may run ahead of the loop."""


class Wire(Value, frozen=True, kw_only=True):
    """Private descriptors of the client's pipe; never closed, a thread may still wait in them."""

    stdin_fd: int
    stdout_fd: int


@contextmanager
def claimed_stdio() -> Iterator[Wire]:
    """Take the protocol's pipe away from everybody else in this process.

    While it lasts, descriptor 0 is the null device and 1 is stderr, for `print`, for plugins and
    for child processes alike. Claim before anything is loaded that might print.

    Raises:
        InvalidInput: Standard input or output is closed.
    """
    # Python has no object for a descriptor that was closed when it started; its number may belong
    # to something else by now.
    if sys.__stdin__ is None or sys.__stdout__ is None:
        raise InvalidInput(
            "standard input or output is closed: MCP over stdio needs both",
            hint="let an MCP client start this command",
        )
    _flush_printed()
    wire = Wire(stdin_fd=_private(0), stdout_fd=_private(1))
    _divert(0, os.O_RDONLY)
    if sys.__stderr__ is None:
        _divert(1, os.O_WRONLY)
    else:
        os.dup2(2, 1)
    try:
        yield wire
    finally:
        # What was printed but not flushed goes to stderr too, not to the client at exit.
        _flush_printed()
        os.dup2(wire.stdout_fd, 1)
        os.dup2(wire.stdin_fd, 0)


def _flush_printed() -> None:
    with suppress(ValueError, OSError):  # closed by whoever printed
        sys.stdout.flush()


def _private(fd: int) -> int:
    """A copy above the standard three: one of those may be closed, and its number free."""
    copy = os.dup(fd)
    if copy > 2:
        return copy
    try:
        return _private(fd)
    finally:
        os.close(copy)


def _divert(fd: int, flags: int) -> None:
    null = os.open(os.devnull, flags)
    os.dup2(null, fd)
    os.close(null)


class LineReader:
    """Lines from a descriptor, as the SDK's transport reads them: `async for`, then the end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._room = threading.Semaphore(_CHUNKS_AHEAD)
        self._chunks: deque[bytes] = deque()
        self._lines: deque[bytes] = deque()
        self._partial: list[bytes] = []
        self._ended = False
        self._arrived = anyio.Event()
        threading.Thread(target=self._read, name="bamboo-stdin", daemon=True).start()

    def __aiter__(self) -> LineReader:
        return self

    async def __anext__(self) -> str:
        while not self._lines:
            if self._chunks:
                self._split(self._chunks.popleft())
                self._room.release()
            elif self._ended:
                if not self._partial:
                    raise StopAsyncIteration
                self._lines.append(b"".join(self._partial))
                self._partial.clear()
            else:
                self._arrived = anyio.Event()
                await self._arrived.wait()
        return self._lines.popleft().decode("utf-8", errors="replace")

    def _split(self, chunk: bytes) -> None:
        first, *rest = chunk.split(b"\n")
        self._partial.append(first)
        if rest:
            # Only the new chunk is searched, so a line of many megabytes stays linear.
            self._lines.append(b"".join(self._partial))
            *whole, last = rest
            self._lines.extend(whole)
            self._partial = [last] if last else []

    def _take(self, chunk: bytes) -> None:
        if chunk:
            self._chunks.append(chunk)
        else:
            self._ended = True
        self._arrived.set()

    def _read(self) -> None:
        while True:
            self._room.acquire()
            try:
                chunk = os.read(self._fd, _CHUNK_BYTES)
            except OSError:
                chunk = b""
            try:
                self._loop.call_soon_threadsafe(self._take, chunk)
            except RuntimeError:
                return  # the loop is closed: nobody reads any more
            if not chunk:
                return


class LineWriter:
    """Text to a descriptor, one write at a time, each awaited until the other side has room.

    A reader that is gone is told once, through `on_broken`; later writes raise
    `anyio.ClosedResourceError`, which the SDK's transport takes for the end.
    """

    def __init__(self, fd: int, *, on_broken: Callable[[], None]) -> None:
        self._fd = fd
        self._on_broken = on_broken
        self._loop = asyncio.get_running_loop()
        self._broken = False
        self._queue: SimpleQueue[tuple[bytes, anyio.Event] | None] = SimpleQueue()
        threading.Thread(target=self._write, name="bamboo-stdout", daemon=True).start()

    async def write(self, text: str) -> int:
        if self._broken:
            raise anyio.ClosedResourceError
        written = anyio.Event()
        self._queue.put((text.encode("utf-8", errors="replace"), written))
        await written.wait()
        if self._broken:
            raise anyio.ClosedResourceError
        return len(text)

    async def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Let the writing thread end once it has written what it was given."""
        self._queue.put(None)

    def _break(self) -> None:
        self._broken = True
        self._on_broken()

    def _write(self) -> None:
        while (item := self._queue.get()) is not None:
            data, written = item
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(self._fd, view) :]
            except OSError:
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._break)
            try:
                self._loop.call_soon_threadsafe(written.set)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more
