"""Encoding of a long history: once a message, not once a round."""

from __future__ import annotations

from bamboo_mcp.domain.messages import (
    ImageBlock,
    Message,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
    user_message,
)
from bamboo_mcp.providers.conversations import Conversations, Wire
from bamboo_mcp.providers.openai.chat_payload import Encoder
from bamboo_mcp.providers.openai.profiles import COMPATIBLE

MODEL = "qwen3:8b"


def _encoder(model: str) -> Encoder:
    return Encoder("local", COMPATIBLE, model, sees=True)


def _round(number: int) -> list[Message]:
    call = ToolCallBlock(id="", name="look")
    image = ImageBlock(media_type="image/png", data_b64="aGk=")
    result = ToolResultBlock(call_id="", content=(image,))
    return [
        user_message(f"question {number}"),
        Message(role="assistant", blocks=(call,)),
        Message(role="user", blocks=(result,)),
        Message(role="assistant", blocks=(TextBlock(text=f"answer {number}"),)),
    ]


def _history(rounds: int) -> list[Message]:
    return [message for number in range(rounds) for message in _round(number)]


def test_a_message_is_encoded_once_however_many_rounds_follow() -> None:
    conversations = Conversations(_encoder)
    history = _history(100)
    before = conversations.encode("c1", MODEL, history)
    history.append(user_message("one more"))
    after = conversations.encode("c1", MODEL, history)
    assert len(after) == len(before) + 1
    assert all(old is new for old, new in zip(before, after, strict=False))


def test_the_same_history_gives_the_same_bytes_grown_or_anew() -> None:
    grown = Conversations(_encoder)
    history = _history(3)
    for length in range(1, len(history) + 1):
        last = grown.encode("c1", MODEL, history[:length])
    assert last == Conversations(_encoder).encode("c2", MODEL, history)


def test_what_was_sent_does_not_change_under_the_reader() -> None:
    conversations = Conversations(_encoder)
    history = [user_message("a")]
    before = conversations.encode("c1", MODEL, history)
    kept: list[Wire] = [dict(item) for item in before]
    history += [user_message("b"), user_message("c")]
    after = conversations.encode("c1", MODEL, history)
    assert before == kept == [{"role": "user", "content": "a"}]
    assert after == [{"role": "user", "content": "a\n\nb\n\nc"}]


def test_an_unknown_result_still_goes_out_under_its_own_id() -> None:
    wire: list[Wire] = []
    result = ToolResultBlock(call_id="lost_1", name="look", content=(TextBlock(text="x"),))
    _encoder(MODEL).extend(wire, Message(role="user", blocks=(result,)))
    assert wire == [{"role": "tool", "tool_call_id": "lost_1", "content": "x"}]


def test_an_error_is_named_once() -> None:
    wire: list[Wire] = []
    encoder = _encoder(MODEL)
    for text in ("no", "Error: no", ""):
        result = ToolResultBlock(call_id="a", content=(TextBlock(text=text),), is_error=True)
        encoder.extend(wire, Message(role="user", blocks=(result,)))
    said = [item["content"] for item in wire]
    assert said == ["Error: no", "Error: no", "Error: [no output]"]
