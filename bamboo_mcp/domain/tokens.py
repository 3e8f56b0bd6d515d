"""How large a conversation is in tokens: each message sized once, anchored on reported usage."""

from __future__ import annotations

from collections.abc import Iterable

from bamboo_mcp.domain.messages import (
    ImageBlock,
    Message,
    OpaqueBlock,
    RawBlock,
    ReasoningBlock,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
)
from bamboo_mcp.domain.usage import Usage

IMAGE_TOKENS = 1_600
MESSAGE_OVERHEAD = 8
BYTES_PER_TOKEN = 3
"""UTF-8 bytes a token: a little high for English and code, right for logs, JSON and CJK, where
characters a token is off by two to four (providers note, section 4)."""


def estimate_text(text: str) -> int:
    return (len(text) if text.isascii() else len(text.encode())) // BYTES_PER_TOKEN + 1


def estimate_message(message: Message) -> int:
    tokens = MESSAGE_OVERHEAD
    for block in message.blocks:
        tokens += _estimate_block(block)
    return tokens


def _estimate_block(block: object) -> int:
    match block:
        case TextBlock() | ReasoningBlock():
            return estimate_text(block.text)
        case ToolCallBlock(name=name, arguments_json=arguments):
            return estimate_text(name) + estimate_text(arguments)
        case ToolResultBlock(content=content):
            return sum(_estimate_block(part) for part in content) + 4
        case ImageBlock():
            return IMAGE_TOKENS
        case RawBlock(raw=raw) | OpaqueBlock(raw=raw):
            return estimate_text(repr(raw))
        case _:
            return 0


class RunningSize:
    """The size of the next prompt as a running total, so that no round counts history again.

    `answered` replaces the estimate by what the model reported for everything up to its answer;
    only what came after is estimated then.
    """

    __slots__ = ("tokens",)

    def __init__(self, messages: Iterable[Message] = (), *, fixed: int = 0) -> None:
        self.tokens = fixed
        for message in messages:
            self.tokens += estimate_message(message)

    def add(self, message: Message) -> None:
        self.tokens += estimate_message(message)

    def answered(self, message: Message, usage: Usage) -> None:
        """Add a model's answer, and take what it reported for all up to it instead of a guess."""
        if usage.input:
            self.tokens = usage.input + usage.output
        else:
            self.add(message)
