"""What goes out and comes back over several rounds, through the real SDK over HTTP."""

from __future__ import annotations

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
from bamboo_mcp.domain.models import ModelFacts
from bamboo_mcp.domain.stream import ReasoningChunk, TextChunk
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.testing.fake_llm.chat import ChatDialect
from bamboo_mcp.testing.fake_llm.server import FakeCall, FakeReply
from tests.providers.openai.chat_at import MODEL, ask, chat_and_fake, read, request

PNG = ImageBlock(media_type="image/png", data_b64="aGk=")
SHOWN = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}


def _results(*blocks: ToolResultBlock) -> Message:
    return Message(role="user", blocks=blocks)


def _said(*blocks: TextBlock | ReasoningBlock | ToolCallBlock, origin: str = "") -> Message:
    return Message(role="assistant", blocks=blocks, origin=origin)


async def test_two_rounds_of_parallel_tools_with_an_image_go_out_as_the_api_wants_them() -> None:
    async with chat_and_fake() as (provider, server):
        calls = (
            FakeCall(id="call_1", name="look", raw_json='{ "path":"ä b" }'),
            FakeCall(id="call_2", name="draw", raw_json=""),
        )
        server.reply(FakeReply(thinking="I must look.", text="Ok.", calls=calls))
        server.reply(FakeReply(text="It is a cat."))
        history = [user_message("what is it?")]
        first = await ask(provider, request(history, system="Be brief."))
        assert first.reason == "tool_use"
        assert [call.name for call in first.message.tool_calls] == ["look", "draw"]
        assert first.message.tool_calls[1].arguments_json == "{}"
        history.append(first.message)
        history.append(
            _results(
                ToolResultBlock(call_id="call_1", content=(TextBlock(text="cat.png"), PNG)),
                ToolResultBlock(call_id="call_2", content=(TextBlock(text="no"),), is_error=True),
            )
        )
        history.append(user_message("quickly, please"))
        second = await ask(provider, request(history, system="Be brief."))
        assert second.message.text == "It is a cat."
        assert second.reason == "end"
        before, body = (seen.body for seen in server.requests)
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "what is it?"},
        {
            "role": "assistant",
            "content": "Ok.",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{ "path":"ä b" }'},
                },
                {
                    "id": "call_2",
                    "type": "function",
                    "function": {"name": "draw", "arguments": "{}"},
                },
            ],
        },
        {
            "role": "tool",
            "tool_call_id": "call_1",
            "content": "cat.png\n[an image, shown below]",
        },
        {"role": "tool", "tool_call_id": "call_2", "content": "Error: no"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Shown by the tool look (call call_1):"},
                SHOWN,
                {"type": "text", "text": "quickly, please"},
            ],
        },
    ]
    assert body["tools"] == before["tools"]
    assert [tool["function"]["name"] for tool in body["tools"]] == ["look", "draw"]
    assert body["stream_options"] == {"include_usage": True}
    unsent = {"max_tokens", "reasoning_effort", "parallel_tool_calls", "tool_choice", "temperature"}
    assert not unsent & body.keys()


async def test_reasoning_and_text_stream_apart() -> None:
    for field in ("reasoning_content", "reasoning"):
        async with chat_and_fake(ChatDialect(reasoning_field=field)) as (provider, server):
            server.reply(FakeReply(thinking="first this, then that", text="Done, all of it."))
            chunks = await read(provider, request([user_message("go")]))
        thought = [chunk.text for chunk in chunks if isinstance(chunk, ReasoningChunk)]
        said = [chunk.text for chunk in chunks if isinstance(chunk, TextChunk)]
        assert "".join(thought) == "first this, then that"
        assert "".join(said) == "Done, all of it."
        assert len(said) > 1


async def test_reasoning_never_goes_to_a_server_that_does_not_want_it_back() -> None:
    async with chat_and_fake() as (provider, server):
        server.reply(FakeReply(thinking="secret", text="a"), FakeReply(text="b"))
        history = [user_message("a")]
        first = await ask(provider, request(history))
        assert isinstance(first.message.blocks[0], ReasoningBlock)
        opaque = OpaqueBlock(provider="local", raw={"type": "thing"})
        odd = Message(role="assistant", blocks=(opaque,), origin=f"local:{MODEL}")
        history += [first.message, user_message("b"), odd, user_message("c")]
        await ask(provider, request(history))
        sent = server.requests[1].body["messages"]
    assert sent == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "b\n\nc"},
    ]


