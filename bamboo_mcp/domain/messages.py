"""Messages of a conversation and the blocks they are made of, the same for every provider.

The model is the one of the providers note, section 3: each block may carry `ext`, opaque data that
goes back verbatim to the provider it came from and to nobody else (reasoning signatures, item ids).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from bamboo_mcp.domain.value import Tagged, Value

Role: TypeAlias = Literal["user", "assistant", "system"]


class TextBlock(Tagged, frozen=True, kw_only=True):
    text: str
    ext: Mapping[str, Any] = {}


class ReasoningBlock(Tagged, frozen=True, kw_only=True):
    """What the model thought. `ext[provider]` is the raw signed block, sent back only there."""

    text: str = ""
    redacted: bool = False
    ext: Mapping[str, Any] = {}


class ToolCallBlock(Tagged, frozen=True, kw_only=True):
    """A tool call as the model wrote it.

    `arguments_json` is a JSON object, checked by the provider.
    """

    id: str
    name: str
    arguments_json: str = "{}"
    ext: Mapping[str, Any] = {}


class ImageBlock(Tagged, frozen=True, kw_only=True):
    media_type: str
    data_b64: str = ""
    url: str = ""


class RawBlock(Tagged, frozen=True, kw_only=True):
    """An MCP content block of another kind (audio, a resource or a link to one), kept verbatim."""

    raw: Mapping[str, Any]


class OpaqueBlock(Tagged, frozen=True, kw_only=True):
    """A provider's own block (compaction, server tool): verbatim to `provider`, else dropped."""

    provider: str
    raw: Mapping[str, Any]


Content: TypeAlias = TextBlock | ImageBlock | RawBlock
"""What a tool may answer with."""


class ToolResultBlock(Tagged, frozen=True, kw_only=True):
    """The answer to one `ToolCallBlock`. Every call gets exactly one, a cancelled call too."""

    call_id: str
    name: str = ""
    content: tuple[Content, ...] = ()
    is_error: bool = False


Block: TypeAlias = (
    TextBlock
    | ReasoningBlock
    | ToolCallBlock
    | ToolResultBlock
    | ImageBlock
    | RawBlock
    | OpaqueBlock
)


class Message(Value, frozen=True, kw_only=True, gc=False):
    """One turn. Tool results travel in a `user` message, all of a round together.

    `origin` is `provider:model` of an assistant message, `steer:<id>` of a steering message,
    else empty. `at` is seconds since the epoch.
    """

    role: Role
    blocks: tuple[Block, ...]
    origin: str = ""
    at: float = 0.0

    @property
    def text(self) -> str:
        """The text blocks joined; reasoning and tool calls left out."""
        return "".join([block.text for block in self.blocks if isinstance(block, TextBlock)])

    @property
    def tool_calls(self) -> tuple[ToolCallBlock, ...]:
        return tuple([block for block in self.blocks if isinstance(block, ToolCallBlock)])


def user_message(text: str, *, origin: str = "", at: float = 0.0) -> Message:
    return Message(role="user", blocks=(TextBlock(text=text),), origin=origin, at=at)


def text_of(content: tuple[Content, ...]) -> str:
    """The readable part of a tool's answer; other content is named in square brackets."""
    parts: list[str] = []
    for item in content:
        match item:
            case TextBlock(text=text):
                parts.append(text)
            case ImageBlock(media_type=media_type):
                parts.append(f"[image {media_type}]")
            case RawBlock(raw=raw):
                parts.append(f"[{raw.get('type', 'content')}]")
    return "\n".join(parts)
