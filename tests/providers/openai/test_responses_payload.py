"""Encoding of a long history: once a message, not once a round."""

from __future__ import annotations

from functools import partial

from bamboo_mcp.domain.messages import Message, TextBlock, ToolResultBlock, user_message
from bamboo_mcp.providers.conversations import Conversations
from bamboo_mcp.providers.openai.responses_payload import Encoder
from tests.providers.openai.responses_at import MODEL


def _history(pairs: int) -> list[Message]:
    history: list[Message] = []
    for number in range(pairs):
        history.append(user_message(f"question {number}"))
        history.append(Message(role="assistant", blocks=(TextBlock(text=f"answer {number}"),)))
    return history


def test_a_message_is_encoded_once_however_many_rounds_follow() -> None:
    conversations = Conversations(partial(Encoder, "openai"))
    history = _history(500)
    before = conversations.encode("c1", MODEL, history)
    history.append(user_message("one more"))
    after = conversations.encode("c1", MODEL, history)
    assert len(after) == len(before) + 1 == 1001
    assert all(old is new for old, new in zip(before, after, strict=False))


def test_what_was_sent_does_not_change_under_the_reader() -> None:
    conversations = Conversations(partial(Encoder, "openai"))
    history = _history(2)
    before = conversations.encode("c1", MODEL, history)
    kept = list(before)
    history += [user_message("a"), user_message("b")]
    conversations.encode("c1", MODEL, history)
    assert before == kept


def test_the_outputs_of_calls_come_before_what_else_is_said_with_them() -> None:
    blocks = (TextBlock(text="hurry"), ToolResultBlock(call_id="c", content=()))
    wire: list[dict[str, object]] = []
    Encoder("openai", MODEL).extend(wire, Message(role="user", blocks=blocks))
    assert [item["type"] for item in wire] == ["function_call_output", "message"]
