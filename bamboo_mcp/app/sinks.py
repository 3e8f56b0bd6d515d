"""Event sinks of plugins: told of what they want to hear, closed when the agent is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial

from bamboo_mcp.ports import EventSink
from bamboo_mcp.runs.board import ListenableLog
from bamboo_mcp.runs.listeners import until_it_raises

logger = logging.getLogger(__name__)


def attach_sinks(sinks: Mapping[str, EventSink], log: ListenableLog, stack: ExitStack) -> None:
    """Tell each sink of events until `stack` ends, of those in its `KINDS` if it has them.

    A sink that raises is not told any more. One that has a `close` is closed, after the last event.
    """
    for name, sink in sinks.items():
        kinds = getattr(sink, "KINDS", None)
        close = getattr(sink, "close", None)
        if callable(close):
            stack.callback(_close, name, close)
        stack.callback(until_it_raises(partial(log.listen, kinds=kinds), sink.emit))


def _close(name: str, close: Callable[[], None]) -> None:
    try:
        close()
    except (Exception, SystemExit):
        # SystemExit too, as in the listener: a plugin that gives up must not end the server.
        logger.exception("the event sink %s did not close", name)
