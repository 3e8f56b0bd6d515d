"""Progress of one call on its way to the client: the latest line, at most one a second."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskGroup
from mcp.shared.exceptions import MCPError

from bamboo_mcp.domain.tools import Progress

logger = logging.getLogger(__name__)

_STEP = 0.001
_LINE_CHARS = 200

Send = Callable[[float, float | None, str | None], Awaitable[None]]


class ProgressPump:
    """Takes progress without waiting, keeps only the newest, sends it when a second has passed.

    Its task lives in the call's own group, which the constructor is given, and starts with the
    first report: most calls have none.
    """

    def __init__(self, group: TaskGroup, send: Send, *, every_s: float = 1.0) -> None:
        self._group = group
        self._send = send
        self._every_s = every_s
        self._latest: Progress | None = None
        self._arrived = anyio.Event()
        self._started = False
        self._closed = False
        self._sent = -_STEP

    def report(self, progress: Progress) -> None:
        """For `ToolContext.progress`: neither blocks nor raises."""
        if self._closed:
            return
        self._latest = progress
        self._arrived.set()
        if not self._started:
            self._started = True
            self._group.start_soon(self._pump)

    def close(self) -> None:
        self._closed = True

    async def _pump(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived = anyio.Event()
            progress, self._latest = self._latest, None
            if progress is not None and not await self._sent_on(progress):
                return
            await anyio.sleep(self._every_s)

    async def _sent_on(self, progress: Progress) -> bool:
        # The specification wants every value greater than the last; "1 of 3" may be said twice.
        self._sent = max(progress.done, self._sent + _STEP)
        line = " ".join(progress.message.split())[:_LINE_CHARS] or None
        try:
            await self._send(self._sent, progress.total, line)
        except (MCPError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            logger.debug("progress is not sent any more: the client is gone")
            self._closed = True
            return False
        return True
