"""Those who are told of events as they are appended, one after the other, in order."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection
from functools import partial
from typing import TypeAlias

from bamboo_mcp.domain.events import EventRecord

logger = logging.getLogger(__name__)

Listener: TypeAlias = Callable[[EventRecord], None]
Kinds: TypeAlias = Collection[type]
"""Classes of events. Whoever cares for a few of them need not be called for every text delta."""


class Listeners:
    """A listener must neither block nor raise.

    One that raises is logged each time and kept: the core listens here, and may not go deaf for one
    bad event. A plugin's listener is registered through `until_it_raises`.
    """

    __slots__ = ("_all", "_routes", "_telling", "_waiting")

    def __init__(self) -> None:
        self._all: tuple[tuple[Listener, Kinds | None], ...] = ()
        self._routes: dict[type, tuple[Listener, ...]] = {}
        """By kind of event, worked out when the first of its kind comes."""
        self._telling = False
        self._waiting: deque[EventRecord] = deque()

    def add(self, listener: Listener, kinds: Kinds | None = None) -> Callable[[], None]:
        """Register `listener`, for `kinds` or for all; the returned function takes it away."""
        entry = (listener, kinds)
        self._all = (*self._all, entry)
        self._routes.clear()
        return partial(self._drop, listener)

    def tell(self, record: EventRecord) -> None:
        """Tell all of them. A record that a listener causes is told after the one it came from."""
        if self._telling:
            self._waiting.append(record)
            return
        self._telling = True
        try:
            while True:
                kind = type(record.event)
                for listener in self._routes.get(kind) or self._route(kind):
                    try:
                        listener(record)
                    except (Exception, SystemExit):
                        # SystemExit too: a listener that gives up must not end the server.
                        logger.exception("event listener %r raised", listener)
                if not self._waiting:
                    return
                record = self._waiting.popleft()
        finally:
            self._telling = False

    def _route(self, kind: type) -> tuple[Listener, ...]:
        route = tuple(one for one, kinds in self._all if kinds is None or kind in kinds)
        self._routes[kind] = route
        return route

    def _drop(self, listener: Listener) -> None:
        self._all = tuple(entry for entry in self._all if entry[0] is not listener)
        self._routes.clear()


def until_it_raises(
    listen: Callable[[Listener], Callable[[], None]], listener: Listener
) -> Callable[[], None]:
    """Register a plugin's listener with `listen`; it is taken away again when it first raises."""

    def guarded(record: EventRecord) -> None:
        try:
            listener(record)
        except (Exception, SystemExit):
            logger.exception("event listener %r raised and is dropped", listener)
            remove()

    remove = listen(guarded)
    return remove
