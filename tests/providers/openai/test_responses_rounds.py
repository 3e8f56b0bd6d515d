"""What goes out and comes back over several rounds, through the real SDK over HTTP."""

from __future__ import annotations

from typing import Any

from bamboo_mcp.domain.messages import (
    ImageBlock,
    Message,
    OpaqueBlock,
    ReasoningBlock,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
    user_message,
)
from bamboo_mcp.domain.stream import Stop, TextChunk, ToolCallChunk
from bamboo_mcp.testing.fake_llm.server import FakeCall, FakeReply
from tests.providers.openai.responses_at import MODEL, a_request, ask, openai_and_fake, read


def _thought(text: str, number: int = 1) -> ReasoningBlock:
    raw = {
        "id": f"rs_{number}",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": text}],
        "encrypted_content": f"ENC{number}",
    }
    return ReasoningBlock(text=text, ext={"openai": raw})


async def test_two_rounds_of_parallel_tools_with_an_image_replay_the_reasoning_verbatim() -> None:
    async with openai_and_fake() as (provider, server):
        calls = (
            FakeCall(id="call_1", name="look", args={"path": "ä b"}),
            FakeCall(id="call_2", name="draw", raw_json=""),
        )
        server.reply(FakeReply(thinking="I must look.", signature="ENC", text="Ok.", calls=calls))
        server.reply(FakeReply(text="It is a cat."))
        history = [user_message("what is it?")]
        first = await ask(provider, a_request(history, system="Be brief."))
        assert first.reason == "tool_use"
        assert [call.name for call in first.message.tool_calls] == ["look", "draw"]
        assert first.message.tool_calls[1].arguments_json == "{}"
        history.append(first.message)
        image = ImageBlock(media_type="image/png", data_b64="aGk=")
        results = (
            ToolResultBlock(call_id="call_1", content=(TextBlock(text="cat.png"),)),
            ToolResultBlock(call_id="call_2", content=(TextBlock(text="see"), image)),
        )
        history.append(Message(role="user", blocks=results))
        history.append(user_message("quickly, please"))
        second = await ask(provider, a_request(history, system="Be brief."))
        assert second.message.text == "It is a cat."
        assert second.reason == "end"
        before, body = (seen.body for seen in server.requests)
    assert body["input"] == [
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "what is it?"}],
        },
        {
            "id": "rs_0",
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "I must look."}],
            "encrypted_content": "ENC",
        },
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Ok.", "annotations": []}],
        },
        {
            "type": "function_call",
            "call_id": "call_1",
            "name": "look",
            "arguments": '{"path":"ä b"}',
        },
        {"type": "function_call", "call_id": "call_2", "name": "draw", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "cat.png"},
        {
            "type": "function_call_output",
            "call_id": "call_2",
            "output": [
                {"type": "input_text", "text": "see"},
                {
                    "type": "input_image",
                    "image_url": "data:image/png;base64,aGk=",
                    "detail": "auto",
                },
            ],
        },
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "quickly, please"}],
        },
    ]
    assert body["instructions"] == before["instructions"] == "Be brief."
    assert body["tools"] == before["tools"]
    assert body["prompt_cache_key"] == before["prompt_cache_key"] == "c1"


async def test_own_reasoning_keeps_its_place_between_the_items_it_led_to() -> None:
    blocks = (
        _thought("a", 1),
        TextBlock(text="Looking."),
        _thought("b", 2),
        _thought("c", 3),
        ToolCallBlock(id="call_1", name="look"),
        ToolCallBlock(id="call_2", name="draw"),
    )
    results = tuple(ToolResultBlock(call_id=f"call_{n}") for n in (1, 2))
    history = [
        user_message("a"),
        Message(role="assistant", blocks=blocks, origin=f"openai:{MODEL}"),
        Message(role="user", blocks=results),
    ]
    async with openai_and_fake() as (provider, server):
        server.reply(FakeReply(text="ok"))
        await ask(provider, a_request(history))
        sent = server.requests[0].body["input"]
    assert [item.get("encrypted_content") or item["type"] for item in sent[1:]] == [
        *("ENC1", "message", "ENC2", "ENC3", "function_call", "function_call"),
        *("function_call_output", "function_call_output"),
    ]
    assert sent[1] == blocks[0].ext["openai"]


