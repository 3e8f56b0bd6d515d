"""What the fake refuses because the real service does: a test that passes there means something."""

from __future__ import annotations

from typing import Any

import pytest

from bamboo_mcp.testing.fake_llm.responses import ResponsesDialect
from bamboo_mcp.testing.fake_llm.server import Seen

USER = {"role": "user", "content": "hello"}
CALL = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "ok"}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "ENC"}
SAID = {
    "type": "message",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "so", "annotations": []}],
}
TOOL = {"type": "function", "name": "look", "parameters": {"properties": {}}, "strict": False}


def _refusal(items: list[Any], **fields: Any) -> str:
    body = {"model": "gpt-6-sol", "stream": True, "input": items, **fields}
    error = ResponsesDialect().refuse(
        Seen(method="POST", path="/v1/responses", headers={}, body=body)
    )
    return error.message if error is not None else ""


@pytest.mark.parametrize(
    "items",
    [
        [USER],
        [USER, SAID, USER],
        [USER, THOUGHT, SAID, USER],
        [USER, THOUGHT, CALL, OUTPUT],
        [USER, THOUGHT, {**THOUGHT, "id": "rs_2"}, CALL, OUTPUT],
        [USER, CALL, {**CALL, "call_id": "c2"}, {**OUTPUT, "call_id": "c2"}, OUTPUT],
    ],
)
def test_a_conversation_in_order_is_taken(items: list[Any]) -> None:
    assert _refusal(items) == ""


@pytest.mark.parametrize(
    ("items", "word"),
    [
        ([], "input"),
        ([USER, OUTPUT], "No tool call found"),
        ([USER, CALL, OUTPUT, OUTPUT], "No tool call found"),
        ([USER, CALL], "No tool output found"),
        ([USER, CALL, USER], "No tool output found"),
        ([USER, THOUGHT], "following item"),
        ([USER, THOUGHT, USER], "following item"),
        ([USER, CALL, THOUGHT, OUTPUT], "following item"),
        ([USER, {**THOUGHT, "encrypted_content": ""}, SAID], "not found"),
        ([USER, {**THOUGHT, "id": "msg_1"}, SAID], "begins with"),
        ([USER, {**THOUGHT, "status": None}, SAID], "null"),
        ([{"role": "user", "content": []}], "empty"),
        ([{"role": "user", "content": [{"type": "input_text", "text": ""}]}], "empty"),
        ([{"role": "user", "content": [{"type": "output_text", "text": "a"}]}], "output_text"),
        ([USER, {**CALL, "call_id": "c" * 65}], "too long"),
        ([USER, {**CALL, "name": ""}], "Missing"),
        ([USER, CALL, {**OUTPUT, "output": 7}], "output"),
    ],
)
def test_a_conversation_out_of_order_is_refused(items: list[Any], word: str) -> None:
    assert word in _refusal(items)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"temperature": 0.5}, "temperature"),
        ({"max_output_tokens": 15}, "max_output_tokens"),
        ({"prompt_cache_key": "k" * 65}, "prompt_cache_key"),
        ({"parallel_tool_calls": True}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "look"}}]}, "name"),
        ({"tools": [{**TOOL, "parameters": {"type": "object"}}]}, "properties"),
        ({"model": "gpt-4.1", "include": ["reasoning.encrypted_content"]}, "Encrypted"),
        ({"stream": False}, "streams"),
    ],
)
def test_fields_that_the_service_does_not_take_are_refused(
    fields: dict[str, Any], word: str
) -> None:
    assert word in _refusal([USER], **fields)


def test_a_temperature_is_taken_by_a_model_that_does_not_think() -> None:
    assert _refusal([USER], temperature=0.5, reasoning={"effort": "none"}) == ""
    assert _refusal([USER], tools=[TOOL], parallel_tool_calls=True) == ""
