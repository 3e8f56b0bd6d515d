"""Ctrl-C as something to wait for, on POSIX and on Windows."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import anyio

if sys.platform == "win32":
    import asyncio
    from types import FrameType

    @contextmanager
    def interrupts() -> Iterator[AsyncIterator[int]]:
        """Gives the numbers of the signals that ask this command to stop, as they arrive."""
        loop = asyncio.get_running_loop()
        send, receive = anyio.create_memory_object_stream[int](8)

        def note(number: int) -> None:
            try:
                send.send_nowait(number)
            except anyio.WouldBlock:
                return  # somebody leans on the keys

        def handle(number: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(note, number)

        wanted = (signal.SIGINT, signal.SIGBREAK)
        before = [(number, signal.signal(number, handle)) for number in wanted]
        try:
            with send, receive:
                yield receive
        finally:
            for number, handler in before:
                signal.signal(number, handler)

else:

    @contextmanager
    def interrupts() -> Iterator[AsyncIterator[int]]:
        """Gives the numbers of the signals that ask this command to stop, as they arrive."""
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as arriving:
            yield arriving
