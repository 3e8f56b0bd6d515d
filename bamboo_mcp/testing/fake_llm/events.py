"""Events of the wire APIs, looked at: where one may break off, and the answer as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

_FINAL = frozenset(("message_delta", "response.completed", "response.incomplete"))


def place_after(events: Iterable[bytes], deltas: int | None) -> int:
    """How many events go out until `deltas` of them have shown something.

    None, or more than there are: all but what says that the answer is whole. 0: what opens the
    stream.
    """
    shown = 0
    place = 0
    for place, event in enumerate(events):
        data = _data(event)
        if data is None or _is_final(data):
            break
        if _is_delta(data):
            if deltas == 0:
                return min(place, 1)
            shown += 1
            if shown == deltas:
                return place + 1
    return place if deltas != 0 else min(place, 1)


def whole_answer(events: Iterable[bytes]) -> bytes:
    """What a request without `stream` is answered: the events put together."""
    parts = [data for event in events if (data := _data(event)) is not None]
    if parts and "choices" in parts[0]:
        return msgspec.json.encode(_whole_chat(parts))
    if parts and str(parts[0].get("type")).startswith("response."):
        return msgspec.json.encode(parts[-1]["response"])
    return msgspec.json.encode(_whole_message(parts))


def _data(event: bytes) -> dict[str, Any] | None:
    """None for what is no JSON object: a comment, or the `[DONE]` of Chat Completions."""
    lines = [line.removeprefix(b"data:") for line in event.split(b"\n") if line[:5] == b"data:"]
    try:
        data = msgspec.json.decode(b"\n".join(lines))
    except msgspec.DecodeError:
        return None
    return data if isinstance(data, dict) else None


def _is_final(data: Mapping[str, Any]) -> bool:
    choices = data.get("choices")
    if choices is not None:
        return any(choice.get("finish_reason") for choice in choices) or not choices
    return data.get("type") in _FINAL


def _is_delta(data: Mapping[str, Any]) -> bool:
    kind = str(data.get("type", ""))
    if kind == "content_block_delta":
        return bool(data["delta"].get("type") != "signature_delta")
    if "choices" in data:
        return any(_says_something(choice.get("delta") or {}) for choice in data["choices"])
    return kind.startswith("response.") and kind.endswith(".delta")


def _says_something(delta: Mapping[str, Any]) -> bool:
    return any(value for name, value in delta.items() if name != "role")


def _whole_message(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """As `/v1/messages` answers."""
    message: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    arguments: dict[int, str] = {}
    for event in events:
        match event:
            case {"type": "message_start", "message": start}:
                message = dict(start)
            case {"type": "content_block_start", "index": index, "content_block": block}:
                blocks[index] = dict(block)
            case {"type": "content_block_delta", "index": index, "delta": {"partial_json": part}}:
                arguments[index] = arguments.get(index, "") + part
            case {"type": "content_block_delta", "index": index, "delta": delta}:
                for name in ("text", "thinking", "signature"):
                    if name in delta:
                        blocks[index][name] = blocks[index].get(name, "") + delta[name]
            case {"type": "message_delta", "delta": delta}:
                message |= delta
                message["usage"] = {**message.get("usage", {}), **event.get("usage", {})}
    for index, text in arguments.items():
        blocks[index]["input"] = _object(text)
    message["content"] = [blocks[index] for index in sorted(blocks)]
    return message


def _object(text: str) -> Any:
    """A whole answer of this API has arguments as an object and no way to show broken ones."""
    try:
        return msgspec.json.decode(text or "{}")
    except msgspec.DecodeError:
        return {}


def _whole_chat(chunks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """As `/v1/chat/completions` answers."""
    first = chunks[0]
    message: dict[str, Any] = {"role": "assistant", "content": None}
    calls: dict[int, dict[str, Any]] = {}
    finish: str | None = None
    usage: Any = None
    for chunk in chunks:
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            finish = choice.get("finish_reason") or finish
            delta = choice.get("delta") or {}
            for name in ("content", "reasoning_content", "reasoning", "refusal"):
                if delta.get(name):
                    message[name] = (message.get(name) or "") + delta[name]
            for place, piece in enumerate(delta.get("tool_calls") or ()):
                _add_call(calls, piece.get("index", place), piece)
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    whole = {name: value for name, value in first.items() if name not in ("choices", "usage")}
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    return whole | {"object": "chat.completion", "choices": [choice], "usage": usage}


def _add_call(calls: dict[int, dict[str, Any]], index: int, piece: Mapping[str, Any]) -> None:
    function = piece.get("function") or {}
    call = calls.setdefault(
        index, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
    )
    call["id"] = piece.get("id") or call["id"]
    call["function"]["name"] = function.get("name") or call["function"]["name"]
    call["function"]["arguments"] += function.get("arguments") or ""
