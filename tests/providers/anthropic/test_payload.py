"""Encoding of a long history: once a message, not once a round."""

from __future__ import annotations

from functools import partial

from bamboo_mcp.domain.messages import Message, TextBlock, ToolCallBlock, user_message
from bamboo_mcp.domain.provider_errors import BadRequest
from bamboo_mcp.providers.anthropic.payload import Encoder
from bamboo_mcp.providers.conversations import Conversations

MODEL = "claude-opus-5-5"


def _history(pairs: int) -> list[Message]:
    history: list[Message] = []
    for number in range(pairs):
        history.append(user_message(f"question {number}"))
        history.append(Message(role="assistant", blocks=(TextBlock(text=f"answer {number}"),)))
    return history


def test_a_message_is_encoded_once_however_many_rounds_follow() -> None:
    conversations = Conversations(partial(Encoder, "anthropic"))
    history = _history(500)
    before = conversations.encode("c1", MODEL, history)
    history.append(user_message("one more"))
    after = conversations.encode("c1", MODEL, history)
    assert len(after) == len(before) + 1
    assert all(old is new for old, new in zip(before, after, strict=False))


def test_what_was_sent_does_not_change_under_the_reader() -> None:
    conversations = Conversations(partial(Encoder, "anthropic"))
    history = _history(2)
    before = conversations.encode("c1", MODEL, history)
    kept = list(before)
    history += [user_message("a"), user_message("b")]
    conversations.encode("c1", MODEL, history)
    assert before == kept


def test_a_history_that_was_replaced_is_encoded_anew() -> None:
    conversations = Conversations(partial(Encoder, "anthropic"))
    conversations.encode("c1", MODEL, _history(3))
    summary = [user_message("a summary")]
    assert conversations.encode("c1", MODEL, summary) == [
        {"role": "user", "content": [{"type": "text", "text": "a summary"}]}
    ]


def test_conversations_and_models_do_not_mix() -> None:
    conversations = Conversations(partial(Encoder, "anthropic"))
    one, other = _history(1), [user_message("else")]
    first = conversations.encode("c1", MODEL, one)
    assert conversations.encode("c2", MODEL, other) != first
    assert conversations.encode("c1", "claude-haiku-5-5", one) == first
    assert conversations.encode("", MODEL, other) == conversations.encode("c2", MODEL, other)


def test_beyond_its_bound_the_quietest_conversation_is_forgotten_and_still_right() -> None:
    conversations = Conversations(partial(Encoder, "anthropic"), max_chars=100)
    long = [user_message("x" * 80)]
    first = conversations.encode("c1", MODEL, long)
    conversations.encode("c2", MODEL, [user_message("y" * 80)])
    again = conversations.encode("c1", MODEL, long)
    assert again == first
    assert again[0] is not first[0]


def test_a_call_in_the_history_that_is_not_json_is_refused_by_name() -> None:
    bad = Message(
        role="assistant", blocks=(ToolCallBlock(id="c", name="look", arguments_json="{"),)
    )
    try:
        Encoder("anthropic", MODEL).extend([], bad)
    except BadRequest as error:
        assert "look" in error.message
    else:
        raise AssertionError("it was let through")
