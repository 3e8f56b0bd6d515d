"""Those who are told of every event as it is appended, one after the other, in order."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
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

        def remove() -> None:
            self._listeners = tuple(one for one in self._listeners if one is not listener)

        return remove

    def tell(self, record: EventRecord) -> None:
        """Tell all of them. A record that a listener causes is told after the one it came from."""
        if self._telling:
            self._waiting.append(record)
            return
        if not self._listeners:
            return
        self._telling = True
        try:
            self._tell_each(record)
            while self._waiting:
                self._tell_each(self._waiting.popleft())
        finally:
            self._telling = False

    def _tell_each(self, record: EventRecord) -> None:
        for listener in self._listeners:
            try:
                listener(record)
            except Exception:
                logger.exception("event listener %r raised and is dropped", listener)
                self._listeners = tuple(one for one in self._listeners if one is not listener)
