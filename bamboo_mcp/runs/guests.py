"""What others bring to a run, called so that it can neither hold it up nor break it.

A hook has its time, a sink that raises is left alone, and only cancellation gets through.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio

from bamboo_mcp.domain.errors import BambooError
from bamboo_mcp.domain.events import EventRecord, RunEvent, Warned
from bamboo_mcp.domain.runs import Outcome
from bamboo_mcp.ports import CompletionHook, Conversation, Emit, EventSink

logger = logging.getLogger(__name__)

HOOK_S = 5.0
"""So long a completion hook may take, also when the server stops meanwhile."""


def passes_through(error: BaseException) -> bool:
    """What nobody may stop: cancellation, and the wish of a person to end everything.

    A `SystemExit` is not that: a guest that gives up must not end the server.
    """
    if isinstance(error, BaseExceptionGroup):
        return any(passes_through(inner) for inner in error.exceptions)
    ours = (anyio.get_cancelled_exc_class(), KeyboardInterrupt, GeneratorExit)
    return isinstance(error, ours)


class ToldOnce:
    """A completion hook, told of one end, once."""

    __slots__ = ("_hook", "_told", "_within_s")

    def __init__(self, hook: CompletionHook, within_s: float) -> None:
        self._hook = hook
        self._within_s = within_s
        self._told = False

    async def tell(self, outcome: Outcome, conversation: Conversation | None, emit: Emit) -> None:
        """What went wrong with the hook is noted by `emit`; only cancellation comes out of here."""
        if self._told:
            return
        self._told = True
        failed = ""
        with anyio.move_on_after(self._within_s, shield=True) as scope:
            try:
                await self._hook(outcome, conversation)
            except BambooError as error:
                failed = error.message
            except BaseException as error:
                if passes_through(error):
                    raise
                logger.exception("the completion hook %r raised", self._hook)
                failed = "the server's log says why"
        if scope.cancelled_caught:
            logger.error("the completion hook %r took over %g s", self._hook, self._within_s)
            failed = f"it took longer than {self._within_s:g} s"
        if failed:
            words = f"the completion hook failed: {failed}"
            try:
                emit(Warned(code="completion_hook_failed", message=words))
            except BambooError:
                logger.exception("a failed completion hook could not be noted")


class SinkToo:
    """Appends to the log, then tells a sink of it, until that raises."""

    __slots__ = ("_append", "_sink")

    def __init__(self, append: Callable[[RunEvent], EventRecord], sink: EventSink) -> None:
        self._append = append
        self._sink: EventSink | None = sink

    def __call__(self, event: RunEvent) -> EventRecord:
        record = self._append(event)
        if self._sink is not None:
            try:
                self._sink.emit(record)
            except (Exception, SystemExit):
                logger.exception("the sink %r of run %s is dropped", self._sink, record.run_id)
                self._sink = None
        return record
