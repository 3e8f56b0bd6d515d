"""A server that has given its reason to stop, and then says nothing more and does not end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from openai.types.chat import ChatCompletionChunk

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.stream import Chunk, Stop
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.providers.faults import Faults
from bamboo_mcp.providers.openai.chat_fold import Fold, UntilEnd
from bamboo_mcp.providers.openai.sdk import SDK_ERRORS, Failures, make_client
from bamboo_mcp.providers.streams import folded
from bamboo_mcp.testing.fake_llm.server import FakeReply, fake_llm
from tests.providers.openai.chat_at import MODEL, PLAIN

FAULTS = Faults("local")


def _event(**fields: Any) -> ChatCompletionChunk:
    frame = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    return ChatCompletionChunk.model_validate({**frame, "choices": [], **fields})


def _said(text: str, finish: str | None = None) -> ChatCompletionChunk:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return _event(choices=[choice])


USAGE = _event(usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10})


async def _then_silence(
    *events: ChatCompletionChunk, left: anyio.Event
) -> AsyncIterator[ChatCompletionChunk]:
    try:
        for event in events:
            yield event
        await anyio.sleep_forever()
    finally:
        left.set()


async def _chunks(*events: ChatCompletionChunk, left: anyio.Event) -> list[Chunk]:
    fold = Fold(FAULTS, MODEL, None)
    stream = UntilEnd(_then_silence(*events, left=left), fold, SDK_ERRORS, last_words_within_s=0.05)
    return [chunk async for chunk in folded(stream, fold, FAULTS, SDK_ERRORS, Failures(FAULTS))]


@pytest.mark.parametrize("usage", [False, True])
async def test_silence_after_the_reason_to_stop_is_an_end(usage: bool) -> None:
    left = anyio.Event()
    events = (_said("who"), _said("le", "stop"), *([USAGE] if usage else []))
    with anyio.fail_after(5):
        stop = (await _chunks(*events, left=left))[-1]
    assert isinstance(stop, Stop)
    assert (stop.message.text, stop.reason) == ("whole", "end")
    assert stop.usage == (Usage(input=7, output=3) if usage else Usage())
    assert left.is_set(), "the connection is not read any more"


async def test_silence_before_the_reason_to_stop_is_for_the_stall_timeout() -> None:
    left = anyio.Event()
    with anyio.move_on_after(0.3) as scope:
        await _chunks(_said("who"), _said("le"), left=left)
    assert scope.cancelled_caught
    assert left.is_set()


async def test_a_cancel_from_outside_stays_one_while_the_last_words_are_awaited() -> None:
    fold = Fold(FAULTS, MODEL, None)
    left = anyio.Event()
    stream = UntilEnd(_then_silence(_said("x", "stop"), left=left), fold, SDK_ERRORS)
    fold.feed(await anext(stream))
    with anyio.fail_after(5), anyio.CancelScope() as scope:
        scope.cancel()
        await anext(stream)
    assert scope.cancelled_caught
    assert left.is_set()


async def test_a_connection_of_the_sdk_is_left_with_the_answer() -> None:
    async with fake_llm(PLAIN) as server:
        config = ProviderConfig(name="local", type="", base_url=f"{server.base_url}/v1")
        server.reply(FakeReply(text="whole", fault="stall", after=3))
        async with make_client(config, stall_timeout_s=300.0, headers={}) as client:
            events = await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "go"}], stream=True
            )
            fold = Fold(FAULTS, MODEL, None)
            stream = UntilEnd(events, fold, SDK_ERRORS, last_words_within_s=0.05)
            with anyio.fail_after(5):
                async with events:
                    chunks = folded(stream, fold, FAULTS, SDK_ERRORS, Failures(FAULTS))
                    stop = [chunk async for chunk in chunks][-1]
                await server.disconnected.wait()
    assert isinstance(stop, Stop)
    assert (stop.message.text, stop.reason) == ("whole", "end")
