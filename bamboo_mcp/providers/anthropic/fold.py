"""The raw events of an Anthropic stream, folded into our chunks and the whole message at the end.

Nothing is repaired: arguments that are not a JSON object, or a stream that stops in the middle, is
a failure and never an empty call (providers note, section 1.4).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from bamboo_mcp.domain.messages import (
    Block,
    Message,
    OpaqueBlock,
    ReasoningBlock,
    TextBlock,
    ToolCallBlock,
)
from bamboo_mcp.domain.provider_errors import Truncated
from bamboo_mcp.domain.stream import (
    BlockDone,
    Chunk,
    ReasoningChunk,
    Stop,
    StopReason,
    TextChunk,
    ToolCallChunk,
)
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.providers.anthropic.payload import EXT, PREFIX
from bamboo_mcp.providers.arguments import BadCall, bad_tool_json, checked_arguments

_STOPS: dict[str, StopReason] = {
    "end_turn": "end",
    "tool_use": "tool_use",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "refusal": "refusal",
    "pause_turn": "pause",
    "model_context_window_exceeded": "context_window",
    "compaction": "compaction",
}
_CUT_SHORT = ("max_tokens", "context_window")


class _Open:
    """A block being written: its raw form, and the JSON of its input as far as it came."""

    __slots__ = ("json_parts", "raw")

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        self.json_parts: list[str] = []

    @property
    def is_bare(self) -> bool:
        return not any(self.json_parts) and not self.raw.get("input")


class Fold:
    """Feed it every event in order; the `Stop` comes when the stream is whole."""

    def __init__(self, provider: str, model: str, prefix: str = "") -> None:
        self._provider = provider
        self._prefix = prefix
        self._origin = f"{provider}:{model}"
        self._model = model
        self._response_id = ""
        self._open: dict[int, _Open] = {}
        self._blocks: list[Block] = []
        self._bare: tuple[int, ToolCallBlock] | None = None
        """A call without arguments, held back until it is sure that they were not cut off."""
        self._usage: dict[str, Any] = {}
        self._reason: StopReason | None = None
        self._detail = ""
        self._bad_call: BadCall | None = None
        self.started = False
        """True once a chunk was handed on."""

    def end(self) -> None:
        """The last event said it all: here an end of the stream says nothing more."""

    def truncated(self) -> Truncated:
        return Truncated(
            f"the stream of {self._origin} ended in the middle of the answer",
            hint="The connection or a proxy in between closed early; try again.",
            provider=self._provider,
            started=self.started,
        )

    def feed(self, event: Any) -> Iterator[Chunk]:
        match event.type:
            case "content_block_delta":
                yield from self._delta(event.index, event.delta)
            case "content_block_start":
                yield from self._start(event.index, event.content_block.to_dict())
            case "content_block_stop":
                yield from self._finish(event.index)
            case "message_start":
                self._response_id = event.message.id or ""
                self._model = event.message.model or self._model
                self._count(event.message.usage)
            case "message_delta":
                self._count(event.usage)
                self._note_stop(event.delta)
            case "message_stop":
                yield from self._finish_rest()
                yield self._stop()
            case _:
                pass  # a kind of event that is newer than we are

    def _start(self, index: int, raw: dict[str, Any]) -> Iterator[Chunk]:
        yield from self._release()
        self._open[index] = _Open(raw)
        match raw:
            case {"type": "tool_use", "id": str(call_id), "name": str(name)}:
                yield ToolCallChunk(index=index, id=call_id, name=name)
            case {"type": "text", "text": str(text)} if text:
                yield TextChunk(index=index, text=text)
            case {"type": "thinking", "thinking": str(text)} if text:
                yield ReasoningChunk(index=index, text=text)

    def _delta(self, index: int, delta: Any) -> Iterator[Chunk]:
        block = self._open.get(index)
        if block is None:
            return  # of a block that was never begun: nothing it could belong to
        match delta.type:
            case "text_delta":
                block.raw["text"] = (block.raw.get("text") or "") + delta.text
                if delta.text:
                    yield TextChunk(index=index, text=delta.text)
            case "thinking_delta":
                block.raw["thinking"] = (block.raw.get("thinking") or "") + delta.thinking
                if delta.thinking:
                    yield ReasoningChunk(index=index, text=delta.thinking)
            case "input_json_delta":
                block.json_parts.append(delta.partial_json)
                if delta.partial_json and block.raw.get("type") == "tool_use":
                    yield ToolCallChunk(index=index, arguments_json=delta.partial_json)
            case "signature_delta":
                block.raw["signature"] = delta.signature
            case "citations_delta":
                citations = block.raw.get("citations") or []
                block.raw["citations"] = [*citations, delta.citation.to_dict()]
            case _:
                _merge(block.raw, delta.to_dict())

    def _finish(self, index: int) -> Iterator[Chunk]:
        opened = self._open.pop(index, None)
        if opened is None:
            return
        yield from self._release()
        block = self._block(opened)
        if isinstance(block, ToolCallBlock) and opened.is_bare:
            self._bare = (index, block)
        elif block is not None:
            yield self._done(index, block)

    def _release(self) -> Iterator[Chunk]:
        if self._bare is not None:
            bare, self._bare = self._bare, None
            yield self._done(*bare)

    def _done(self, index: int, block: Block) -> BlockDone:
        self._blocks.append(block)
        return BlockDone(index=index, block=block)

    def _finish_rest(self) -> Iterator[Chunk]:
        """What is left at the end. An answer that was cut loses a call that the cut may have gone
        through; text was shown, and stays though some servers leave its block open."""
        if self._reason not in _CUT_SHORT:
            if self._open:
                raise self.truncated()
            yield from self._release()
            return
        for index, opened in sorted(self._open.items()):
            block = self._block(opened) if opened.raw.get("type") == "text" else None
            if block is not None:
                yield self._done(index, block)

    def _block(self, opened: _Open) -> Block | None:
        raw = opened.raw
        match raw.get("type"):
            case "text":
                plain = not raw.get("citations") and raw.keys() <= {"type", "text", "citations"}
                text = raw.get("text") or ""
                return TextBlock(text=text, ext={} if plain else {EXT: raw}) if text else None
            case "thinking":
                return ReasoningBlock(text=raw.get("thinking") or "", ext=self._signed(raw))
            case "redacted_thinking":
                return ReasoningBlock(redacted=True, ext=self._signed(raw))
            case "tool_use":
                return self._tool_call(opened)
            case _:
                if text := "".join(opened.json_parts):
                    if (arguments := self._arguments(raw, text)) is None:
                        return None
                    raw["input"] = arguments
                return OpaqueBlock(provider=self._provider, raw=raw)

    def _signed(self, raw: dict[str, Any]) -> dict[str, Any]:
        return {EXT: raw, PREFIX: self._prefix} if self._prefix else {EXT: raw}

    def _tool_call(self, opened: _Open) -> ToolCallBlock | None:
        raw = opened.raw
        text = "".join(opened.json_parts)
        if not text:
            text = msgspec.json.encode(raw.get("input") or {}).decode()
        elif self._arguments(raw, text) is None:
            return None
        extra = {key: raw[key] for key in raw.keys() - {"type", "id", "name", "input"}}
        return ToolCallBlock(
            id=raw["id"], name=raw["name"], arguments_json=text, ext={EXT: extra} if extra else {}
        )

    def _arguments(self, raw: Mapping[str, Any], text: str) -> Mapping[str, Any] | None:
        """The input as an object. A bad one is only remembered: an answer cut off by its token
        limit ends like this too, and then that is the reason to tell."""
        try:
            return checked_arguments(raw.get("name", ""), text)
        except BadCall as error:
            self._bad_call = error
            return None

    def _count(self, usage: Any) -> None:
        # Figures are cumulative: later ones overwrite, missing ones keep what was said before.
        if usage is not None:
            said = usage.to_dict()
            self._usage |= {key: value for key, value in said.items() if value is not None}

    def _note_stop(self, delta: Any) -> None:
        said = delta.stop_reason or ""
        self._reason = _STOPS.get(said, "end")
        details = delta.to_dict().get("stop_details") or {}
        self._detail = ": ".join(
            str(details[key]) for key in ("category", "explanation") if details.get(key)
        )
        if not self._detail:
            self._detail = delta.stop_sequence or ("" if said in _STOPS else said)

    def _stop(self) -> Stop:
        reason = self._reason or "end"
        if self._bad_call is not None and reason not in _CUT_SHORT:
            raise bad_tool_json(
                self._origin, self._bad_call, started=self.started, usage=self._total()
            )
        calls = any(isinstance(block, ToolCallBlock) for block in self._blocks)
        message = Message(
            role="assistant", blocks=tuple(self._blocks), origin=self._origin, at=time.time()
        )
        return Stop(
            message=message,
            reason="tool_use" if calls and reason == "end" else reason,
            usage=self._total(),
            model=self._model,
            response_id=self._response_id,
            detail=self._detail,
        )

    def _total(self) -> Usage:
        read = self._usage.get("cache_read_input_tokens", 0)
        written = self._usage.get("cache_creation_input_tokens", 0)
        details = self._usage.get("output_tokens_details") or {}
        return Usage(
            input=self._usage.get("input_tokens", 0) + read + written,
            output=self._usage.get("output_tokens", 0),
            cache_read=read,
            cache_write=written,
            reasoning=details.get("thinking_tokens") or 0,
        )


def _merge(raw: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """A delta of an unknown kind: its text continues what is there, anything else replaces it."""
    for key, value in delta.items():
        if key == "type":
            continue
        before = raw.get(key)
        raw[key] = before + value if isinstance(before, str) and isinstance(value, str) else value
