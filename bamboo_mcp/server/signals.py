"""SIGINT and SIGTERM turned into one callback on the event loop, on POSIX and on Windows."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_signals(on_stop: Callable[[str], None]) -> Iterator[None]:
    """Call `on_stop` with the signal's name, on the running loop, each time one arrives.

    Signals belong to the main thread; elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if sys.platform == "win32":
        with _windows(on_stop):
            yield
    else:
        with _posix(on_stop):
            yield


def ignore_stop_signals() -> None:
    """For the last moments of a process: a late signal must not turn its exit into a kill."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def _posix(on_stop: Callable[[str], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    wanted = (signal.SIGINT, signal.SIGTERM)
    for number in wanted:
        loop.add_signal_handler(number, on_stop, number.name)
    try:
        yield
    finally:
        for number in wanted:
            loop.remove_signal_handler(number)


@contextmanager
def _windows(on_stop: Callable[[str], None]) -> Iterator[None]:
    # The proactor loop has no add_signal_handler; its own wake-up descriptor lets a Python-level
    # handler run while it waits.
    loop = asyncio.get_running_loop()

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(on_stop, signal.Signals(number).name)

    names = ("SIGINT", "SIGTERM", "SIGBREAK")
    wanted = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = [(number, signal.signal(number, handle)) for number in wanted]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
