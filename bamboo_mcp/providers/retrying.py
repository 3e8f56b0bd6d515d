"""The one place where a failed model call is tried again, and only while nothing was shown.

The first chunk is awaited before the stream is handed on: up to there a failure is nobody's news,
after it a silent second try would be a lie. Providers themselves never retry.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

import anyio

from bamboo_mcp.domain.events import ProviderWaiting
from bamboo_mcp.domain.models import ModelCaps, ModelEntry, ModelFacts, ModelRequest
from bamboo_mcp.domain.provider_errors import (
    AuthenticationFailed,
    Overloaded,
    ProviderFailure,
    RateLimited,
    Truncated,
)
from bamboo_mcp.domain.stream import Chunk, Stop
from bamboo_mcp.ports import Notify, Provider
from bamboo_mcp.providers.served import Served
from bamboo_mcp.providers.table import NOTHING_SAID

Sleep = Callable[[float], Awaitable[None]]
Renew = Callable[[Provider, AuthenticationFailed], Awaitable[None]]
"""Raises when there is no other key than the one that this provider was refused with."""

IMPATIENT_S = 5.0
FULL_PATIENCE, FULL_ATTEMPTS = 5, 2
"""A service that is full stays so for a while: its callers wait so many times longer, and try twice
more (2, 4, 8 and 16 s, about)."""


class Retrying:
    """A provider around a provider.

    Waits `first_delay_s` doubled each time, up to half of it left off at random so that many
    callers do not return as one; or what the service asked for, at least. Never over `longest_s`.
    After a key was refused, `renew` may put a provider with another in the place of the one in
    `served`. What `facts` say of a model goes before what its provider knows. `sleep` is anyio's
    but in tests.
    """

    def __init__(
        self,
        provider: Provider | Served,
        *,
        attempts: int = 3,
        first_delay_s: float = 0.4,
        longest_s: float = 60.0,
        renew: Renew | None = None,
        facts: Mapping[str, ModelFacts] = NOTHING_SAID,
        sleep: Sleep = anyio.sleep,
    ) -> None:
        self._served = provider if isinstance(provider, Served) else Served(provider)
        self._attempts = attempts
        self._first_delay_s = first_delay_s
        self._longest_s = longest_s
        self._renew = renew
        self._facts = facts
        self._sleep = sleep

    def __repr__(self) -> str:
        return f"Retrying({self._served.provider!r})"

    @property
    def name(self) -> str:
        return self._served.provider.name

    def caps(self, model: str) -> ModelCaps:
        caps = self._served.provider.caps(model)
        said = self._facts.get(model)
        return caps if said is None else said.over(caps)

    def stream(
        self, request: ModelRequest, *, notify: Notify | None = None, patient: bool = True
    ) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """Not `patient`: the caller has another model to go to. When the service asks to wait for
        longer than a moment, it hears of it at once."""
        return _Stream(self, request, notify, patient)

    async def count(self, request: ModelRequest) -> int | None:
        return await self._served.provider.count(request)

    async def models(self) -> Sequence[ModelEntry]:
        return await self._served.provider.models()

    async def open(self, request: ModelRequest, notify: Notify | None, *, patient: bool) -> _Opened:
        """The stream, its first chunk there; the last failure when no attempt brought one."""
        attempt, renew = 1, self._renew
        while True:
            provider = self._served.provider
            try:
                return await self._once(provider, request)
            except AuthenticationFailed as failure:
                # 403 is about what the key may do, and another key of the same owner may no more.
                if renew is None or failure.started or failure.status == 403:
                    raise
                refused = failure
            except ProviderFailure as failure:
                delay = self._delay(failure, attempt, patient=patient)
                if delay is None:
                    raise
                if notify is not None:
                    notify(ProviderWaiting(delay_s=delay, reason=failure.message, attempt=attempt))
                await self._sleep(delay)
                attempt += 1
                continue
            await renew(provider, refused)
            renew = None

    async def leave(self, opened: _Opened, *about: Any) -> bool | None:
        try:
            return await opened.stream.__aexit__(*about)
        finally:
            await self._served.end(opened.provider)

    async def _once(self, provider: Provider, request: ModelRequest) -> _Opened:
        self._served.begin(provider)
        try:
            stream = provider.stream(request)
            chunks = await stream.__aenter__()
            try:
                first = await anext(chunks, None)
                if first is None:
                    raise _no_stop(self.name, started=False)
            except BaseException as error:
                await stream.__aexit__(type(error), error, error.__traceback__)
                raise
        except BaseException:
            await self._served.end(provider)
            raise
        return _Opened(provider, stream, self.name, first, chunks)

    def _delay(self, failure: ProviderFailure, attempt: int, *, patient: bool) -> float | None:
        """Seconds until the next attempt; None when there is to be none."""
        full = isinstance(failure, Overloaded | RateLimited)
        attempts = self._attempts + full * FULL_ATTEMPTS if patient else min(self._attempts, 2)
        if not failure.retryable or failure.started or attempt >= attempts:
            return None
        first = self._first_delay_s * (FULL_PATIENCE if full and patient else 1)
        delay = first * float(2 ** (attempt - 1)) * (0.5 + random.random() / 2)
        if failure.retry_after_s is not None:
            delay = max(delay, failure.retry_after_s + delay / 4)
        if delay > IMPATIENT_S and not patient:
            return None
        return min(delay, self._longest_s)


class _Opened:
    """A stream whose first chunk is here. It ends with a `Stop` or with an error."""

    __slots__ = ("_chunks", "_done", "_first", "_name", "provider", "stream")

    def __init__(
        self,
        provider: Provider,
        stream: AbstractAsyncContextManager[AsyncIterator[Chunk]],
        name: str,
        first: Chunk,
        chunks: AsyncIterator[Chunk],
    ) -> None:
        self.provider = provider
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

    __slots__ = ("_notify", "_opened", "_owner", "_patient", "_request")

    def __init__(
        self, owner: Retrying, request: ModelRequest, notify: Notify | None, patient: bool
    ) -> None:
        self._owner = owner
        self._request = request
        self._notify = notify
        self._patient = patient
        self._opened: _Opened | None = None

    async def __aenter__(self) -> AsyncIterator[Chunk]:
        self._opened = await self._owner.open(self._request, self._notify, patient=self._patient)
        return self._opened

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        if self._opened is None:
            return None
        return await self._owner.leave(self._opened, kind, error, traceback)


def _no_stop(name: str, *, started: bool) -> Truncated:
    return Truncated(
        f"the stream of {name} ended without saying that the answer is whole",
        provider=name,
        started=started,
    )
