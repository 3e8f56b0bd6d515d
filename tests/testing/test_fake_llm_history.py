from __future__ import annotations

from typing import Any

from bamboo_mcp.domain.messages import (
    Block,
    Message,
    ReasoningBlock,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
    user_message,
)
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.testing.fake_llm.history import Histories, Turn
from bamboo_mcp.testing.fake_llm.requests import (
    anthropic_request,
    chat_request,
    responses_request,
)


def _request(*messages: Message, system: str = "") -> ModelRequest:
    return ModelRequest(model="m", messages=messages, system=system)


def _said(*blocks: Block) -> Message:
    return Message(role="assistant", blocks=blocks)


def _answered(turn: Turn, *, call_id: str = "", text: str = "") -> Turn:
    turn.call_ids = frozenset([call_id] if call_id else [])
    turn.text = text
    turn.end(True)
    return turn


def _nobody(conversation: str) -> None:
    raise AssertionError(conversation)


def test_conversations_that_begin_alike_are_told_apart_by_their_calls() -> None:
    histories = Histories(_nobody)
    hello = user_message("hello")
    first = _answered(histories.turn(_request(hello)), call_id="call_1")
    second = _answered(histories.turn(_request(hello)), call_id="call_2")
    assert first.conversation != second.conversation
    for turn, call_id in [(second, "call_2"), (first, "call_1")]:
        echo = _said(ToolCallBlock(id=call_id, name="look"))
        following = histories.turn(_request(hello, echo, user_message("more")))
        assert following.conversation == turn.conversation


def test_the_same_text_twice_goes_on_once_each() -> None:
    histories = Histories(_nobody)
    hello, echo = user_message("hello"), _said(TextBlock(text="hi"))
    began = {_answered(histories.turn(_request(hello)), text="hi").conversation for _ in range(2)}
    went_on = {
        histories.turn(_request(hello, echo, user_message("more"))).conversation for _ in range(2)
    }
    assert began == went_on
    assert len(began) == 2


def test_a_client_may_drop_reasoning_and_trim_what_it_sends_back() -> None:
    histories = Histories(_nobody)
    hello = user_message("hello")
    first = _answered(histories.turn(_request(hello)), text="hi ")
    echo = _said(ReasoningBlock(text="hm"), TextBlock(text="hi"))
    second = histories.turn(_request(hello, echo, user_message("more")))
    without = _said(TextBlock(text="hi"))
    more = (user_message("more"), _said(TextBlock(text="ok")), user_message("end"))
    third = histories.turn(_request(hello, without, *more))
    assert first.conversation == second.conversation == third.conversation


def test_a_request_whose_answer_failed_is_tried_again_in_its_conversation() -> None:
    histories = Histories(_nobody)
    request = _request(user_message("hello"))
    first = histories.turn(request)
    beside = histories.turn(request)
    assert beside.conversation != first.conversation, "nothing has failed yet"
    first.end(False)
    assert histories.turn(request).conversation == first.conversation
    assert histories.turn(request).conversation not in (first.conversation, beside.conversation)


def test_another_system_prompt_is_another_conversation() -> None:
    histories = Histories(_nobody)
    histories.turn(_request(user_message("a"), system="one")).end(False)
    assert histories.turn(_request(user_message("a"), system="two")).conversation.endswith("2")


def test_the_oldest_turns_are_forgotten_and_their_conversations_told() -> None:
    forgotten: list[str] = []
    histories = Histories(forgotten.append, most=2)
    turns = [histories.turn(_request(user_message(str(number)))) for number in range(4)]
    assert forgotten == [turn.conversation for turn in turns[:2]]


SCHEMA: dict[str, Any] = {"type": "object"}
ANTHROPIC: dict[str, Any] = {
    "model": "m",
    "max_tokens": 9,
    "system": [{"type": "text", "text": "Be kind."}],
    "tools": [{"name": "look", "input_schema": SCHEMA}],
    "messages": [
        {"role": "user", "content": "hello"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "c1", "name": "look", "input": {"n": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "c1",
                    "is_error": True,
                    "content": [
                        {"type": "text", "text": "Error: no"},
                        {
                            "type": "image",
                            "source": {
                                "type": "base64",
                                "media_type": "image/png",
                                "data": "aGk=",
                            },
                        },
                    ],
                }
            ],
        },
    ],
}
RESPONSES: dict[str, Any] = {
    "model": "m",
    "instructions": "Be kind.",
    "max_output_tokens": 9,
    "tools": [{"type": "function", "name": "look", "parameters": SCHEMA}],
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
        {"type": "reasoning", "id": "r", "summary": [{"text": "hm"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        {
            "type": "function_call",
            "call_id": "c1",
            "name": "look",
            "arguments": '{"n":1}',
        },
        {
            "type": "function_call_output",
            "call_id": "c1",
            "output": [
                {"type": "input_text", "text": "Error: no"},
                {"type": "input_image", "image_url": "data:image/png;base64,aGk="},
            ],
        },
    ],
}
CHAT: dict[str, Any] = {
    "model": "m",
    "max_tokens": 9,
    "tools": [{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}],
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "hello"},
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "hm",
            "tool_calls": [{"id": "c1", "function": {"name": "look", "arguments": '{"n":1}'}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "Error: no"},
    ],
}


def test_the_same_conversation_reads_the_same_in_all_three_apis() -> None:
    by_anthropic = anthropic_request(ANTHROPIC)
    assert responses_request(RESPONSES) == by_anthropic
    by_chat = chat_request(CHAT)
    assert by_chat.messages[:2] == by_anthropic.messages[:2]
    assert (by_chat.system, by_chat.tools) == (by_anthropic.system, by_anthropic.tools)
    [result] = by_chat.messages[2].blocks
    assert isinstance(result, ToolResultBlock)
    assert result.is_error


def test_who_repeats_a_request_that_failed_tries_again_if_it_is_the_same_and_soon() -> None:
    now = 0.0
    histories = Histories(_nobody, clock=lambda: now)
    request = _request(user_message("hello"))

    def broken(api: str) -> str:
        turn = histories.turn(request, api=api)
        turn.end(False)
        return turn.conversation

    first = broken("chat")
    assert broken("messages") != first, "another API is another client"
    assert broken("chat") == first
    now += 61
    assert broken("chat") != first, "whoever that was has given up"
