"""What the fake refuses because the real service does: a test that passes there means something."""

from __future__ import annotations

from typing import Any

import pytest

from bamboo_mcp.testing.fake_llm.anthropic import AnthropicDialect
from bamboo_mcp.testing.fake_llm.server import Seen

CALL = {"type": "tool_use", "id": "c1", "name": "look", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "c1"}
TEXT = {"type": "text", "text": "no"}
PICTURE = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}


def _refusal(calls: list[Any], results: list[Any]) -> str:
    messages = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": calls},
        {"role": "user", "content": results},
    ]
    body = {"model": "claude-opus-5-5", "max_tokens": 9, "stream": True, "messages": messages}
    error = AnthropicDialect().refuse(
        Seen(method="POST", path="/v1/messages", headers={}, body=body)
    )
    return error.message if error is not None else ""


@pytest.mark.parametrize(
    "result",
    [
        RESULT,
        {**RESULT, "content": []},
        {**RESULT, "content": ""},
        {**RESULT, "content": "plain"},
        {**RESULT, "content": [TEXT, PICTURE]},
        {**RESULT, "content": [TEXT], "is_error": True},
        {**RESULT, "content": "plain", "is_error": True},
        {**RESULT, "content": [PICTURE], "is_error": False},
    ],
)
def test_a_result_in_order_is_taken(result: dict[str, Any]) -> None:
    assert _refusal([CALL], [result]) == ""


@pytest.mark.parametrize(
    ("result", "word"),
    [
        ({**RESULT, "is_error": True}, "cannot be empty"),
        ({**RESULT, "is_error": True, "content": []}, "cannot be empty"),
        ({**RESULT, "is_error": True, "content": ""}, "cannot be empty"),
        ({**RESULT, "is_error": True, "content": [TEXT, PICTURE]}, "must be type `text`"),
        ({**RESULT, "content": [{"type": "text", "text": " \n"}]}, "non-whitespace"),
    ],
)
def test_a_result_that_the_service_does_not_take_is_refused(
    result: dict[str, Any], word: str
) -> None:
    assert word in _refusal([CALL], [result])


def test_ids_of_calls_are_of_plain_characters_and_unique() -> None:
    assert "unique" in _refusal([CALL, CALL], [RESULT, RESULT])
    odd = _refusal([{**CALL, "id": "c.1"}], [{**RESULT, "tool_use_id": "c.1"}])
    assert "pattern" in odd
