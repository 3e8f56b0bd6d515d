"""A thought goes back only together with the item that it led to."""

from __future__ import annotations

from typing import Any

import pytest

from bamboo_mcp.domain.messages import (
    Message,
    ReasoningBlock,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
    user_message,
)
from bamboo_mcp.testing.fake_llm.server import FakeReply
from tests.providers.openai.responses_at import MODEL, a_request, ask, openai_and_fake

ASK = a_request([user_message("a")])


def _thought(number: int) -> dict[str, Any]:
    summary = [{"type": "summary_text", "text": f"thought {number}"}]
    return {
        "type": "reasoning",
        "id": f"rs_{number}",
        "summary": summary,
        "encrypted_content": f"ENC{number}",
    }


def _call(number: int, arguments: str = "{}") -> dict[str, Any]:
    call = {"type": "function_call", "call_id": f"c{number}", "name": "look"}
    return {**call, "arguments": arguments, "status": "completed"}


def _said(text: str, kind: str = "output_text") -> dict[str, Any]:
    part = {"type": kind, "refusal" if kind == "refusal" else "text": text}
    return {"type": "message", "role": "assistant", "content": [part]}


async def _sent_back(
    *items: dict[str, Any], stop: str = ""
) -> tuple[Message, list[dict[str, Any]]]:
    """The message of an answer of these items, and how it goes back with the next request."""
    async with openai_and_fake() as (provider, server):
        server.reply(FakeReply(blocks=items, stop=stop), FakeReply(text="ok"))
        message = (await ask(provider, ASK)).message
        results = tuple(ToolResultBlock(call_id=call.id) for call in message.tool_calls)
        history = [user_message("a"), message, Message(role="user", blocks=results)]
        await ask(provider, a_request([*history, user_message("b")], conversation=""))
        return message, server.requests[1].body["input"][1:-1]


def _names(sent: list[dict[str, Any]]) -> list[str]:
    return [item.get("encrypted_content") or item["type"] for item in sent]


def _thoughts(message: Message) -> list[str]:
    return [block.text for block in message.blocks if isinstance(block, ReasoningBlock)]


@pytest.mark.parametrize("by", ["the model", "the filter"])
async def test_a_refusal_drops_calls_from_the_middle_together_with_their_thoughts(by: str) -> None:
    last = _said("No.", "refusal" if by == "the model" else "output_text")
    message, sent = await _sent_back(
        *(_thought(1), _said("Looking."), _thought(2), _thought(3), _call(1), _call(2)),
        *(_thought(4), last),
        stop="" if by == "the model" else "content_filter",
    )
    assert not message.tool_calls
    assert _thoughts(message) == ["thought 1", "thought 4"]
    assert _names(sent) == ["ENC1", "message", "ENC4", "message"]


async def test_thoughts_before_a_refused_call_at_the_end_can_be_read_and_are_not_sent() -> None:
    message, sent = await _sent_back(_said("No.", "refusal"), _thought(1), _call(1))
    assert _thoughts(message) == ["thought 1"]
    assert _names(sent) == ["message"]


async def test_a_call_that_was_cut_takes_its_thought_along() -> None:
    whole = _call(2)
    del whole["status"]  # else the fake marks it, being the last, as cut
    message, sent = await _sent_back(
        *(_thought(1), _call(1, '{"pa'), _thought(2), whole), stop="max_output_tokens"
    )
    assert [call.id for call in message.tool_calls] == ["c2"]
    assert _names(sent) == ["ENC2", "function_call", "function_call_output"]


async def test_an_empty_message_takes_its_thought_along() -> None:
    message, sent = await _sent_back(_thought(1), _said(""), _thought(2), _said("So."))
    assert message.text == "So."
    assert _names(sent) == ["ENC2", "message"]


async def test_a_blank_message_of_the_history_takes_its_thought_along() -> None:
    thoughts = [
        ReasoningBlock(text="x", ext={"openai": _thought(number)}) for number in range(1, 4)
    ]
    blocks = (
        *(thoughts[0], thoughts[1], TextBlock(text=" \n")),
        *(thoughts[2], ToolCallBlock(id="c", name="look")),
    )
    history = [
        user_message("a"),
        Message(role="assistant", blocks=blocks, origin=f"openai:{MODEL}"),
        Message(role="user", blocks=(ToolResultBlock(call_id="c"),)),
    ]
    async with openai_and_fake() as (provider, server):
        server.reply(FakeReply(text="ok"))
        await ask(provider, a_request(history))
        sent = server.requests[0].body["input"][1:]
    assert _names(sent) == ["ENC3", "function_call", "function_call_output"]
