"""Lines a person types, waited for without blocking the loop."""

from __future__ import annotations

import os
import sys

import anyio

_CHUNK_BYTES = 4096


class StandardInput:
    """Lines that a person types. Waiting for one can be cancelled; what was typed then is kept."""

    def __init__(self, fd: int = 0) -> None:
        self._fd = fd
        self._typed = b""

    def forget(self) -> None:
        """Drop what was typed before anybody asked: it answers nothing."""
        self._typed = b""
        _drop_input(self._fd)

    async def read_line(self) -> str | None:
        """The next line without its end, or None when there will be no more."""
        while b"\n" not in self._typed:
            chunk = await _read(self._fd)
            if not chunk:
                return None
            self._typed += chunk
        line, _, self._typed = self._typed.partition(b"\n")
        return line.decode("utf-8", errors="replace").rstrip("\r")


if sys.platform == "win32":

    def _drop_input(fd: int) -> None:
        import msvcrt

        while msvcrt.kbhit():
            msvcrt.getwch()

    async def _read(fd: int) -> bytes:
        # A console cannot be waited for; the thread is a daemon and ends with the process.
        import threading

        token = anyio.lowlevel.current_token()
        arrived = anyio.Event()
        chunks: list[bytes] = []

        def read() -> None:
            chunks.append(os.read(fd, _CHUNK_BYTES))
            anyio.from_thread.run_sync(arrived.set, token=token)

        threading.Thread(target=read, name="bamboo-terminal", daemon=True).start()
        await arrived.wait()
        return chunks[0]

else:

    def _drop_input(fd: int) -> None:
        import termios

        if os.isatty(fd):
            termios.tcflush(fd, termios.TCIFLUSH)

    async def _read(fd: int) -> bytes:
        await anyio.wait_readable(fd)
        try:
            return os.read(fd, _CHUNK_BYTES)
        except OSError:  # the terminal is gone
            return b""
