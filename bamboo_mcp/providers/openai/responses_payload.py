"""Our messages and tools as the items of the OpenAI Responses API."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bamboo_mcp.domain.messages import (
    Block,
    Content,
    ImageBlock,
    Message,
    OpaqueBlock,
    RawBlock,
    ReasoningBlock,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
)
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.providers.conversations import (
    NO_DETAILS,
    OpenCalls,
    Wire,
    in_words,
    is_own,
    wire_id,
)

EXT = "openai"
"""The key under which a block's raw form is kept in `ext`."""

_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_LONGEST_KEY = 64


class Encoder:
    """Encodes for one provider instance and one model family.

    Reasoning, and any other item in its raw form, goes back only when the message came from this
    very instance and family. Everything of a message keeps its order: the service refuses a thought
    without the item it led to.
    """

    def __init__(self, provider: str, model: str) -> None:
        self._provider = provider
        self._model = model
        self._calls = OpenCalls()

    def extend(self, wire: list[Wire], message: Message) -> None:
        for one in self._calls.follow(message):
            self._add(wire, one)

    def close(self, wire: list[Wire]) -> bool:
        rest = self._calls.rest()
        for message in rest:
            self._add(wire, message)
        return bool(rest)

    def _add(self, wire: list[Wire], message: Message) -> None:
        match message.role:
            case "assistant":
                wire += self._assistant(message)
            case "user":
                wire += _user(message.blocks)
            case "system":
                if parts := _parts(b for b in message.blocks if isinstance(b, TextBlock)):
                    wire.append({"type": "message", "role": "system", "content": parts})

    def _assistant(self, message: Message) -> list[Wire]:
        own = is_own(message, self._provider, self._model)
        items: list[Wire] = []
        thoughts: list[Wire] = []
        for block in message.blocks:
            item = self._item(block, own)
            if isinstance(block, ReasoningBlock):
                thoughts += [item] if item is not None else []
                continue
            if item is not None:
                items += [*thoughts, item]
            # Else they led to something that does not go out, and so they do not either.
            thoughts = []
        # What is left led to nothing: the answer was cut off while thinking.
        return items

    def _item(self, block: Block, own: bool) -> Wire | None:
        match block:
            case TextBlock(text=text, ext=ext):
                return _said(text, ext.get(EXT, {}) if own else {})
            case ReasoningBlock(ext=ext):
                return _thought(ext[EXT]) if own and EXT in ext else None
            case ToolCallBlock():
                return {
                    **(block.ext.get(EXT, {}) if own else {}),
                    "type": "function_call",
                    "call_id": wire_id(block.id),
                    "name": block.name,
                    "arguments": block.arguments_json or "{}",
                }
            case OpaqueBlock(provider=provider, raw=raw):
                return dict(raw) if own and provider == self._provider else None
            case ToolResultBlock() | ImageBlock() | RawBlock():
                return None  # nothing an assistant can say


def encode_tools(tools: Sequence[ToolSpec]) -> list[Wire]:
    return [
        {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": _parameters(tool.input_schema),
            "strict": False,
        }
        for tool in tools
    ]


def cache_key(conversation: str) -> str:
    """The conversation as a key that the service takes, the same each time."""
    if len(conversation) <= _LONGEST_KEY and conversation.isascii():
        return conversation
    return hashlib.sha256(conversation.encode(errors="replace")).hexdigest()[:_LONGEST_KEY]


def _parameters(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    # The service refuses an object that does not name its properties, even when it has none.
    if schema.get("type") == "object" and "properties" not in schema:
        return {**schema, "properties": {}}
    return schema


def _said(text: str, raw: Mapping[str, Any]) -> Wire | None:
    if not text.strip():
        return None
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "role": "assistant", "content": content, **raw}


def _thought(raw: Mapping[str, Any]) -> Wire | None:
    # The service keeps nothing of ours, so a thought that it cannot read from here it cannot find.
    if not raw.get("encrypted_content") and not raw.get("content"):
        return None
    # Absent and null are the same when it speaks, and not when it listens.
    return {key: value for key, value in raw.items() if value is not None}


def _user(blocks: Sequence[Block]) -> list[Wire]:
    items = [_output(block) for block in blocks if isinstance(block, ToolResultBlock)]
    parts = _parts(b for b in blocks if isinstance(b, TextBlock | ImageBlock | RawBlock))
    if parts:
        items.append({"type": "message", "role": "user", "content": parts})
    return items


def _output(block: ToolResultBlock) -> Wire:
    output: str | list[Wire]
    if any(isinstance(item, ImageBlock) for item in block.content):
        output = _parts(block.content)
        if block.is_error and not _begins_as_error(output[0].get("text", "")):
            output.insert(0, _text("Error:"))
    else:
        output = "\n".join(part["text"] for part in _parts(block.content))
        if block.is_error and not _begins_as_error(output):
            output = f"Error: {output}" if output else NO_DETAILS
    return {"type": "function_call_output", "call_id": wire_id(block.call_id), "output": output}


def _begins_as_error(text: str) -> bool:
    return text.lstrip()[:6].lower() == "error:"


def _parts(content: Iterable[Content]) -> list[Wire]:
    return [part for item in content if (part := _part(item)) is not None]


def _part(item: Content) -> Wire | None:
    match item:
        case TextBlock(text=text):
            return _text(text) if text.strip() else None
        case ImageBlock():
            return _image(item)
        case RawBlock(raw=raw):
            return _text(in_words(raw))


def _text(text: str) -> Wire:
    return {"type": "input_text", "text": text}


def _image(image: ImageBlock) -> Wire:
    if image.url and not image.data_b64:
        url = image.url
    elif image.media_type in _IMAGES:
        url = f"data:{image.media_type};base64,{image.data_b64}"
    else:
        return _text(f"[an image of type {image.media_type}, not shown]")
    return {"type": "input_image", "image_url": url, "detail": "auto"}