async def test_the_reasoning_of_others_never_leaves_and_that_of_a_snapshot_does() -> None:
    opaque = OpaqueBlock(provider="openai", raw={"type": "compaction", "encrypted_content": "C"})
    foreign = ReasoningBlock(text="x", ext={"anthropic": {"type": "thinking", "signature": "S"}})

    def said(origin: str) -> Message:
        blocks = (_thought("x"), foreign, opaque, TextBlock(text="b"))
        return Message(role="assistant", blocks=blocks, origin=origin)

    origins = [
        f"openai:{MODEL}",
        f"openai:{MODEL}-2026-10-01",
        "openai:gpt-6-luna",
        f"work:{MODEL}",
        "anthropic:claude-opus-5-5",
        "",
    ]
    async with openai_and_fake() as (provider, server):
        for origin in origins:
            server.reply(FakeReply(text="ok"))
            history = [user_message("a"), said(origin), user_message("next")]
            await ask(provider, a_request(history, conversation=""))
        sent = [seen.body["input"][1:-1] for seen in server.requests]
    assert [[item["type"] for item in items] for items in sent] == [
        *[["reasoning", "compaction", "message"]] * 2,
        *[["message"]] * 4,
    ]
    assert sent[0][1] == opaque.raw
    assert "signature" not in str(sent)


async def test_a_thought_that_led_to_nothing_or_that_cannot_be_read_is_left_out() -> None:
    origin = f"openai:{MODEL}"
    raw = dict(_thought("").ext["openai"])
    lost = ReasoningBlock(text="x", ext={"openai": {**raw, "encrypted_content": None}})
    nulls = ReasoningBlock(text="x", ext={"openai": {**raw, "content": None, "status": None}})

    def said(*blocks: Any) -> Message:
        return Message(role="assistant", blocks=blocks, origin=origin)

    history = [
        user_message("a"),
        said(_thought("cut")),
        user_message("b"),
        said(TextBlock(text="so"), _thought("1", 1), _thought("2", 2)),
        user_message("c"),
        said(_thought("1"), TextBlock(text=" \n")),
        user_message(""),
        said(lost, TextBlock(text="lost")),
        user_message("d"),
        said(nulls, TextBlock(text="nulls")),
        user_message("e"),
    ]
    async with openai_and_fake() as (provider, server):
        server.reply(FakeReply(text="ok"))
        await ask(provider, a_request(history))
        sent = server.requests[0].body["input"]
    texts = [item["content"][0]["text"] if "content" in item else item["type"] for item in sent]
    assert texts == ["a", "b", "so", "c", "lost", "d", "reasoning", "nulls", "e"]
    assert sent[6] == raw


async def test_an_unknown_item_goes_back_as_it_came_and_unknown_events_are_passed_over() -> None:
    poem = {
        "type": "item_of_tomorrow",
        "id": "it_1",
        "payload": {"deep": [1, None, {"x": 2.5}]},
        "content": "not a list",
        "summary": 7,
    }
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"q": 1}}
    events: tuple[dict[str, Any], ...] = (
        {"type": "response.event_of_tomorrow", "output_index": 0, "delta": {"a": 1}},
        {"type": "response.queued", "response": {}},
        {"type": "response.output_text.annotation.added", "output_index": 2, "annotation": {}},
    )
    async with openai_and_fake() as (provider, server):
        reply = FakeReply(thinking="hm", blocks=(search, poem), text="So.", extra_events=events)
        server.reply(reply, FakeReply(text="ok"))
        history = [user_message("a")]
        first = await ask(provider, a_request(history))
        kinds = [type(block) for block in first.message.blocks]
        assert kinds == [ReasoningBlock, OpaqueBlock, OpaqueBlock, TextBlock]
        history += [first.message, user_message("b")]
        await ask(provider, a_request(history))
        sent = server.requests[1].body["input"]
    assert sent[2:4] == [search, poem]


