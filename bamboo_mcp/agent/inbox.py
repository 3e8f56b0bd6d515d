"""Steering on its way into a run: queued, then read by a round or handed back, never lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bamboo_mcp.domain.errors import RunClosed
from bamboo_mcp.domain.runs import Steer


class SteeringInbox:
    """An `Inbox` in this process. Nothing here awaits: that is what makes its answers true."""

    __slots__ = ("_closed", "_interrupt", "_interrupted", "_queue", "_reason")

    def __init__(self) -> None:
        self._queue: list[Steer] = []
        self._closed = False
        self._reason: str | None = None
        self._interrupted = False
        self._interrupt: Callable[[], None] | None = None

    def put(self, steer: Steer) -> None:
        if self._closed:
            raise RunClosed(
                "the run has taken its last round; the message was not queued",
                hint="spawn another subagent with the message in its task",
            )
        self._queue.append(steer)
        if steer.delivery == "interrupt":
            self._interrupted = True
            self._fire()

    def take(self, *, idle: bool = False) -> Sequence[Steer]:
        self._interrupted = False
        if not self._queue:
            return ()
        taken = [steer for steer in self._queue if idle or steer.delivery != "when_idle"]
        if taken:
            self._queue = [steer for steer in self._queue if steer not in taken]
        return taken

    def close_if_empty(self) -> bool:
        if self._queue or self._reason is not None:
            return False
        self._closed = True
        return True

    def close(self) -> Sequence[Steer]:
        self._closed = True
        left, self._queue = self._queue, []
        return left

    def cancel(self, reason: str) -> None:
        if self._reason is None:
            self._reason = reason
            self._fire()

    @property
    def cancel_reason(self) -> str | None:
        return self._reason

    def on_interrupt(self, interrupt: Callable[[], None] | None) -> None:
        self._interrupt = interrupt
        if self._interrupted or self._reason is not None:
            self._fire()

    def _fire(self) -> None:
        if self._interrupt is not None:
            self._interrupt()
