"""What a request says, through the real SDK over HTTP."""

from __future__ import annotations

from typing import Any

from bamboo_mcp.domain.messages import (
    ImageBlock,
    Message,
    RawBlock,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
    user_message,
)
from bamboo_mcp.domain.models import Effort
from bamboo_mcp.testing.fake_llm.server import FakeReply
from tests.providers.openai.responses_at import MODEL, a_request, ask, openai_and_fake


async def test_results_of_other_kinds_are_told_in_words_and_errors_by_their_first_word() -> None:
    content = (
        RawBlock(raw={"type": "resource_link", "name": "log", "uri": "file:///a.log"}),
        RawBlock(raw={"type": "resource", "resource": {"uri": "x:1", "text": "inside"}}),
        ImageBlock(media_type="image/svg+xml", data_b64="AA"),
        ImageBlock(media_type="image/png", url="https://example.org/a.png"),
        TextBlock(text=""),
    )
    answers: list[tuple[Any, ...]] = [
        content,
        (TextBlock(text="no such file"),),
        (TextBlock(text="Error: no such file"),),
        (),
        (ImageBlock(media_type="image/png", data_b64="AA"),),
        (TextBlock(text="a"), TextBlock(text="b")),
    ]
    calls = tuple(ToolCallBlock(id=f"c{n}", name="look") for n in range(6))
    results = tuple(
        ToolResultBlock(call_id=f"c{n}", content=content, is_error=0 < n < 5)
        for n, content in enumerate(answers)
    )
    history = [
        user_message("a"),
        Message(role="assistant", blocks=calls, origin="anthropic:claude-opus-5-5"),
        Message(role="user", blocks=results),
    ]
    async with openai_and_fake() as (provider, server):
        server.reply(FakeReply(text="ok"))
        await ask(provider, a_request(history))
        sent = [item["output"] for item in server.requests[0].body["input"][7:]]
    assert [part.get("text") or part["image_url"] for part in sent[0]] == [
        "[resource_link log file:///a.log]",
        "inside",
        "[an image of type image/svg+xml, not shown]",
        "https://example.org/a.png",
    ]
    assert sent[1:4] == [
        "Error: no such file",
        "Error: no such file",
        "Error: the tool said nothing",
    ]
    assert [part["type"] for part in sent[4]] == ["input_text", "input_image"]
    assert sent[4][0]["text"] == "Error:"
    assert sent[5] == "a\nb"


async def test_ids_of_other_vendors_are_made_to_fit_the_same_for_call_and_result() -> None:
    ids = ["toolu_01AbC-9", "fc:1/2", "fc_1_2", "x" * 200, "x" * 201, ""]
    calls = tuple(ToolCallBlock(id=call_id, name="look") for call_id in ids)
    results = tuple(ToolResultBlock(call_id=call_id) for call_id in ids)
    history = [
        user_message("a"),
        Message(role="assistant", blocks=calls),
        Message(role="user", blocks=results),
    ]
    async with openai_and_fake() as (provider, server):
        server.reply(FakeReply(text="ok"))
        await ask(provider, a_request(history))
        sent = [item["call_id"] for item in server.requests[0].body["input"][1:]]
    assert sent[:6] == sent[6:]
    assert len(set(sent)) == 6
    assert sent[0] == ids[0]
    assert sent[2] == ids[2]
    assert all(0 < len(call_id) <= 64 for call_id in sent)


async def test_images_of_the_user_and_system_messages_in_the_middle_go_out() -> None:
    image = ImageBlock(media_type="image/webp", data_b64="aGk=")
    history = [
        Message(role="user", blocks=(TextBlock(text="see"), image)),
        Message(role="system", blocks=(TextBlock(text="Two rounds are left."),)),
        Message(role="system", blocks=(TextBlock(text=" "),)),
    ]
    async with openai_and_fake() as (provider, server):
        server.reply(FakeReply(text="ok"))
        await ask(provider, a_request(history))
        sent = server.requests[0].body["input"]
    assert sent[0]["content"][1]["image_url"] == "data:image/webp;base64,aGk="
    assert sent[1:] == [
        {
            "type": "message",
            "role": "system",
            "content": [{"type": "input_text", "text": "Two rounds are left."}],
        }
    ]


async def test_the_request_keeps_nothing_there_and_asks_for_what_the_model_knows() -> None:
    async with openai_and_fake() as (provider, server):
        for _ in range(5):
            server.reply(FakeReply(text="ok"))
        ask_for: list[tuple[str, Effort | None]] = [
            ("gpt-6-astra", "none"),
            (MODEL, "none"),
            (MODEL, None),
            ("gpt-of-tomorrow", "high"),
            ("gpt-4.1", "high"),
        ]
        for model, effort in ask_for:
            request = a_request(
                [user_message("a")], model=model, effort=effort, tools=(), conversation=""
            )
            await ask(provider, request)
        astra, off, default, unknown, old = (seen.body for seen in server.requests)
    assert astra["reasoning"] == {"effort": "low", "summary": "auto"}
    assert off["reasoning"] == {"effort": "none"}
    assert default["reasoning"] == {"summary": "auto"}
    assert not {"reasoning"} & (unknown.keys() | old.keys())
    assert unknown["include"] == ["reasoning.encrypted_content"]
    assert "include" not in old
    for body in (astra, off, default, unknown, old):
        assert (body["store"], body["stream"], body["truncation"]) == (False, True, "disabled")
        unwanted = {"temperature", "top_p", "tools", "parallel_tool_calls", "tool_choice"}
        assert not unwanted & body.keys()
        assert not {"max_output_tokens", "prompt_cache_key", "instructions"} & body.keys()


async def test_a_last_round_without_tools_still_shows_the_same_tools() -> None:
    async with openai_and_fake() as (provider, server):
        server.reply(FakeReply(text="ok"))
        request = a_request([user_message("a")], tool_choice="none", max_output=3)
        await ask(provider, request)
        body = server.requests[0].body
    assert body["tool_choice"] == "none"
    assert body["parallel_tool_calls"] is True
    assert body["max_output_tokens"] == 16, "the service takes no less"
    assert body["tools"][1] == {
        "type": "function",
        "name": "draw",
        "description": "",
        "parameters": {"type": "object", "properties": {}},
        "strict": False,
    }