async def test_deepseek_gets_the_reasoning_of_its_own_calls_back_and_an_empty_one_for_others() -> (
    None
):
    async with chat_and_fake(profile="deepseek") as (provider, server):
        call = FakeCall(id="c1", name="look")
        server.reply(FakeReply(thinking="I must look.", calls=(call,)), FakeReply(text="done"))
        history = [user_message("a")]
        first = await ask(provider, request(history))
        foreign = _said(
            ReasoningBlock(text="foreign"),
            ToolCallBlock(id="c2", name="draw"),
            origin="anthropic:claude-opus-5-5",
        )
        quiet = _said(ReasoningBlock(text="mine"), TextBlock(text="b"), origin=f"local:{MODEL}")
        history += [first.message, _results(ToolResultBlock(call_id="c1"))]
        history += [foreign, _results(ToolResultBlock(call_id="c2")), quiet, user_message("more")]
        await ask(provider, request(history))
        sent = server.requests[1].body["messages"]
    spoken = [m for m in sent if m["role"] == "assistant"]
    assert [m.get("reasoning_content") for m in spoken] == ["I must look.", "", None]
    assert [m["content"] for m in sent if m["role"] == "tool"] == ["[no output]", "[no output]"]


async def test_thought_signatures_go_back_only_to_the_instance_and_family_they_came_from() -> None:
    signature = {"google": {"thought_signature": "SIG"}}
    dialect = ChatDialect(extra={"extra_content": signature}, whole_arguments=True)
    async with chat_and_fake(dialect, profile="gemini") as (provider, server):
        server.reply(FakeReply(calls=(FakeCall(id="c1", name="look"),)), FakeReply(text="ok"))
        history = [user_message("a")]
        first = await ask(provider, request(history))
        ext = first.message.tool_calls[0].ext
        assert ext == {"openai-chat": {"extra_content": signature}}
        history += [first.message, _results(ToolResultBlock(call_id="c1"))]
        for number, origin in enumerate(("other:" + MODEL, "local:llama3", ""), 2):
            call = ToolCallBlock(id=f"c{number}", name="look", ext=ext)
            history.append(_said(call, origin=origin))
            history.append(_results(ToolResultBlock(call_id=f"c{number}")))
        await ask(provider, request(history))
        sent = [m for m in server.requests[1].body["messages"] if m["role"] == "assistant"]
    extras = [m["tool_calls"][0].get("extra_content") for m in sent]
    unsigned = {"google": {"thought_signature": "skip_thought_signature_validator"}}
    assert extras == [signature, unsigned, unsigned, unsigned]


async def test_a_model_without_eyes_is_told_of_the_images_it_misses() -> None:
    blind = {MODEL: ModelFacts(images=False)}
    history = [
        Message(role="user", blocks=(TextBlock(text="see?"), PNG)),
        _said(ToolCallBlock(id="c1", name="look")),
        _results(ToolResultBlock(call_id="c1", content=(PNG,))),
    ]
    async with chat_and_fake(models=blind) as (provider, server):
        server.reply(FakeReply(text="ok"))
        await ask(provider, request(history))
        by_settings = server.requests[0].body["messages"]
    async with chat_and_fake(profile="deepseek") as (provider, server):
        server.reply(FakeReply(text="ok"))
        await ask(provider, request(history))
        by_profile = server.requests[0].body["messages"]
    left_out = "[an image of type image/png, left out: this model sees none]"
    assert [m["content"] for m in by_settings] == [f"see?\n\n{left_out}", None, left_out]
    assert by_profile[2]["content"] == left_out


async def test_results_of_other_kinds_are_told_in_words() -> None:
    content = (
        RawBlock(raw={"type": "resource_link", "name": "log", "uri": "file:///a.log"}),
        RawBlock(raw={"type": "resource", "resource": {"uri": "x:1", "text": "inside"}}),
        ImageBlock(media_type="image/svg+xml", data_b64="AA"),
        ImageBlock(media_type="image/png", url="https://example.org/a.png"),
        TextBlock(text=""),
    )
    history = [
        user_message("a"),
        _said(ToolCallBlock(id="fc:1/2", name="look"), origin="openai:gpt-6-sol"),
        _results(ToolResultBlock(call_id="fc:1/2", content=content)),
    ]
    async with chat_and_fake() as (provider, server):
        server.reply(FakeReply(text="ok"))
        await ask(provider, request(history))
        sent = server.requests[0].body["messages"]
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"]
    assert sent[2]["content"].splitlines() == [
        "[resource_link log file:///a.log]",
        "inside",
        "[an image of type image/svg+xml, not shown]",
        "[an image at https://example.org/a.png, not shown]",
    ]


async def test_an_address_of_an_image_goes_only_to_servers_that_fetch_it() -> None:
    image = ImageBlock(media_type="image/png", url="https://example.org/a.png")
    async with chat_and_fake(profile="vllm") as (provider, server):
        server.reply(FakeReply(text="ok"))
        await ask(provider, request([Message(role="user", blocks=(image,))]))
        sent = server.requests[0].body["messages"][0]["content"]
    assert sent == [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]


