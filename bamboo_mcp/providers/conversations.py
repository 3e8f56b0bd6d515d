"""Conversations in the form of a vendor's API, each message encoded once and not once a round.

The same message always gives the same bytes: prompt caches and signed reasoning are bound to the
exact prefix (providers note, section 1.3).
"""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from bamboo_mcp.domain.messages import (
    Block,
    ImageBlock,
    Message,
    OpaqueBlock,
    RawBlock,
    ReasoningBlock,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
)
from bamboo_mcp.providers.table import family_of

Wire: TypeAlias = dict[str, Any]


class Encoder(Protocol):
    """Encodes for one provider instance and one model."""

    def extend(self, wire: list[Wire], message: Message) -> None:
        """Add `message` to what goes out. What is already in `wire` may be replaced by a longer
        item, never changed in place: an earlier round may still be reading it."""
        ...


class Conversations:
    """The encoded form of conversations under way, so that a round encodes only what is new.

    `encoder_for` makes the encoder of a model, and of a `variant` where there is one: what else the
    encoded form depends on. Bounded: beyond `max_chars` of text the conversation
    that was quiet longest is forgotten, and encoded anew should it speak again.
    """

    def __init__(self, encoder_for: Callable[..., Encoder], *, max_chars: int = 64_000_000) -> None:
        self._encoder_for = encoder_for
        self._max_chars = max_chars
        self._chars = 0
        self._known: OrderedDict[tuple[str, str, str], _Encoded] = OrderedDict()

    def encode(
        self, conversation: str, model: str, messages: Sequence[Message], *, variant: str = ""
    ) -> list[Wire]:
        """The `messages` of a request. Without a `conversation` nothing is remembered."""
        asked = (model, variant) if variant else (model,)
        if not conversation:
            encoded = _Encoded(self._encoder_for(*asked))
            encoded.extend(messages)
            return encoded.wire
        key = (conversation, model, variant)
        known = self._known.pop(key, None)
        if known is None:
            known = _Encoded(self._encoder_for(*asked))
        self._chars -= known.chars
        if not known.is_prefix_of(messages):
            known = _Encoded(self._encoder_for(*asked))
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
            self._encoder.extend(self.wire, message)
            self.chars += _chars(message.blocks)


def is_own(message: Message, provider: str, model: str) -> bool:
    """Did this very instance and model family write it? Only then its raw blocks may go back:
    signatures of anybody else are refused by the service."""
    wrote, _, with_model = message.origin.partition(":")
    return wrote == provider and family_of(with_model) == family_of(model)


def in_words(raw: Mapping[str, Any]) -> str:
    """An MCP block that an API has no form for: its text when it has one, else what it is."""
    resource = raw.get("resource")
    if isinstance(resource, Mapping):
        text = resource.get("text")
        if isinstance(text, str) and text.strip():
            return text
        return f"[resource {resource.get('uri', '')} {resource.get('mimeType', '')}]"
    named = " ".join(str(raw[key]) for key in ("name", "uri", "mimeType") if raw.get(key))
    return f"[{raw.get('type', 'content')} {named}]"


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
