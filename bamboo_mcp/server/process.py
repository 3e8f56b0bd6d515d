"""The life of a server process: it is asked to stop once, cleans up in order, and is gone in time.

`run_server` is what the command line calls. It never cancels `main`: a signal only sets
`Shutdown.requested`, what serves returns, and the contexts around it close as they would at the
end of any block.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable

import anyio

from bamboo_mcp.server.signals import ignore_stop_signals, stop_signals

logger = logging.getLogger(__name__)

GRACE_S = 1.6
"""Clients wait two seconds for a server to go before they kill it and what it was writing."""

_THREADS_S = 0.2


class Shutdown:
    """One request to stop, whoever makes it: a signal, the end of stdin, a client that left.

    From `begin` on a clock runs; if clean-up outlasts `grace_s`, the process ends where it is.
    What was acknowledged is on disk by then, so only tidiness is lost.
    """

    def __init__(self, grace_s: float = GRACE_S) -> None:
        self.requested = anyio.Event()
        self.reason = ""
        self._grace_s = grace_s
        self._clock: threading.Timer | None = None

    def begin(self, reason: str) -> None:
        if self._clock is not None:
            return
        self.reason = reason
        self._clock = threading.Timer(self._grace_s, self._give_up)
        self._clock.daemon = True
        self._clock.start()
        logger.info("stopping: %s", reason)
        self.requested.set()

    def finish(self) -> None:
        """Clean-up is through: stop the clock."""
        if self._clock is not None:
            self._clock.cancel()

    def _give_up(self) -> None:
        logger.critical(
            "clean-up after %r took longer than %s s; ending now", self.reason, self._grace_s
        )
        _end_now(1)


def run_server(main: Callable[[Shutdown], Awaitable[None]], *, grace_s: float = GRACE_S) -> int:
    """Run `main` until it returns; the exit code of the process.

    `main` opens what it needs, serves until `Shutdown.requested` is set (`serve_stdio` does), and
    closes. SIGINT and SIGTERM are requests to stop. Threads that do not end by themselves do not
    keep the process: it is then ended here, after clean-up.
    """

    async def guarded() -> None:
        shutdown = Shutdown(grace_s)
        with stop_signals(shutdown.begin):
            try:
                await main(shutdown)
            finally:
                shutdown.finish()

    anyio.run(guarded)
    ignore_stop_signals()
    if _stuck_threads():
        logger.warning("ending with threads still at work: %s", _stuck_threads())
        _end_now(0)
    return 0


def _stuck_threads() -> list[str]:
    until = time.monotonic() + _THREADS_S
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, until - time.monotonic()))
    return [
        thread.name
        for thread in threading.enumerate()
        if thread is not threading.current_thread() and not thread.daemon
    ]


def _end_now(code: int) -> None:
    logging.shutdown()
    if sys.__stderr__ is not None:
        sys.__stderr__.flush()
    os._exit(code)
