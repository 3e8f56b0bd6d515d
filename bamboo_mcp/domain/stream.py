"""What a provider's stream yields: deltas while the model writes, and one `Stop` at the end."""

from __future__ import annotations

from typing import Literal, TypeAlias

from bamboo_mcp.domain.messages import Block, Message
from bamboo_mcp.domain.usage import NO_USAGE, Usage
from bamboo_mcp.domain.value import Tagged

StopReason: TypeAlias = Literal[
    "end",
    "tool_use",
    "max_tokens",
    "stop_sequence",
    "refusal",
    "context_window",
    "pause",
    "compaction",
]


class TextChunk(Tagged, frozen=True, kw_only=True):
    text: str
    index: int = 0


class ReasoningChunk(Tagged, frozen=True, kw_only=True):
    text: str
    index: int = 0


class ToolCallChunk(Tagged, frozen=True, kw_only=True):
    """A piece of a tool call's arguments; the first of a call carries its `id` and `name`."""

    index: int
    id: str = ""
    name: str = ""
    arguments_json: str = ""


class BlockDone(Tagged, frozen=True, kw_only=True):
    """A block is whole. A cancelled stream keeps these and drops the half-written one."""

    index: int
    block: Block


class Stop(Tagged, frozen=True, kw_only=True):
    """The end of a stream: the whole message. A stream without one has failed (`Truncated`)."""

    message: Message
    reason: StopReason = "end"
    usage: Usage = NO_USAGE
    model: str = ""
    response_id: str = ""
    detail: str = ""


Chunk: TypeAlias = TextChunk | ReasoningChunk | ToolCallChunk | BlockDone | Stop
