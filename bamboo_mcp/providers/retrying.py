"""The one place where a failed model call is tried again, and only while nothing was shown.

The first chunk is awaited before the stream is handed on: up to there a failure is nobody's news,
after it a silent second try would be a lie. Providers themselves never retry.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType

import anyio

from bamboo_mcp.domain.models import ModelCaps, ModelEntry, ModelRequest
from bamboo_mcp.domain.provider_errors import ProviderFailure, Truncated
from bamboo_mcp.domain.stream import Chunk, Stop
from bamboo_mcp.ports import OnWait, Provider

Sleep = Callable[[float], Awaitable[None]]


class Retrying:
    """A provider around a provider.

    Waits `first_delay_s` doubled each time, up to half of it left off at random so that many
    callers do not return as one; or what the service asked for, at least. Never over `longest_s`.
    `sleep` is anyio's but in tests.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        attempts: int = 3,
        first_delay_s: float = 0.4,
        longest_s: float = 60.0,
        sleep: Sleep = anyio.sleep,
    ) -> None:
        self._provider = provider
        self.attempts = attempts
        self._first_delay_s = first_delay_s
        self._longest_s = longest_s
        self.sleep = sleep

    def __repr__(self) -> str:
        return f"Retrying({self._provider!r})"

    @property
    def name(self) -> str:
        return self._provider.name

    def caps(self, model: str) -> ModelCaps:
        return self._provider.caps(model)

    def stream(
        self, request: ModelRequest, *, on_wait: OnWait | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        return _Stream(self, request, on_wait)

    async def count(self, request: ModelRequest) -> int | None:
        return await self._provider.count(request)

    async def models(self) -> Sequence[ModelEntry]:
        return await self._provider.models()

    async def once(self, request: ModelRequest) -> _Opened:
        """One attempt: the stream, its first chunk there."""
        stream = self._provider.stream(request)
        chunks = await stream.__aenter__()
        try:
            first = await anext(chunks, None)
            if first is None:
                raise _no_stop(self.name, started=False)
        except BaseException as error:
            await stream.__aexit__(type(error), error, error.__traceback__)
            raise
        return _Opened(stream, self.name, first, chunks)

    def delay(self, failure: ProviderFailure, attempt: int) -> float:
        delay = self._first_delay_s * float(2 ** (attempt - 1)) * (0.5 + random.random() / 2)
        if failure.retry_after_s is not None:
            delay = max(delay, failure.retry_after_s + delay / 4)
        return min(delay, self._longest_s)


class _Opened:
    """A stream whose first chunk is here. It ends with a `Stop` or with an error."""

    __slots__ = ("_chunks", "_done", "_first", "_name", "stream")

    def __init__(
        self,
        stream: AbstractAsyncContextManager[AsyncIterator[Chunk]],
        name: str,
        first: Chunk,
        chunks: AsyncIterator[Chunk],
    ) -> None:
        self.stream = stream
        self._name = name
        self._first: Chunk | None = first
        self._chunks = chunks
        self._done = False

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        chunk = self._first
        if chunk is not None:
            self._first = None
        else:
            try:
                chunk = await anext(self._chunks)
            except StopAsyncIteration:
                if self._done:
                    raise
                raise _no_stop(self._name, started=True) from None
        self._done = isinstance(chunk, Stop)
        return chunk


class _Stream:
    """The context manager `stream` gives; entering it makes the attempts."""

    __slots__ = ("_on_wait", "_opened", "_owner", "_request")

    def __init__(self, owner: Retrying, request: ModelRequest, on_wait: OnWait | None) -> None:
        self._owner = owner
        self._request = request
        self._on_wait = on_wait
        self._opened: _Opened | None = None

    async def __aenter__(self) -> AsyncIterator[Chunk]:
        """The last failure is raised when no attempt brought a first chunk."""
        owner, attempt = self._owner, 1
        while True:
            try:
                self._opened = await owner.once(self._request)
                return self._opened
            except ProviderFailure as failure:
                if not failure.retryable or failure.started or attempt >= owner.attempts:
                    raise
                delay = owner.delay(failure, attempt)
                if self._on_wait is not None:
                    self._on_wait(delay, failure.message, attempt)
            await owner.sleep(delay)
            attempt += 1

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        if self._opened is None:
            return None
        return await self._opened.stream.__aexit__(kind, error, traceback)


def _no_stop(name: str, *, started: bool) -> Truncated:
    return Truncated(
        f"the stream of {name} ended without saying that the answer is whole",
        provider=name,
        started=started,
    )
