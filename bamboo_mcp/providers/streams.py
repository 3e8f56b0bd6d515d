"""The raw events of an SDK, folded into our chunks: what all wire APIs have in common.

A stream that ends without saying that the answer is whole is a failure (providers note, 1.4).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import suppress
from typing import Any, Protocol

import anyio

from bamboo_mcp.domain.provider_errors import ProviderFailure, Truncated
from bamboo_mcp.domain.stream import Chunk, Stop
from bamboo_mcp.providers.faults import Faults

logger = logging.getLogger(__name__)

_DRAIN_WITHIN_S = 0.5


class Fold(Protocol):
    """Feed it every event in order; it gives the chunks, and `Stop` once the answer is whole."""

    started: bool
    """True once a chunk was handed on."""

    def feed(self, event: Any) -> Iterable[Chunk]: ...
    def end(self) -> Stop | None:
        """The stream is at its end: the `Stop` that only now is sure, None when there is none."""
        ...

    def truncated(self) -> Truncated:
        """The failure that a stream is which ends before its `Stop`."""
        ...


class Failure(Protocol):
    """Our error for one of the SDK's."""

    def __call__(self, error: Exception, *, started: bool) -> ProviderFailure: ...


async def folded(
    events: AsyncIterator[Any],
    fold: Fold,
    faults: Faults,
    sdk_errors: tuple[type[Exception], ...],
    failure: Failure,
) -> AsyncGenerator[Chunk]:
    """The chunks of a stream, the last a `Stop`; any way it can fail comes as our failure."""
    stop: Stop | None = None
    try:
        async for event in events:
            for chunk in fold.feed(event):
                if isinstance(chunk, Stop):
                    stop = chunk
                else:
                    fold.started = True
                    yield chunk
            if stop is not None:
                break
        else:
            stop = fold.end()
    except ProviderFailure:
        raise
    except sdk_errors as error:
        raise failure(error, started=fold.started) from None
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        # For the log file: it is no fault of ours, and the caller is told in words.
        logger.info("%s sent a stream that cannot be read", faults.name, exc_info=True)
        raise faults.unreadable(error, started=fold.started) from None
    if stop is None:
        raise fold.truncated()
    await _drain(events, sdk_errors)
    yield stop


async def _drain(events: AsyncIterator[Any], sdk_errors: tuple[type[Exception], ...]) -> None:
    """Read to the end of the body, so that the next round finds the connection open.

    The answer is whole by now: whatever goes wrong here is nobody's concern.
    """
    with anyio.move_on_after(_DRAIN_WITHIN_S), suppress(*sdk_errors):
        async for _ in events:
            pass