async def test_ids_are_made_acceptable_and_unique() -> None:
    long = "x" * 60
    calls = (
        ToolCallBlock(id="", name="look"),
        ToolCallBlock(id="", name="draw"),
        ToolCallBlock(id="same", name="look"),
        ToolCallBlock(id="same", name="look"),
        ToolCallBlock(id=long, name="look"),
    )
    results = tuple(
        ToolResultBlock(call_id=call.id, content=(TextBlock(text=str(number)),))
        for number, call in enumerate(calls)
    )
    async with chat_and_fake() as (provider, server):
        server.reply(FakeReply(text="ok"))
        await ask(provider, request([user_message("a"), _said(*calls), _results(*results)]))
        sent = server.requests[0].body["messages"]
    ids = [call["id"] for call in sent[1]["tool_calls"]]
    assert len(set(ids)) == 5
    assert all(0 < len(one) <= 40 for one in ids)
    assert [m["tool_call_id"] for m in sent[2:]] == ids
    assert [m["content"] for m in sent[2:]] == ["0", "1", "2", "3", "4"]


async def test_what_the_system_says_later_on_is_said_as_the_user() -> None:
    history = [
        user_message("a"),
        _said(TextBlock(text="b")),
        user_message("c"),
        Message(role="system", blocks=(TextBlock(text="Two rounds are left."),)),
        _said(TextBlock(text=" \n"), ReasoningBlock(text="cut")),
        user_message(""),
    ]
    async with chat_and_fake() as (provider, server):
        server.reply(FakeReply(text="ok"))
        await ask(provider, request(history, system=" "))
        sent = server.requests[0].body["messages"]
    assert sent == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c\n\nTwo rounds are left."},
    ]


async def test_usage_is_what_the_server_says_with_the_cached_part_inside_the_input() -> None:
    said = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 60},
        "completion_tokens_details": {"reasoning_tokens": 8},
    }
    hits = {"prompt_tokens": 100, "completion_tokens": 20, "prompt_cache_hit_tokens": 7}
    thoughts = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 150}
    async with chat_and_fake() as (provider, server):
        for usage in (said, hits, thoughts):
            server.reply(FakeReply(text="ok", usage=usage))
        stops = [await ask(provider, request([user_message("a")])) for _ in range(3)]
    assert stops[0].usage == Usage(input=100, output=20, cache_read=60, reasoning=8)
    assert stops[1].usage == Usage(input=100, output=20, cache_read=7)
    assert stops[2].usage == Usage(input=100, output=50)
    assert stops[0].response_id == "chatcmpl-fake"
    assert stops[0].model == MODEL


@pytest.mark.parametrize(
    ("said", "reason", "detail"),
    [
        ("length", "max_tokens", ""),
        ("content_filter", "refusal", ""),
        ("content_filter: PROHIBITED_CONTENT", "refusal", "prohibited_content"),
        ("function_call", "end", ""),
        ("model_length", "context_window", ""),
        ("STOP", "end", ""),
        ("new_reason", "end", "new_reason"),
    ],
)
async def test_the_reason_to_stop_is_told(said: str, reason: str, detail: str) -> None:
    async with chat_and_fake() as (provider, server):
        server.reply(FakeReply(text="x", stop=said))
        stop = await ask(provider, request([user_message("a")]))
    assert (stop.reason, stop.detail) == (reason, detail)


async def test_a_refusal_in_its_own_field_is_a_refusal_and_its_words_are_shown() -> None:
    async with chat_and_fake() as (provider, server):
        server.reply(FakeReply(refusal="I will not do that."))
        stop = await ask(provider, request([user_message("a")]))
    assert stop.reason == "refusal"
    assert stop.detail == stop.message.text == "I will not do that."


async def test_the_limit_goes_out_when_the_request_has_one() -> None:
    async with chat_and_fake() as (provider, server):
        server.reply(FakeReply(text="ok"))
        await ask(provider, request([user_message("a")], max_output=99))
        assert server.requests[0].body["max_tokens"] == 99


async def test_an_effort_goes_only_to_models_that_are_known_to_think() -> None:
    described = {MODEL: ModelFacts(efforts=("low", "high")), "dull": ModelFacts(efforts=())}
    sent: dict[str, list[str | None]] = {}
    for profile in ("compatible", "ollama", "openrouter", "gemini"):
        async with chat_and_fake(profile=profile, models=described) as (provider, server):
            for model in (MODEL, "unknown", "dull"):
                server.reply(FakeReply(text="ok"))
                await ask(provider, request([user_message("a")], model=model, effort="max"))
            sent[profile] = [seen.body.get("reasoning_effort") for seen in server.requests]
    assert sent == {
        "compatible": ["high", None, None],
        "ollama": ["high", None, None],
        "openrouter": ["high", "max", None],
        "gemini": ["high", "high", None],
    }


async def test_a_round_without_calls_forbids_them_in_the_way_the_server_understands() -> None:
    bodies = {}
    for profile in ("compatible", "ollama", "llama.cpp"):
        async with chat_and_fake(profile=profile) as (provider, server):
            server.reply(FakeReply(text="ok"))
            await ask(provider, request([user_message("a")], tool_choice="none"))
            bodies[profile] = server.requests[0].body
    assert bodies["compatible"]["tool_choice"] == "none"
    assert len(bodies["compatible"]["tools"]) == 2
    assert not {"tools", "tool_choice"} & bodies["ollama"].keys()
    assert bodies["llama.cpp"]["parallel_tool_calls"] is True
