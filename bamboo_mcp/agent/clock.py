"""A run's time: a deadline that stands still while a person is being asked."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import anyio


class RunClock:
    """Deadlines on `anyio.current_time()`'s clock; time spent waiting for answers moves them on."""

    __slots__ = ("_first", "_paused_at", "_pauses", "_scopes", "deadline", "started")

    def __init__(self, timeout_s: float) -> None:
        # The scope the run will begin in, made now: it looks at the time for both of them.
        self._first: anyio.CancelScope | None = anyio.move_on_after(timeout_s)
        self.deadline = self._first.deadline
        self.started = time.monotonic()
        self._scopes: dict[anyio.CancelScope, float] = {}
        self._pauses = 0
        self._paused_at = 0.0

    def elapsed(self) -> float:
        """Seconds worked; time spent waiting for answers is not in it once the answer is there."""
        return time.monotonic() - self.started

    def expired(self) -> bool:
        """The run's time is up; never while an answer is waited for."""
        return not self._pauses and anyio.current_time() >= self.deadline

    def call_deadline(self) -> float:
        """What a tool call that starts now is told: infinite while an answer is waited for.

        A call cannot be told later that its end has moved. So it is told of none while the end is
        unknown: the scopes given out here bound it all the same, and do move.
        """
        return math.inf if self._pauses else self.deadline

    def scope(self, timeout_s: float | None = None) -> anyio.CancelScope:
        """A scope to enter now, bounded by the run's deadline, and by `timeout_s` if given.

        Hand it to `release` when it is left.
        """
        deadline = self.deadline
        if timeout_s is None and self._first is not None and not self._pauses:
            scope, self._first = self._first, None
            self._scopes[scope] = deadline
            return scope
        if timeout_s is not None:
            deadline = min(deadline, anyio.current_time() + timeout_s)
        # Given at its making: a deadline set later costs a scope a second timer.
        scope = anyio.CancelScope(deadline=math.inf if self._pauses else deadline)
        self._scopes[scope] = deadline
        return scope

    def release(self, scope: anyio.CancelScope) -> None:
        self._scopes.pop(scope, None)

    @contextmanager
    def paused(self) -> Iterator[None]:
        if self._pauses == 0:
            self._paused_at = anyio.current_time()
            for scope in self._scopes:
                scope.deadline = math.inf
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1
            if self._pauses == 0:
                self._go_on(anyio.current_time() - self._paused_at)

    def _go_on(self, waited_s: float) -> None:
        self._first = None  # its deadline is no longer the run's
        self.deadline += waited_s
        self.started += waited_s
        for scope, deadline in self._scopes.items():
            self._scopes[scope] = scope.deadline = deadline + waited_s
