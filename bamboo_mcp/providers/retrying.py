"""The one place where a failed model call is tried again, and only while nothing was shown.

The first chunk is awaited before the stream is handed on: up to there a failure is nobody's news,
after it a silent second try would be a lie. Providers themselves never retry.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType

import anyio

from bamboo_mcp.domain.events import ProviderWaiting
from bamboo_mcp.domain.models import ModelCaps, ModelEntry, ModelFacts, ModelRequest
from bamboo_mcp.domain.provider_errors import AuthenticationFailed, ProviderFailure, Truncated
from bamboo_mcp.domain.stream import Chunk, Stop
from bamboo_mcp.ports import Notify, Provider
from bamboo_mcp.providers.table import NOTHING_SAID

Sleep = Callable[[float], Awaitable[None]]
Renew = Callable[[Provider], Awaitable[Provider]]

IMPATIENT_S = 5.0


class Retrying:
    """A provider around a provider.

    Waits `first_delay_s` doubled each time, up to half of it left off at random so that many
    callers do not return as one; or what the service asked for, at least. Never over `longest_s`.
    A key that was refused is read anew once by `renew`, where it can have changed. What `facts` say
    of a model goes before what its provider knows. `sleep` is anyio's but in tests.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        attempts: int = 3,
        first_delay_s: float = 0.4,
        longest_s: float = 60.0,
        patient: bool = True,
        renew: Renew | None = None,
        facts: Mapping[str, ModelFacts] = NOTHING_SAID,
        sleep: Sleep = anyio.sleep,
    ) -> None:
        self._provider = provider
        self._attempts = attempts
        self._first_delay_s = first_delay_s
        self._longest_s = longest_s
        self._patient = patient
        self._renew = renew
        self._facts = facts
        self._sleep = sleep

    def __repr__(self) -> str:
        return f"Retrying({self._provider!r})"

    @property
    def name(self) -> str:
        return self._provider.name

    def caps(self, model: str) -> ModelCaps:
        caps = self._provider.caps(model)
        said = self._facts.get(model)
        return caps if said is None else said.over(caps)

    def impatient(self) -> Retrying:
        """The same for callers who have another model to go to: when the service asks them to wait
        for longer than a moment, they hear of it at once."""
        return Retrying(
            self._provider,
            attempts=min(self._attempts, 2),
            first_delay_s=self._first_delay_s,
            longest_s=IMPATIENT_S,
            patient=False,
            renew=self._renew,
            facts=self._facts,
            sleep=self._sleep,
        )

    def stream(
        self, request: ModelRequest, *, notify: Notify | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        return _Stream(self, request, notify)

    async def count(self, request: ModelRequest) -> int | None:
        return await self._provider.count(request)

    async def models(self) -> Sequence[ModelEntry]:
        return await self._provider.models()

    async def open(self, request: ModelRequest, notify: Notify | None) -> _Opened:
        """The stream, its first chunk there; the last failure when no attempt brought one."""
        attempt, renew = 1, self._renew
        while True:
            provider = self._provider
            try:
                return await self._once(provider, request)
            except ProviderFailure as failure:
                refused = isinstance(failure, AuthenticationFailed) and renew is not None
                delay = self._delay(failure, attempt)
                if not refused and delay is None:
                    raise
                if delay is not None and notify is not None:
                    notify(ProviderWaiting(delay_s=delay, reason=failure.message, attempt=attempt))
            if delay is not None:
                await self._sleep(delay)
                attempt += 1
            elif renew is not None:
                self._provider, renew = await renew(provider), None

    async def _once(self, provider: Provider, request: ModelRequest) -> _Opened:
        stream = provider.stream(request)
        chunks = await stream.__aenter__()
        try:
            first = await anext(chunks, None)
            if first is None:
                raise _no_stop(self.name, started=False)
        except BaseException as error:
            await stream.__aexit__(type(error), error, error.__traceback__)
            raise
        return _Opened(stream, self.name, first, chunks)

    def _delay(self, failure: ProviderFailure, attempt: int) -> float | None:
        """Seconds until the next attempt; None when there is to be none."""
        if not failure.retryable or failure.started or attempt >= self._attempts:
            return None
        delay = self._first_delay_s * float(2 ** (attempt - 1)) * (0.5 + random.random() / 2)
        if failure.retry_after_s is not None:
            delay = max(delay, failure.retry_after_s + delay / 4)
        if delay > self._longest_s and not self._patient:
            return None
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

    __slots__ = ("_notify", "_opened", "_owner", "_request")

    def __init__(self, owner: Retrying, request: ModelRequest, notify: Notify | None) -> None:
        self._owner = owner
        self._request = request
        self._notify = notify
        self._opened: _Opened | None = None

    async def __aenter__(self) -> AsyncIterator[Chunk]:
        self._opened = await self._owner.open(self._request, self._notify)
        return self._opened

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
