"""Our messages and tools in the form of the Anthropic Messages API."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import msgspec

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
from bamboo_mcp.domain.provider_errors import BadRequest
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.providers.conversations import (
    NO_DETAILS,
    OpenCalls,
    Wire,
    in_words,
    is_own,
    wire_id,
)

EXT = "anthropic"
"""The key under which a block's raw form is kept in `ext`."""
PREFIX = "anthropic_prefix"
"""The key for the `prefix_of` the request that a signed thought answered."""

_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")


class Encoder:
    """Encodes for one provider instance and one model family.

    Reasoning, and any other block in its raw form, goes back only when the message came from this
    very instance and family; signatures of anybody else are refused by the service. Thoughts are
    signed together with all that went before them: under other instructions or tools (`prefix`)
    the older ones stay behind. They stand before the newer ones, and that is where the service lets
    them be left out (providers note, section 1.3, preserved thinking).
    """

    def __init__(self, provider: str, model: str, prefix: str = "") -> None:
        self._provider = provider
        self._model = model
        self._prefix = prefix
        self._calls = OpenCalls()

    def extend(self, wire: list[Wire], message: Message) -> None:
        """Adds nothing for a message that nothing is left of: the API refuses empty content."""
        for one in self._calls.follow(message):
            self._add(wire, one)

    def close(self, wire: list[Wire]) -> bool:
        rest = self._calls.rest()
        for message in rest:
            self._add(wire, message)
        return bool(rest)

    def _add(self, wire: list[Wire], message: Message) -> None:
        match message.role:
            case "system":
                content = _texts(message.blocks)
            case "user":
                content = _user(message.blocks)
            case "assistant":
                content = self._assistant(message)
        if not content:
            return
        last = wire[-1] if wire else None
        if last is not None and last["role"] == message.role == "user":
            # All tool results of a round belong in one message; results come before other text.
            wire[-1] = {"role": "user", "content": [*last["content"], *content]}
        else:
            wire.append({"role": message.role, "content": content})

    def _assistant(self, message: Message) -> list[Wire]:
        own = is_own(message, self._provider, self._model)
        content: list[Wire] = []
        for block in message.blocks:
            if (encoded := self._assistant_block(block, own)) is not None:
                content.append(encoded)
        # An answer cut off while thinking: the API takes no message that ends with a thought.
        while content and content[-1]["type"] in ("thinking", "redacted_thinking"):
            content.pop()
        return content

    def _assistant_block(self, block: Block, own: bool) -> Wire | None:
        match block:
            case TextBlock():
                return _text(block, own=own)
            case ReasoningBlock(ext=ext):
                fits = own and EXT in ext and ext.get(PREFIX, self._prefix) == self._prefix
                return dict(ext[EXT]) if fits else None
            case ToolCallBlock():
                return _tool_use(block, own=own)
            case OpaqueBlock(provider=provider, raw=raw):
                return dict(raw) if own and provider == self._provider else None
            case ToolResultBlock() | ImageBlock() | RawBlock():
                return None  # nothing an assistant can say


def prefix_of(system: str, tools: Sequence[Wire]) -> str:
    """A short name for what a thought is signed with beside the messages."""
    return blake2b(msgspec.json.encode((system, tools)), digest_size=8).hexdigest()


def encode_tools(tools: Sequence[ToolSpec]) -> list[Wire]:
    return [
        {"name": tool.name, "description": tool.description, "input_schema": tool.input_schema}
        for tool in tools
    ]


def _text(block: TextBlock, *, own: bool = False) -> Wire | None:
    if not block.text.strip():
        return None  # the API refuses text blocks that are empty or only white space
    if own and EXT in block.ext:
        return dict(block.ext[EXT])
    return _said(block.text)


def _said(text: str) -> Wire:
    return {"type": "text", "text": text}


def _texts(blocks: Sequence[Block]) -> list[Wire]:
    texts = (_text(block) for block in blocks if isinstance(block, TextBlock))
    return [text for text in texts if text is not None]


def _user(blocks: Sequence[Block]) -> list[Wire]:
    results = [_tool_result(block) for block in blocks if isinstance(block, ToolResultBlock)]
    rest = [
        encoded
        for block in blocks
        if isinstance(block, TextBlock | ImageBlock | RawBlock)
        and (encoded := _content(block)) is not None
    ]
    return results + rest


def _tool_use(block: ToolCallBlock, *, own: bool) -> Wire:
    try:
        arguments = msgspec.json.decode(block.arguments_json or "{}")
    except msgspec.DecodeError as error:
        raise BadRequest(
            f"the call {block.id!r} of {block.name!r} in the history has arguments that are not "
            f"JSON: {error}",
            hint="The session was written by something else; start a new one.",
        ) from error
    extra = block.ext.get(EXT, {}) if own else {}
    return {
        **extra,
        "type": "tool_use",
        "id": wire_id(block.id),
        "name": block.name,
        "input": arguments,
    }


def _tool_result(block: ToolResultBlock) -> Wire:
    content = [encoded for item in block.content if (encoded := _content(item)) is not None]
    result: Wire = {"type": "tool_result", "tool_use_id": wire_id(block.call_id)}
    if block.is_error and not content:
        content = [_said(NO_DETAILS)]
    if block.is_error and any(item["type"] != "text" for item in content):
        # An error that shows a picture is refused: it is told in words that it is one.
        content.insert(0, _said("Error:"))
    elif block.is_error:
        result["is_error"] = True
    if content:
        result["content"] = content
    return result


def _content(item: Content) -> Wire | None:
    match item:
        case TextBlock():
            return _text(item)
        case ImageBlock():
            return _image(item)
        case RawBlock(raw=raw):
            return _said(in_words(raw))


def _image(image: ImageBlock) -> Wire:
    if image.url and not image.data_b64:
        return {"type": "image", "source": {"type": "url", "url": image.url}}
    if image.media_type not in _IMAGES:
        return _said(f"[an image of type {image.media_type}, not shown]")
    source = {"type": "base64", "media_type": image.media_type, "data": image.data_b64}
    return {"type": "image", "source": source}
