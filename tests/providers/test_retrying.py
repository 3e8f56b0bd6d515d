from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import anyio
import pytest

from bamboo_mcp.domain.events import ModelReplaced, ProviderWaiting
from bamboo_mcp.domain.models import ModelCaps, ModelEntry, ModelRequest
from bamboo_mcp.domain.provider_errors import (
    AuthenticationFailed,
    Overloaded,
    ProviderFailure,
    TransportFailed,
    Truncated,
)
from bamboo_mcp.domain.stream import Chunk, Stop, TextChunk
from bamboo_mcp.ports import Notify, Provider
from bamboo_mcp.providers.playback import Playback
from bamboo_mcp.providers.retrying import Retrying
from bamboo_mcp.testing.contracts.provider import read, simple_request
from bamboo_mcp.testing.scripted import Fault, ScriptedProvider, Step

ASK = simple_request()


def _quick(provider: Provider, waits: list[float]) -> Retrying:
    async def sleep(delay_s: float) -> None:
        waits.append(delay_s)

    return Retrying(provider, sleep=sleep)


async def _told(provider: Retrying) -> tuple[list[Chunk], list[tuple[float, str, int]]]:
    told: list[tuple[float, str, int]] = []

    def notify(news: ProviderWaiting | ModelReplaced) -> None:
        assert isinstance(news, ProviderWaiting)
        told.append((news.delay_s, news.reason, news.attempt))

    with anyio.fail_after(5):
        async with provider.stream(ASK, notify=notify) as chunks:
            return [chunk async for chunk in chunks], told


async def test_a_failure_before_anything_was_shown_is_tried_again_and_told() -> None:
    waits: list[float] = []
    inner = ScriptedProvider(
        Step(error=Fault(kind="overloaded", message="full")),
        Step(error=Fault(kind="transport")),
        "here",
    )
    chunks, told = await _told(_quick(inner, waits))
    stop = chunks[-1]
    assert isinstance(stop, Stop)
    assert stop.message.text == "here"
    assert next((reason, attempt) for _, reason, attempt in told) == ("full", 1)
    assert [delay for delay, _, _ in told] == waits
    assert 1.0 <= waits[0] <= 2.0, "a service that is full is given time"
    assert 0.4 <= waits[1] <= 0.8


@pytest.mark.parametrize(
    ("kind", "attempts", "least_s"),
    [("server", 3, 0.6), ("overloaded", 5, 15), ("rate_limit", 5, 15)],
)
async def test_after_some_attempts_the_last_failure_comes_out(
    kind: str, attempts: int, least_s: float
) -> None:
    waits: list[float] = []
    inner = ScriptedProvider(Step(error=Fault(kind=kind), repeat=True))
    with pytest.raises(ProviderFailure):
        await _told(_quick(inner, waits))
    assert len(inner.requests) == attempts
    assert len(waits) == attempts - 1
    assert sum(waits) >= least_s


async def test_what_cannot_be_mended_by_waiting_is_not_tried_again() -> None:
    waits: list[float] = []
    inner = ScriptedProvider(Step(error=Fault(kind="auth")), "never")
    with pytest.raises(AuthenticationFailed):
        await _told(_quick(inner, waits))
    assert not waits


async def test_once_something_was_shown_a_failure_is_not_hidden() -> None:
    waits: list[float] = []
    inner = ScriptedProvider(Step(text="abcdef", chunk=2, cut_after=1), "never")
    seen: list[Chunk] = []
    with pytest.raises(TransportFailed) as caught:
        async with _quick(inner, waits).stream(ASK) as chunks:
            async for chunk in chunks:
                seen.append(chunk)
    assert caught.value.started
    assert len(seen) == 1
    assert not waits


async def test_retry_after_is_honoured_and_capped() -> None:
    waits: list[float] = []
    inner = ScriptedProvider(
        Step(error=Fault(kind="rate_limit", retry_after=7)),
        Step(error=Fault(kind="rate_limit", retry_after=4000)),
        "here",
    )
    await _told(_quick(inner, waits))
    assert 7 <= waits[0] <= 8
    assert waits[1] == 60


async def test_a_wait_can_be_cancelled() -> None:
    inner = ScriptedProvider(Step(error=Fault(kind="rate_limit", retry_after=50)), "never")
    with anyio.fail_after(5), anyio.CancelScope() as scope:
        async with Retrying(inner).stream(ASK, notify=lambda *_: scope.cancel()):
            raise AssertionError("it must not get here")
    assert scope.cancelled_caught
    assert len(inner.requests) == 1


class _Bare:
    """A provider that keeps to the port but not to its word: it may end without a `Stop`."""

    name = "bare"

    def __init__(self, *plays: Playback) -> None:
        self.plays = list(plays)

    def caps(self, model: str) -> ModelCaps:
        return ModelCaps()

    def stream(
        self, request: ModelRequest, *, notify: Notify | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        return self.plays.pop(0)

    async def count(self, request: ModelRequest) -> int | None:
        return 7

    async def models(self) -> list[ModelEntry]:
        return []


async def test_a_stream_that_ends_without_a_stop_is_a_failure_whoever_wrote_the_provider() -> None:
    waits: list[float] = []
    with pytest.raises(Truncated) as caught:
        await _told(_quick(_Bare(Playback([TextChunk(text="a")])), waits))
    assert caught.value.started
    empty = _Bare(Playback([]), Playback([]), Playback([]))
    with pytest.raises(Truncated) as caught:
        await _told(_quick(empty, waits))
    assert not caught.value.started
    assert len(waits) == 2


async def test_a_failed_attempt_is_closed_before_the_next_begins() -> None:
    order: list[str] = []

    class Watched(Playback):
        async def __aenter__(self) -> AsyncIterator[Chunk]:
            order.append("open")
            return await super().__aenter__()

        async def __aexit__(self, *_: object) -> None:
            order.append("close")

    failure = Overloaded("full")
    good = ScriptedProvider("x")
    chunks = await read(good, ASK)
    waits: list[float] = []
    bare = _Bare(Watched([], ending=failure), Watched(chunks))
    await _told(_quick(bare, waits))
    assert order == ["open", "close", "open", "close"]


async def test_bugs_and_errors_of_other_kinds_pass_through() -> None:
    inner = ScriptedProvider()

    def broken(request: ModelRequest) -> str:
        raise LookupError("a bug")

    inner.respond(broken)
    with pytest.raises(LookupError):
        await _told(_quick(inner, []))


async def test_the_rest_is_the_inner_providers() -> None:
    wrapped = Retrying(_Bare())
    assert wrapped.name == "bare"
    assert wrapped.caps("x") == ModelCaps()
    assert await wrapped.count(ASK) == 7
    assert await wrapped.models() == []
    assert issubclass(Truncated, ProviderFailure)
