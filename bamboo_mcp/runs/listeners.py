"""Those who are told of every event as it is appended, one after the other, in order."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from bamboo_mcp.domain.events import EventRecord

logger = logging.getLogger(__name__)

Listener: TypeAlias = Callable[[EventRecord], None]


class Listeners:
    """A listener must neither block nor raise; one that raises is logged and dropped."""

    __slots__ = ("_listeners", "_telling", "_waiting")

    def __init__(self) -> None:
        self._listeners: tuple[Listener, ...] = ()
        self._telling = False
        self._waiting: deque[EventRecord] = deque()

    def add(self, listener: Listener) -> Callable[[], None]:
        """Register `listener`; the returned function takes it away again."""
        self._listeners = (*self._listeners, listener)

        return partial(self._drop, listener)

    def _drop(self, listener: Listener) -> None:
        self._listeners = tuple(one for one in self._listeners if one is not listener)

    def tell(self, record: EventRecord) -> None:
        """Tell all of them. A record that a listener causes is told after the one it came from."""
        if self._telling:
            self._waiting.append(record)
            return
        if not self._listeners:
            return
        self._telling = True
        try:
            while True:
                for listener in self._listeners:
                    try:
                        listener(record)
                    except Exception:
                        logger.exception("event listener %r raised and is dropped", listener)
                        self._drop(listener)
                if not self._waiting:
                    return
                record = self._waiting.popleft()
        finally:
            self._telling = False
