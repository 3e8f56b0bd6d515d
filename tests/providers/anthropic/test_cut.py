"""Answers cut off by a limit: what came whole is kept, and half a call is never made."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from bamboo_mcp.domain.messages import TextBlock, user_message
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.stream import BlockDone, Chunk, Stop, TextChunk
from bamboo_mcp.testing.contracts.provider import simple_request
from bamboo_mcp.testing.fake_llm.server import FakeCall, FakeReply
from tests.providers.anthropic.at import MODEL, anthropic_and_fake, ask

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

ASK = simple_request(model=MODEL)
LIMITS = ("max_tokens", "model_context_window_exceeded")


async def _chunks(reply: FakeReply) -> list[Chunk]:
    async with anthropic_and_fake() as (provider, server):
        server.reply(reply)
        with anyio.fail_after(5):
            async with provider.stream(ASK) as stream:
                return [chunk async for chunk in stream]


def _stop(chunks: list[Chunk]) -> Stop:
    stop = chunks[-1]
    assert isinstance(stop, Stop)
    # A stream that is cancelled before its end keeps the same.
    assert tuple(one.block for one in chunks if isinstance(one, BlockDone)) == stop.message.blocks
    return stop


def _begun(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def _said(index: int, text: str) -> dict[str, Any]:
    delta = {"type": "text_delta", "text": text}
    return {"type": "content_block_delta", "index": index, "delta": delta}


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("raw", ["", '{"path": "a'])
async def test_a_call_cut_before_or_within_its_arguments_is_not_made(limit: str, raw: str) -> None:
    call = FakeCall(id="call_1", name="delete_all", raw_json=raw)
    stop = _stop(await _chunks(FakeReply(text="I shall", calls=(call,), stop=limit)))
    assert stop.reason in ("max_tokens", "context_window")
    assert stop.message.blocks == (TextBlock(text="I shall"),)


async def test_a_call_cut_before_any_delta_of_it_is_not_made() -> None:
    begun = _begun(0, type="tool_use", id="t", name="delete_all", input={})
    events = (begun, {"type": "content_block_stop", "index": 0})
    assert not _stop(
        await _chunks(FakeReply(extra_events=events, stop="max_tokens"))
    ).message.blocks
    left_open = FakeReply(extra_events=(begun,), stop="max_tokens")
    assert not _stop(await _chunks(left_open)).message.blocks


async def test_calls_that_are_known_to_be_whole_are_made_although_the_answer_was_cut() -> None:
    calls = (
        FakeCall(id="call_1", name="look", raw_json=""),
        FakeCall(id="call_2", name="look", raw_json="{}"),
    )
    whole = _stop(await _chunks(FakeReply(calls=calls, stop="max_tokens")))
    cut = FakeCall(id="call_3", name="look", raw_json="")
    before = _stop(await _chunks(FakeReply(calls=(*calls, cut), stop="max_tokens")))
    for stop in (whole, before):
        assert stop.reason == "max_tokens"
        assert [(call.id, call.arguments_json) for call in stop.message.tool_calls] == [
            ("call_1", "{}"),
            ("call_2", "{}"),
        ]


async def test_arguments_that_came_with_the_beginning_of_a_call_are_arguments() -> None:
    begun = _begun(0, type="tool_use", id="t", name="look", input={"path": "a"})
    events = (begun, {"type": "content_block_stop", "index": 0})
    stop = _stop(await _chunks(FakeReply(extra_events=events, stop="max_tokens")))
    assert [call.arguments_json for call in stop.message.tool_calls] == ['{"path":"a"}']


@pytest.mark.parametrize("said", ["tool_use", "end_turn"])
async def test_calls_without_parameters_are_made_when_nothing_was_cut(said: str) -> None:
    calls = tuple(FakeCall(id=f"call_{n}", name="look", raw_json="") for n in range(3))
    stop = _stop(await _chunks(FakeReply(text="So:", calls=calls, stop=said)))
    assert stop.reason == "tool_use"
    assert [call.id for call in stop.message.tool_calls] == ["call_0", "call_1", "call_2"]
    assert {call.arguments_json for call in stop.message.tool_calls} == {"{}"}


@pytest.mark.parametrize("limit", LIMITS)
async def test_text_whose_block_was_left_open_by_the_limit_is_not_lost(limit: str) -> None:
    events = (
        _begun(0, type="thinking", thinking="hm", signature=""),
        _begun(1, type="text", text=""),
        _said(1, "half an "),
        _said(1, "answer"),
        _begun(2, type="text", text=""),
        _begun(3, type="tool_use", id="t", name="look", input={}),
    )
    chunks = await _chunks(FakeReply(extra_events=events, stop=limit))
    stop = _stop(chunks)
    assert stop.message.blocks == (TextBlock(text="half an answer"),)
    shown = "".join(chunk.text for chunk in chunks if isinstance(chunk, TextChunk))
    assert shown == stop.message.text


async def test_after_an_answer_that_was_cut_the_conversation_goes_on() -> None:
    async with anthropic_and_fake() as (provider, server):
        call = FakeCall(id="call_1", name="look", raw_json="")
        server.reply(FakeReply(thinking="hm", text="I", calls=(call,), stop="max_tokens"))
        server.reply(FakeReply(text="ok"))
        cut = await ask(provider, ASK)
        history = [user_message("a"), cut.message, user_message("go on")]
        await ask(provider, ModelRequest(model=MODEL, messages=history))
