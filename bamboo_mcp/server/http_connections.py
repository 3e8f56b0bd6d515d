"""Connections that get nowhere are closed: uvicorn would keep them for ever.

A client owes us something while its request is on the way, and while our answer is. It has so long
to bring the whole head, to bring on the body, and to take the answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

import anyio
import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from bamboo_mcp.domain.value import Value

logger = logging.getLogger(__name__)


class Patience(Value, frozen=True, kw_only=True):
    """How long a connection may get nowhere, in seconds."""

    request_s: float = 15.0
    """For a whole head, and for each `body_bytes` of a body."""
    body_bytes: int = 16_384
    reader_s: float = 60.0
    """For taking anything of what is written. Watchers come back with their cursor."""
    refused_s: float = 3.0
    """For the rest of a request that was answered already: closing at once would lose the answer
    on the way."""
    look_every_s: float = 1.0


class TimedConnection(H11Protocol):
    """Uvicorn's connection, noting when the client last brought or took something."""

    _moved_at = 0.0
    _received = 0
    _counted = 0
    _state: object = None
    _taken_at = 0.0
    _unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._moved_at = self._taken_at = self.loop.time()

    def data_received(self, data: bytes) -> None:
        conn = self.conn
        if conn.their_state is h11.IDLE and not conn.trailing_data[0]:
            self._moved_at = self.loop.time()  # the first bytes of a head
        self._received += len(data)
        super().data_received(data)

    def on_response_complete(self) -> None:
        self._moved_at = self.loop.time()
        super().on_response_complete()

    def stuck(self, now: float, patience: Patience) -> str:
        """What the client has failed to do in time; "" when it may go on."""
        return self._not_taking(now, patience) or self._not_sending(now, patience)

    def _not_taking(self, now: float, patience: Patience) -> str:
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent:
            self._unsent = unsent
            self._taken_at = now
        return "took nothing of the answer" if now - self._taken_at > patience.reader_s else ""

    def _not_sending(self, now: float, patience: Patience) -> str:
        theirs = self.conn.their_state
        if theirs is h11.IDLE:
            return "sent no whole head" if now - self._moved_at > patience.request_s else ""
        if theirs is not h11.SEND_BODY:
            self._state = theirs
            return ""
        if self.conn.our_state is h11.DONE:
            late = now - self._moved_at > patience.refused_s
            return "goes on with a request that was answered" if late else ""
        moved = self._received - self._counted >= patience.body_bytes
        if theirs is not self._state or moved or self.flow.read_paused:
            self._state = theirs
            self._counted = self._received
            self._moved_at = now
        return "did not bring its body on" if now - self._moved_at > patience.request_s else ""


async def close_stuck(connections: Iterable[object], patience: Patience) -> None:
    """Look at all `connections` now and then, for ever. It is the same, living set each time."""
    loop = asyncio.get_running_loop()
    while True:
        await anyio.sleep(patience.look_every_s)
        now = loop.time()
        for connection in tuple(connections):
            if isinstance(connection, TimedConnection) and (why := connection.stuck(now, patience)):
                logger.info("connection of %s is closed: it %s", connection.client, why)
                connection.transport.abort()


def cut_off(connections: Iterable[object]) -> None:
    """Close all `connections` at once; what serves them sees that the client is gone."""
    for connection in tuple(connections):
        if isinstance(connection, TimedConnection):
            connection.transport.abort()
