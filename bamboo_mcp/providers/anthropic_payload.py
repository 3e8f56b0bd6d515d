"""Our messages in the form of the Anthropic Messages API, each encoded once and not once a round.

The same message always gives the same bytes: prompt caches and signed reasoning are bound to the
exact prefix (providers note, section 1.3).
"""

from __future__ import annotations

import operator
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

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
from bamboo_mcp.providers.table import family_of

Wire: TypeAlias = dict[str, Any]

EXT = "anthropic"
"""The key under which a block's raw form is kept in `ext`."""

_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_BAD_ID = re.compile(r"[^a-zA-Z0-9_-]")


class Encoder:
    """Encodes for one provider instance and one model family.

    Reasoning, and any other block in its raw form, goes back only when the message came from this
    very instance and family; signatures of anybody else are refused by the service.
    """

    def __init__(self, provider: str, model: str) -> None:
        self._provider = provider
        self._family = family_of(model)

    def message(self, message: Message) -> Wire | None:
        """None when nothing is left to send: the API refuses empty content."""
        match message.role:
            case "system":
                content = _texts(message.blocks)
            case "user":
                content = _user(message.blocks)
            case "assistant":
                content = self._assistant(message)
        return {"role": message.role, "content": content} if content else None

    def _assistant(self, message: Message) -> list[Wire]:
        provider, _, model = message.origin.partition(":")
        own = provider == self._provider and family_of(model) == self._family
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
                return dict(ext[EXT]) if own and EXT in ext else None
            case ToolCallBlock():
                return _tool_use(block, own=own)
            case OpaqueBlock(provider=provider, raw=raw):
                return dict(raw) if own and provider == self._provider else None
            case ToolResultBlock() | ImageBlock() | RawBlock():
                return None  # nothing an assistant can say


class Conversations:
    """The encoded form of conversations under way, so that a round encodes only what is new.

    Bounded: beyond `max_chars` of text the conversation that was quiet longest is forgotten, and
    encoded anew should it speak again.
    """

    def __init__(self, provider: str, *, max_chars: int = 64_000_000) -> None:
        self._provider = provider
        self._max_chars = max_chars
        self._chars = 0
        self._known: OrderedDict[tuple[str, str], _Encoded] = OrderedDict()

    def encode(self, conversation: str, model: str, messages: Sequence[Message]) -> list[Wire]:
        """The `messages` of a request. Without a `conversation` nothing is remembered."""
        if not conversation:
            encoded = _Encoded(Encoder(self._provider, model))
            encoded.extend(messages)
            return encoded.wire
        key = (conversation, model)
        known = self._known.pop(key, None)
        if known is None:
            known = _Encoded(Encoder(self._provider, model))
        self._chars -= known.chars
        if not known.is_prefix_of(messages):
            known = _Encoded(Encoder(self._provider, model))
        known.extend(messages)
        self._known[key] = known
        self._chars += known.chars
        while self._chars > self._max_chars and len(self._known) > 1:
            _, oldest = self._known.popitem(last=False)
            self._chars -= oldest.chars
        # A copy of the list alone: it grows with the next round while this one may still be read.
        return list(known.wire)


class _Encoded:
    """One conversation: the messages seen (by identity) and what they became."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._seen: list[Message] = []
        self.wire: list[Wire] = []
        self.chars = 0

    def is_prefix_of(self, messages: Sequence[Message]) -> bool:
        return len(self._seen) <= len(messages) and all(map(operator.is_, self._seen, messages))

    def extend(self, messages: Sequence[Message]) -> None:
        for message in messages[len(self._seen) :]:
            self._seen.append(message)
            if (encoded := self._encoder.message(message)) is None:
                continue
            self.chars += _chars(message.blocks)
            last = self.wire[-1] if self.wire else None
            if last is not None and last["role"] == encoded["role"] == "user":
                # All tool results of a round belong in one message; results come before other text.
                self.wire[-1] = {"role": "user", "content": [*last["content"], *encoded["content"]]}
            else:
                self.wire.append(encoded)


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
    return {"type": "text", "text": block.text}


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
        "id": _call_id(block.id),
        "name": block.name,
        "input": arguments,
    }


def _tool_result(block: ToolResultBlock) -> Wire:
    content = [encoded for item in block.content if (encoded := _content(item)) is not None]
    result: Wire = {"type": "tool_result", "tool_use_id": _call_id(block.call_id)}
    if content:
        result["content"] = content
    if block.is_error:
        result["is_error"] = True
    return result


def _content(item: Content) -> Wire | None:
    match item:
        case TextBlock():
            return _text(item)
        case ImageBlock():
            return _image(item)
        case RawBlock(raw=raw):
            return {"type": "text", "text": _describe(raw)}


def _image(image: ImageBlock) -> Wire:
    if image.url and not image.data_b64:
        return {"type": "image", "source": {"type": "url", "url": image.url}}
    if image.media_type not in _IMAGES:
        return {"type": "text", "text": f"[an image of type {image.media_type}, not shown]"}
    source = {"type": "base64", "media_type": image.media_type, "data": image.data_b64}
    return {"type": "image", "source": source}


def _describe(raw: Mapping[str, Any]) -> str:
    """An MCP block that the API has no form for: its text when it has one, else what it is."""
    resource = raw.get("resource")
    if isinstance(resource, Mapping):
        text = resource.get("text")
        if isinstance(text, str) and text.strip():
            return text
        return f"[resource {resource.get('uri', '')} {resource.get('mimeType', '')}]"
    named = " ".join(str(raw[key]) for key in ("name", "uri", "mimeType") if raw.get(key))
    return f"[{raw.get('type', 'content')} {named}]"


def _call_id(call_id: str) -> str:
    # Ids of other providers may hold characters that this API refuses; ours pass unchanged.
    return _BAD_ID.sub("_", call_id) or "_"


def _chars(blocks: Sequence[Block]) -> int:
    total = 0
    for block in blocks:
        match block:
            case TextBlock(text=text) | ReasoningBlock(text=text):
                total += len(text)
            case ToolCallBlock(arguments_json=text) | ImageBlock(data_b64=text):
                total += len(text)
            case ToolResultBlock(content=content):
                total += _chars(content)
            case RawBlock() | OpaqueBlock():
                total += 1000  # a guess: they are small and rare
    return total
