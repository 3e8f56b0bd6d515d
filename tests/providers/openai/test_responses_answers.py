"""What becomes of an answer, whole or cut short, through the real SDK over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from bamboo_mcp.domain.messages import (
    ReasoningBlock,
    TextBlock,
    ToolCallBlock,
    user_message,
)
from bamboo_mcp.domain.stream import BlockDone, ReasoningChunk, Stop, TextChunk, ToolCallChunk
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.testing.fake_llm.server import FakeCall, FakeReply
from tests.providers.openai.responses_at import MODEL, a_request, ask, openai_and_fake, read


async def test_the_encrypted_reasoning_is_taken_from_the_finished_item() -> None:
    async with openai_and_fake() as (provider, server):
        server.reply(FakeReply(thinking="first\n\nthen", signature="WHOLE", text="Done."))
        chunks = await read(provider, a_request([user_message("go")]))
    (block,) = [c.block for c in chunks if isinstance(c, BlockDone) and c.index == 0]
    assert isinstance(block, ReasoningBlock)
    assert block.ext["openai"]["encrypted_content"] == "WHOLE"
    shown = "".join(c.text for c in chunks if isinstance(c, ReasoningChunk))
    assert shown == block.text == "first\n\nthen"


async def test_reasoning_in_the_open_is_shown_and_kept() -> None:
    item = {"id": "rs_9", "type": "reasoning", "summary": []}
    whole = {**item, "content": [{"type": "reasoning_text", "text": "hm, so"}]}
    delta = {"type": "response.reasoning_text.delta", "item_id": "rs_9", "content_index": 0}
    events: tuple[dict[str, Any], ...] = (
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {**delta, "output_index": 0, "delta": "hm, "},
        {**delta, "output_index": 0, "delta": "so"},
        {"type": "response.output_item.done", "output_index": 0, "item": whole},
    )
    async with openai_and_fake() as (provider, server):
        server.reply(FakeReply(extra_events=events))
        chunks = await read(provider, a_request([user_message("go")]))
    assert [c.text for c in chunks if isinstance(c, ReasoningChunk)] == ["hm, ", "so"]
    assert isinstance(chunks[-1], Stop)
    assert chunks[-1].message.blocks == (ReasoningBlock(text="hm, so", ext={"openai": whole}),)


async def test_text_and_calls_of_a_server_that_sends_no_deltas_are_shown_all_the_same() -> None:
    message = {
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "id": "msg_1",
        "content": [{"type": "output_text", "text": "At once.", "annotations": []}],
    }
    call = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "look",
        "arguments": '{"a":1}',
    }
    events = (
        {"type": "response.output_item.done", "output_index": 0, "item": message},
        {"type": "response.output_item.done", "output_index": 1, "item": call},
    )
    async with openai_and_fake() as (provider, server):
        server.reply(FakeReply(extra_events=events))
        chunks = await read(provider, a_request([user_message("a")]))
    assert chunks[:-1] == [
        TextChunk(text="At once.", index=0),
        BlockDone(index=0, block=TextBlock(text="At once.")),
        ToolCallChunk(index=1, id="call_1", name="look"),
        ToolCallChunk(index=1, arguments_json='{"a":1}'),
        BlockDone(index=1, block=ToolCallBlock(id="call_1", name="look", arguments_json='{"a":1}')),
    ]


async def test_an_empty_message_leaves_no_block() -> None:
    empty = {"type": "message", "id": "m", "role": "assistant", "status": "completed"}
    hollow = {**empty, "content": [{"type": "output_text", "text": "", "annotations": []}]}
    async with openai_and_fake() as (provider, server):
        server.reply(FakeReply(blocks=({**empty, "content": []}, hollow)))
        chunks = await read(provider, a_request([user_message("a")]))
    assert len(chunks) == 1
    assert isinstance(chunks[0], Stop)
    assert chunks[0].message.blocks == ()


async def test_usage_has_the_cached_parts_inside_the_input() -> None:
    usage = {
        "input_tokens": 2125,
        "input_tokens_details": {"cached_tokens": 2000, "cache_write_tokens": 100},
        "output_tokens": 77,
        "output_tokens_details": {"reasoning_tokens": 60},
    }
    async with openai_and_fake() as (provider, server):
        sparse = {**usage, "input_tokens_details": None, "output_tokens_details": {}}
        server.reply(FakeReply(text="ok", usage=usage), FakeReply(text="ok", usage=sparse))
        stop = await ask(provider, a_request([user_message("a")]))
        poor = await ask(provider, a_request([user_message("a")]))
    assert stop.usage == Usage(
        input=2125, output=77, cache_read=2000, cache_write=100, reasoning=60
    )
    assert poor.usage == Usage(input=2125, output=77)
    assert stop.response_id == "resp_fake"
    assert stop.model == MODEL


async def test_a_refusal_is_shown_and_told_and_calls_beside_it_are_not_made() -> None:
    async with openai_and_fake() as (provider, server):
        call = FakeCall(id="call_1", name="look")
        server.reply(FakeReply(refusal="I cannot help with that.", calls=(call,)))
        server.reply(FakeReply(text="ok"))
        chunks = await read(provider, a_request([user_message("a")]))
        stop = chunks[-1]
        assert isinstance(stop, Stop)
        assert (stop.reason, stop.detail) == ("refusal", "I cannot help with that.")
        assert not stop.message.tool_calls
        shown = "".join(c.text for c in chunks if isinstance(c, TextChunk))
        assert shown == stop.message.text == "I cannot help with that."
        await ask(provider, a_request([user_message("a"), stop.message, user_message("b")]))
        sent = server.requests[1].body["input"][1]
    assert sent["content"] == [{"type": "refusal", "refusal": "I cannot help with that."}]


@pytest.mark.parametrize(
    ("stop", "reason", "detail"),
    [
        ("max_output_tokens", "max_tokens", ""),
        ("max_messages", "max_tokens", "max_messages"),
        ("content_filter", "refusal", "the service's content filter stopped the answer"),
    ],
)
async def test_an_incomplete_response_is_legal_and_says_why(
    stop: str, reason: str, detail: str
) -> None:
    async with openai_and_fake() as (provider, server):
        server.reply(FakeReply(text="half an ans", stop=stop, usage={"output_tokens": 9}))
        said = await ask(provider, a_request([user_message("a")]))
    assert (said.reason, said.detail) == (reason, detail)
    assert said.message.text == "half an ans"
    assert said.usage.output == 9


async def test_a_message_never_finished_is_taken_from_the_incomplete_response() -> None:
    item = {"type": "message", "id": "m", "role": "assistant", "status": "incomplete"}
    begun = {**item, "content": []}
    whole = {**item, "content": [{"type": "output_text", "text": "half", "annotations": []}]}
    delta = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0}
    response = {"id": "r", "model": MODEL, "output": [whole], "usage": None}
    why = {"incomplete_details": {"reason": "max_output_tokens"}}
    events: tuple[dict[str, Any], ...] = (
        {"type": "response.output_item.added", "output_index": 0, "item": begun},
        {**delta, "delta": "ha"},
        {**delta, "delta": "lf"},
        {"type": "response.incomplete", "response": {**response, **why}},
    )
    async with openai_and_fake() as (provider, server):
        server.reply(FakeReply(extra_events=events))
        chunks = await read(provider, a_request([user_message("a")]))
    assert [c.text for c in chunks if isinstance(c, TextChunk)] == ["ha", "lf"]
    assert isinstance(chunks[-1], Stop)
    assert chunks[-1].message.text == "half"