async def test_the_phase_and_the_citations_of_a_message_go_back_with_it_and_ids_do_not() -> None:
    link = {
        "type": "url_citation",
        "url": "https://example.org",
        "title": "E",
        "start_index": 0,
        "end_index": 1,
    }
    part = {"type": "output_text", "text": "As said.", "annotations": [link], "logprobs": []}
    message = {"type": "message", "role": "assistant", "status": "completed", "id": "msg_9"}
    plain = {**message, "content": [{**part, "annotations": []}], "phase": "commentary"}
    cited = {**message, "content": [part, {**part, "text": " Twice."}]}
    async with openai_and_fake() as (provider, server):
        server.reply(FakeReply(blocks=(plain, cited)), FakeReply(text="ok"), FakeReply(text="ok"))
        chunks = await read(provider, a_request([user_message("a")]))
        stop = chunks[-1]
        assert isinstance(stop, Stop)
        shown = "".join(c.text for c in chunks if isinstance(c, TextChunk))
        assert shown == stop.message.text == "As said.As said. Twice."
        history = [user_message("a"), stop.message, user_message("b")]
        await ask(provider, a_request(history))
        await ask(provider, a_request(history, model="gpt-6-luna"))
        own, other = (seen.body["input"][1:3] for seen in server.requests[1:])
    content = [{"type": "output_text", "text": "As said.", "annotations": []}]
    assert own[0] == {
        "type": "message",
        "role": "assistant",
        "content": content,
        "phase": "commentary",
    }
    assert own[1] == {"type": "message", "role": "assistant", "content": cited["content"]}
    assert other[0] == {"type": "message", "role": "assistant", "content": content}
    assert "url_citation" not in str(other)


async def test_what_else_a_call_carries_goes_back_to_its_own_model_only() -> None:
    call = {
        "type": "function_call",
        "id": "fc_9",
        "status": "completed",
        "call_id": "call_9",
        "name": "look",
        "arguments": "{}",
        "namespace": "files",
        "caller": None,
    }
    async with openai_and_fake() as (provider, server):
        server.reply(FakeReply(blocks=(call,)), FakeReply(text="ok"), FakeReply(text="ok"))
        chunks = await read(provider, a_request([user_message("a")]))
        stop = chunks[-1]
        assert isinstance(stop, Stop)
        assert stop.reason == "tool_use"
        pieces = [c for c in chunks if isinstance(c, ToolCallChunk)]
        assert (pieces[0].id, pieces[0].name) == ("call_9", "look")
        assert "".join(c.arguments_json for c in pieces) == "{}"
        results = (ToolResultBlock(call_id="call_9"),)
        history = [user_message("a"), stop.message, Message(role="user", blocks=results)]
        await ask(provider, a_request(history))
        await ask(provider, a_request(history, model="gpt-6-luna"))
        own, other = (seen.body["input"][1] for seen in server.requests[1:])
    plain = {"type": "function_call", "call_id": "call_9", "name": "look", "arguments": "{}"}
    assert own == {**plain, "namespace": "files"}
    assert other == plain


async def test_an_answer_cut_off_while_thinking_can_be_gone_on_from() -> None:
    async with openai_and_fake() as (provider, server):
        server.reply(FakeReply(thinking="long", stop="max_output_tokens"), FakeReply(text="ok"))
        history = [user_message("a")]
        first = await ask(provider, a_request(history))
        assert first.reason == "max_tokens"
        history += [first.message, user_message("go on")]
        await ask(provider, a_request(history))
        sent = server.requests[1].body["input"]
    assert [item["type"] for item in sent] == ["message", "message"]
