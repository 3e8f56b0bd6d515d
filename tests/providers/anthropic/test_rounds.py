"""What goes out and comes back over several rounds, through the real SDK over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from bamboo_mcp.domain.messages import (
    ImageBlock,
    Message,
    OpaqueBlock,
    RawBlock,
    ReasoningBlock,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
    user_message,
)
from bamboo_mcp.domain.models import Effort, ModelRequest
from bamboo_mcp.domain.stream import Chunk, ReasoningChunk, TextChunk
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.testing.fake_llm.server import FakeCall, FakeReply
from tests.providers.anthropic.at import MODEL, anthropic_and_fake, ask

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

TOOLS = (
    ToolSpec(name="look", description="Look at a file."),
    ToolSpec(name="draw", description=""),
)


def _request(messages: list[Message], **more: Any) -> ModelRequest:
    fields: dict[str, Any] = {"model": MODEL, "tools": TOOLS, "conversation": "c1", **more}
    return ModelRequest(messages=messages, **fields)


async def test_two_rounds_of_parallel_tools_with_an_image_replay_the_thinking_verbatim() -> None:
    async with anthropic_and_fake() as (provider, server):
        calls = (
            FakeCall(id="call_1", name="look", args={"path": "ä b"}),
            FakeCall(id="call_2", name="draw", raw_json=""),
        )
        server.reply(FakeReply(thinking="I must look.", signature="SIG", text="Ok.", calls=calls))
        server.reply(FakeReply(text="It is a cat."))
        history = [user_message("what is it?")]
        first = await ask(provider, _request(history, system="Be brief."))
        assert first.reason == "tool_use"
        assert [call.name for call in first.message.tool_calls] == ["look", "draw"]
        assert first.message.tool_calls[1].arguments_json == "{}"
        history.append(first.message)
        history.append(
            Message(
                role="user",
                blocks=(
                    ToolResultBlock(call_id="call_1", content=(TextBlock(text="cat.png"),)),
                    ToolResultBlock(
                        call_id="call_2",
                        content=(ImageBlock(media_type="image/png", data_b64="aGk="),),
                        is_error=True,
                    ),
                ),
            )
        )
        history.append(user_message("quickly, please"))
        second = await ask(provider, _request(history, system="Be brief."))
        assert second.message.text == "It is a cat."
        body = server.requests[1].body
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "what is it?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "I must look.", "signature": "SIG"},
                {"type": "text", "text": "Ok."},
                {"type": "tool_use", "id": "call_1", "name": "look", "input": {"path": "ä b"}},
                {"type": "tool_use", "id": "call_2", "name": "draw", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "call_1",
                    "content": [{"type": "text", "text": "cat.png"}],
                },
                {
                    "type": "tool_result",
                    "tool_use_id": "call_2",
                    "content": [
                        {"type": "text", "text": "Error:"},
                        {
                            "type": "image",
                            "source": {
                                "type": "base64",
                                "media_type": "image/png",
                                "data": "aGk=",
                            },
                        },
                    ],
                },
                {"type": "text", "text": "quickly, please"},
            ],
        },
    ]
    before = server.requests[0].body
    assert body["system"] == before["system"] == "Be brief."
    assert body["tools"] == before["tools"]
    assert [tool["name"] for tool in body["tools"]] == ["look", "draw"]


async def test_thinking_streams_as_reasoning_and_text_as_text() -> None:
    async with anthropic_and_fake() as (provider, server):
        server.reply(FakeReply(thinking="first this, then that", text="Done, all of it."))
        seen: list[Chunk] = []
        async with provider.stream(_request([user_message("go")])) as chunks:
            seen.extend([chunk async for chunk in chunks])
    thought = [chunk.text for chunk in seen if isinstance(chunk, ReasoningChunk)]
    said = [chunk.text for chunk in seen if isinstance(chunk, TextChunk)]
    assert "".join(thought) == "first this, then that"
    assert "".join(said) == "Done, all of it."
    assert len(said) > 1


async def test_the_reasoning_of_others_is_dropped_and_that_of_a_snapshot_kept() -> None:
    raw = {"type": "thinking", "thinking": "x", "signature": "S"}

    def said(origin: str) -> Message:
        thought = ReasoningBlock(text="x", ext={"anthropic": raw})
        opaque = OpaqueBlock(provider="anthropic", raw={"type": "server_thing", "n": 1})
        return Message(
            role="assistant", blocks=(thought, opaque, TextBlock(text="b")), origin=origin
        )

    origins = [
        f"anthropic:{MODEL}-20261001",
        f"anthropic:{MODEL}",
        "anthropic:claude-sonnet-5-5",
        f"work:{MODEL}",
        "openai:gpt-6-sol",
        "",
    ]
    history = [user_message("a")]
    for origin in origins:
        history += [said(origin), user_message("next")]
    async with anthropic_and_fake() as (provider, server):
        server.reply(FakeReply(text="ok"))
        await ask(provider, _request(history))
        sent = [m["content"] for m in server.requests[0].body["messages"] if m["role"] != "user"]
    assert [len(content) for content in sent] == [3, 3, 1, 1, 1, 1]
    assert sent[0][0] == raw
    assert sent[0][1] == {"type": "server_thing", "n": 1}


async def test_an_unknown_block_and_a_redacted_thought_go_back_as_they_came() -> None:
    unknown = {"type": "block_of_tomorrow", "payload": {"deep": [1, 2]}, "text": "not ours"}
    redacted = {"type": "redacted_thinking", "data": "ENCRYPTED"}
    async with anthropic_and_fake() as (provider, server):
        server.reply(FakeReply(blocks=(redacted, unknown), text="Seen."), FakeReply(text="ok"))
        history = [user_message("a")]
        first = await ask(provider, _request(history))
        assert first.message.text == "Seen."
        assert isinstance(first.message.blocks[0], ReasoningBlock)
        assert first.message.blocks[0].redacted
        history += [first.message, user_message("b")]
        await ask(provider, _request(history))
        sent = server.requests[1].body["messages"][1]["content"]
    assert sent == [redacted, unknown, {"type": "text", "text": "Seen."}]


async def test_deltas_of_a_block_of_tomorrow_are_collected() -> None:
    events: tuple[dict[str, Any], ...] = (
        {"type": "event_of_tomorrow", "x": 1},
        {"type": "content_block_start", "index": 5, "content_block": {"type": "poem", "verse": ""}},
        {"type": "content_block_delta", "index": 5, "delta": {"type": "verse_d", "verse": "ro"}},
        {"type": "content_block_delta", "index": 5, "delta": {"type": "verse_d", "verse": "ses"}},
        {"type": "content_block_delta", "index": 99, "delta": {"type": "verse_d", "verse": "?"}},
        {"type": "content_block_stop", "index": 5},
        {"type": "content_block_stop", "index": 99},
    )
    async with anthropic_and_fake() as (provider, server):
        server.reply(FakeReply(text="So:", extra_events=events))
        stop = await ask(provider, _request([user_message("a")]))
    block = stop.message.blocks[1]
    assert isinstance(block, OpaqueBlock)
    assert block.raw == {"type": "poem", "verse": "roses"}


async def test_usage_counts_the_cached_parts_as_input() -> None:
    usage = {
        "input_tokens": 25,
        "cache_creation_input_tokens": 100,
        "cache_read_input_tokens": 2000,
        "output_tokens": 77,
    }
    async with anthropic_and_fake() as (provider, server):
        server.reply(FakeReply(text="ok", usage=usage))
        stop = await ask(provider, _request([user_message("a")]))
    assert stop.usage == Usage(input=2125, output=77, cache_read=2000, cache_write=100)
    assert stop.response_id == "msg_fake"


async def test_a_refusal_and_an_unknown_stop_are_told() -> None:
    async with anthropic_and_fake() as (provider, server):
        server.reply(FakeReply(text="no", stop="refusal"), FakeReply(text="x", stop="new_reason"))
        refused = await ask(provider, _request([user_message("a")]))
        odd = await ask(provider, _request([user_message("a")]))
    assert refused.reason == "refusal"
    assert (odd.reason, odd.detail) == ("end", "new_reason")


async def test_the_request_asks_for_visible_thinking_effort_and_caching_and_no_temperature() -> (
    None
):
    async with anthropic_and_fake() as (provider, server):
        for _ in range(4):
            server.reply(FakeReply(text="ok"))
        await ask(provider, _request([user_message("a")], effort="minimal"))
        plain = _request([user_message("a")], model="claude-of-tomorrow", max_output=99)
        await ask(provider, plain)
        await ask(provider, _request([user_message("a")], model="claude-haiku-5-5", effort="none"))
        last = _request([user_message("a")], model="claude-sonnet-5-5", effort="none")
        await ask(provider, last)
        opus, unknown, haiku, sonnet = (seen.body for seen in server.requests)
    assert opus["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert opus["output_config"] == {"effort": "low"}
    assert opus["max_tokens"] == 128_000
    assert opus["cache_control"] == {"type": "ephemeral", "ttl": "5m"}
    assert not {"temperature", "top_p", "top_k", "tool_choice"} & opus.keys()
    assert unknown["max_tokens"] == 99
    assert not {"thinking", "output_config"} & unknown.keys()
    assert haiku["thinking"] == {"type": "disabled"}
    assert sonnet["thinking"] == {"type": "between_tools"}


async def test_an_effort_is_never_sent_to_a_model_that_knows_none() -> None:
    efforts: tuple[Effort, ...] = ("none", "high", "max")
    async with anthropic_and_fake() as (provider, server):
        for effort in efforts:
            server.reply(FakeReply(text="ok"))
            request = _request([user_message("a")], model="claude-haiku-4-5", effort=effort)
            await ask(provider, request)
        assert all(not {"thinking", "output_config"} & seen.body.keys() for seen in server.requests)


async def test_a_last_round_without_tools_still_shows_the_same_tools() -> None:
    async with anthropic_and_fake() as (provider, server):
        server.reply(FakeReply(text="ok"))
        await ask(provider, _request([user_message("a")], tool_choice="none"))
        body = server.requests[0].body
    assert body["tool_choice"] == {"type": "none"}
    assert len(body["tools"]) == 2


async def test_system_messages_in_the_middle_go_as_system_text() -> None:
    history = [
        user_message("a"),
        Message(role="assistant", blocks=(TextBlock(text="b"),)),
        user_message("c"),
        Message(role="system", blocks=(TextBlock(text="Two rounds are left."),)),
    ]
    async with anthropic_and_fake() as (provider, server):
        server.reply(FakeReply(text="ok"))
        await ask(provider, _request(history))
        sent = server.requests[0].body["messages"]
    assert sent[-1] == {
        "role": "system",
        "content": [{"type": "text", "text": "Two rounds are left."}],
    }


async def test_nothing_that_the_service_refuses_as_empty_is_sent() -> None:
    thought = ReasoningBlock(
        text="cut", ext={"anthropic": {"type": "thinking", "thinking": "cut", "signature": "s"}}
    )
    origin = f"anthropic:{MODEL}"
    history = [
        user_message("a"),
        Message(role="assistant", blocks=(TextBlock(text="  \n"),), origin=origin),
        Message(role="assistant", blocks=(thought,), origin=origin),
        user_message(""),
        user_message("b"),
        Message(role="assistant", blocks=(TextBlock(text="so"), thought), origin=origin),
        user_message("c"),
    ]
    async with anthropic_and_fake() as (provider, server):
        server.reply(FakeReply(text="ok"))
        await ask(provider, _request(history))
        sent = server.requests[0].body["messages"]
    assert [(m["role"], [b["text"] for b in m["content"]]) for m in sent] == [
        ("user", ["a", "b"]),
        ("assistant", ["so"]),
        ("user", ["c"]),
    ]


async def test_results_of_other_kinds_are_told_in_words() -> None:
    call = ToolCallBlock(id="fc:1/2", name="look")
    content = (
        RawBlock(raw={"type": "resource_link", "name": "log", "uri": "file:///a.log"}),
        RawBlock(raw={"type": "resource", "resource": {"uri": "x:1", "text": "inside"}}),
        RawBlock(raw={"type": "audio", "mimeType": "audio/wav", "data": "AAAA"}),
        ImageBlock(media_type="image/svg+xml", data_b64="AA"),
        ImageBlock(media_type="image/png", url="https://example.org/a.png"),
        TextBlock(text=""),
    )
    history = [
        user_message("a"),
        Message(role="assistant", blocks=(call,), origin="openai:gpt-6-sol"),
        Message(role="user", blocks=(ToolResultBlock(call_id="fc:1/2", content=content),)),
    ]
    async with anthropic_and_fake() as (provider, server):
        server.reply(FakeReply(text="ok"))
        await ask(provider, _request(history))
        sent = server.requests[0].body["messages"]
    result = sent[2]["content"][0]
    assert sent[1]["content"][0]["id"] == result["tool_use_id"]
    assert result["tool_use_id"].startswith("fc_1_2_")
    assert [block.get("text") or block["source"]["type"] for block in result["content"]] == [
        "[resource_link log file:///a.log]",
        "inside",
        "[audio audio/wav]",
        "[an image of type image/svg+xml, not shown]",
        "url",
    ]
