"""Conversations in the form of a vendor's API, each message encoded once and not once a round.

The same message always gives the same bytes: prompt caches and signed reasoning are bound to the
exact prefix (providers note, section 1.3).
"""

from __future__ import annotations

import hashlib
import operator
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from msgspec.structs import replace

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
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.providers.table import family_of

Wire: TypeAlias = dict[str, Any]

NO_DETAILS = "Error: the tool said nothing"
"""What a failed call is said to have answered when it answered nothing."""
_NO_RESULT = "no result: the run was interrupted"
_BAD_ID = re.compile(r"[^a-zA-Z0-9_-]")
_ID_CHARS = 64


class Encoder(Protocol):
    """Encodes for one provider instance and one model."""

    def extend(self, wire: list[Wire], message: Message) -> None:
        """Add `message` to what goes out. What is already in `wire` may be replaced by a longer
        item, never changed in place: an earlier round may still be reading it."""
        ...

    def close(self, wire: list[Wire]) -> bool:
        """Answer the calls that are still open where the history ends. True when there were any:
        then `wire` is good for this request alone, since their results may yet come."""
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
            encoded.close()
            return encoded.wire
        key = (conversation, model, variant)
        known = self._known.pop(key, None)
        if known is None:
            known = _Encoded(self._encoder_for(*asked))
        self._chars -= known.chars
        if not known.is_prefix_of(messages):
            known = _Encoded(self._encoder_for(*asked))
        known.extend(messages)
        if known.close():
            return known.wire
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

    def close(self) -> bool:
        return self._encoder.close(self.wire)


class OpenCalls:
    """The calls of the last answer that have no result yet.

    A process that was killed leaves some behind, and every service refuses a history with one for
    ever after. So the results that are missing are put in where they belong, directly after the
    calls; the same history always gives the same.
    """

    def __init__(self) -> None:
        self._open: list[ToolCallBlock] = []
        self._given_up: set[str] = set()

    def follow(self, message: Message) -> tuple[Message, ...]:
        """`message` as it may stand next, behind what must stand before it."""
        if message.role == "user":
            return (self._answered(message),)
        before = self.rest()
        if message.role == "assistant":
            self._open = list(message.tool_calls)
        return (*before, message)

    def rest(self) -> tuple[Message, ...]:
        """The results that are missing, when nothing but results may come any more."""
        return (Message(role="user", blocks=self._give_up()),) if self._open else ()

    def _answered(self, message: Message) -> Message:
        if not self._open and not self._given_up:
            return message
        results: list[Block] = []
        others: list[Block] = []
        for block in message.blocks:
            if not isinstance(block, ToolResultBlock):
                others.append(block)
            elif self._close(block.call_id) or block.call_id not in self._given_up:
                results.append(block)
            else:
                # Its call was answered in its place: a second result would be refused.
                others += (TextBlock(text=f"[the late result of {block.name}]"), *block.content)
        if others:
            results += self._give_up()
        blocks = (*results, *others)
        return message if blocks == message.blocks else replace(message, blocks=blocks)

    def _close(self, call_id: str) -> bool:
        for place, call in enumerate(self._open):
            if call.id == call_id:
                del self._open[place]
                return True
        return False

    def _give_up(self) -> tuple[Block, ...]:
        calls, self._open = self._open, []
        self._given_up.update(call.id for call in calls)
        return tuple(
            ToolResultBlock(
                call_id=call.id,
                name=call.name,
                content=(TextBlock(text=_NO_RESULT),),
                is_error=True,
            )
            for call in calls
        )


class EncodedTools:
    """The last list of tools in the form of a vendor's API: agents of one server mostly share one,
    and the same bytes each round are what prompt caches need."""

    def __init__(self, encode: Callable[[Sequence[ToolSpec]], list[Wire]]) -> None:
        self._encode = encode
        self._seen: tuple[ToolSpec, ...] = ()
        self._encoded: list[Wire] = []

    def of(self, tools: Sequence[ToolSpec]) -> list[Wire]:
        if len(self._seen) != len(tools) or not all(map(operator.is_, self._seen, tools)):
            self._encoded = self._encode(tools)
            self._seen = tuple(tools)
        return self._encoded


def wire_id(call_id: str, *, longest: int = _ID_CHARS) -> str:
    """The id of a call, for it and for its result, as services take ids. Those of other vendors may
    be longer or of other characters; one that has to be changed gets a hash, so that two ids never
    become one."""
    if 0 < len(call_id) <= longest and not _BAD_ID.search(call_id):
        return call_id
    digest = hashlib.sha256(call_id.encode(errors="surrogatepass")).hexdigest()[:16]
    return f"{_BAD_ID.sub('_', call_id)[: longest - 17] or 'call'}_{digest}"


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
            case TextBlock(text=text, ext=ext) | ReasoningBlock(text=text, ext=ext):
                total += len(text) + _chars_within(ext)
            case ToolCallBlock(arguments_json=text, ext=ext):
                total += len(text) + _chars_within(ext)
            case ImageBlock(data_b64=text):
                total += len(text)
            case ToolResultBlock(content=content):
                total += _chars(content)
            case RawBlock(raw=raw) | OpaqueBlock(raw=raw):
                total += _chars_within(raw)
    return total


def _chars_within(raw: object) -> int:
    """Roughly: of its texts, the largest of which is what a service has encrypted."""
    match raw:
        case str():
            return len(raw)
        case Mapping():
            return sum(map(_chars_within, raw.values()))
        case list() | tuple():
            return sum(map(_chars_within, raw))
    return 0
