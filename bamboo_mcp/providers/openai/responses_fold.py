"""The raw events of a Responses stream, folded into our chunks and the whole message at the end.

Deltas are what is shown while the model writes; what is kept comes from the finished items, which
alone carry the whole encrypted reasoning. Nothing is repaired (providers note, section 2.3).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bamboo_mcp.domain.messages import (
    Block,
    Message,
    OpaqueBlock,
    ReasoningBlock,
    TextBlock,
    ToolCallBlock,
)
from bamboo_mcp.domain.provider_errors import ProviderFailure, Truncated
from bamboo_mcp.domain.stream import (
    BlockDone,
    Chunk,
    ReasoningChunk,
    Stop,
    StopReason,
    TextChunk,
    ToolCallChunk,
)
from bamboo_mcp.domain.usage import NO_USAGE, Usage
from bamboo_mcp.providers.arguments import BadCall, bad_tool_json, checked_arguments
from bamboo_mcp.providers.faults import Faults
from bamboo_mcp.providers.openai.responses_payload import EXT

_TEXT = "response.output_text.delta"
_ARGUMENTS = "response.function_call_arguments.delta"
_REFUSAL = "response.refusal.delta"
_REASONING = ("response.reasoning_summary_text.delta", "response.reasoning_text.delta")
_PARAGRAPH = "\n\n"
_CALL_FIELDS = {"type", "id", "call_id", "name", "arguments", "status"}
_MESSAGE_FIELDS = {"type", "id", "role", "content", "status"}


class Fold:
    """Feed it every event in order; the `Stop` comes when the stream is whole."""

    def __init__(self, faults: Faults, model: str) -> None:
        self._faults = faults
        self._origin = f"{faults.name}:{model}"
        self._model = model
        self._open: dict[int, str] = {}
        self._shown: set[int] = set()
        """Items of which some text or argument was handed on in deltas."""
        self._blocks: list[Block | None] = []
        """None in the place of an item that is not kept."""
        self._bare: tuple[int, ToolCallBlock] | None = None
        """A call without arguments, held back until it is sure that they were not cut off."""
        self._refusal = ""
        self._bad_call: BadCall | None = None
        self.started = False
        """True once a chunk was handed on."""

    def end(self) -> None:
        """The last event said it all: here an end of the stream says nothing more."""

    def truncated(self) -> Truncated:
        return Truncated(
            f"the stream of {self._origin} ended in the middle of the answer",
            hint="The connection or a proxy in between closed early; try again.",
            provider=self._faults.name,
            started=self.started,
        )

    def feed(self, event: Any) -> Iterable[Chunk]:
        kind = event.type
        if kind in (_TEXT, _REFUSAL):
            self._shown.add(event.output_index)
            return (TextChunk(text=event.delta, index=event.output_index),) if event.delta else ()
        if kind == _ARGUMENTS:
            if not event.delta:
                return ()
            self._shown.add(event.output_index)
            return (ToolCallChunk(index=event.output_index, arguments_json=event.delta),)
        if kind in _REASONING:
            if not event.delta:
                return ()
            return (ReasoningChunk(text=event.delta, index=event.output_index),)
        return self._rare(kind, event)

    def _rare(self, kind: str, event: Any) -> Iterable[Chunk]:
        match kind:
            case "response.output_item.added":
                return self._begin(event.output_index, event.item)
            case "response.output_item.done":
                index, item = event.output_index, event.item
                first = () if index in self._open else self._begin(index, item)
                del self._open[index]
                return (*first, *self._finish(index, item.to_dict(warnings=False)))
            case "response.reasoning_summary_part.added" if event.summary_index:
                return (ReasoningChunk(text=_PARAGRAPH, index=event.output_index),)
            case "response.created":
                self._model = event.response.model or self._model
            case "response.completed":
                return self._complete(event.response)
            case "response.incomplete":
                return self._cut_short(event.response)
            case "response.failed":
                raise self._failed(event.response.to_dict(warnings=False).get("error") or {})
            case "error":
                raise self._failed(event.to_dict(warnings=False))
        return ()  # also for a kind of event that is newer than we are

    def _begin(self, index: int, item: Any) -> Iterable[Chunk]:
        released = self._release()
        self._open[index] = item.type
        if item.type != "function_call":
            return released
        return (*released, ToolCallChunk(index=index, id=item.call_id, name=item.name))

    def _release(self) -> tuple[Chunk, ...]:
        if self._bare is None:
            return ()
        (index, block), self._bare = self._bare, None
        self._blocks.append(block)
        return (BlockDone(index=index, block=block),)

    def _finish(self, index: int, raw: dict[str, Any]) -> Iterator[Chunk]:
        yield from self._release()
        block: Block | None
        match raw.get("type"):
            case "message":
                block = self._message(raw)
                if block is not None and index not in self._shown:
                    yield TextChunk(text=block.text, index=index)
            case "reasoning":
                block = ReasoningBlock(text=_thoughts(raw), ext={EXT: raw})
            case "function_call":
                block = self._call(raw)
                if block is not None and index not in self._shown and raw.get("arguments"):
                    yield ToolCallChunk(index=index, arguments_json=block.arguments_json)
            case _:
                block = OpaqueBlock(provider=self._faults.name, raw=raw)
        if isinstance(block, ToolCallBlock) and not raw.get("arguments"):
            self._bare = (index, block)
            return
        self._blocks.append(block)
        if block is not None:
            yield BlockDone(index=index, block=block)

    def _message(self, raw: dict[str, Any]) -> TextBlock | None:
        content = raw.get("content") or []
        self._refusal += "".join(part.get("refusal") or "" for part in content)
        text = "".join(part.get("text") or part.get("refusal") or "" for part in content)
        extra = {
            key: value
            for key, value in raw.items()
            if key not in _MESSAGE_FIELDS and value is not None
        }
        if len(content) != 1 or not _is_plain(content[0]):
            extra["content"] = content
        return TextBlock(text=text, ext={EXT: extra} if extra else {}) if text else None

    def _call(self, raw: dict[str, Any]) -> ToolCallBlock | None:
        text = raw.get("arguments") or "{}"
        try:
            checked_arguments(raw["name"], text)
            if raw.get("status") == "incomplete":
                raise BadCall(f"broke off its call of {raw['name']!r} after {text[:200]!r}")
        except BadCall as error:
            # Only remembered: an answer cut off by its token limit ends like this too, and then
            # that is the reason to tell.
            self._bad_call = error
            return None
        extra = {
            key: value
            for key, value in raw.items()
            if key not in _CALL_FIELDS and value is not None
        }
        return ToolCallBlock(
            id=raw["call_id"],
            name=raw["name"],
            arguments_json=text,
            ext={EXT: extra} if extra else {},
        )

    def _complete(self, response: Any) -> Iterable[Chunk]:
        if self._open:
            raise self.truncated()
        if self._bad_call is not None:
            raise bad_tool_json(
                self._origin,
                self._bad_call,
                started=self.started,
                usage=_usage(response.usage),
            )
        released = self._release()
        if self._refusal:
            return (*released, self._stop(response, "refusal", self._refusal))
        calls = any(isinstance(block, ToolCallBlock) for block in self._blocks)
        return (*released, self._stop(response, "tool_use" if calls else "end"))

    def _cut_short(self, response: Any) -> Iterator[Chunk]:
        """The answer ends early, and legally so; items half written that were never finished are
        whole enough when the response holds them. A last call without arguments is not: the cut
        may have come before them, and then not even the service knows it for half a call."""
        self._bare = None
        output = response.output or []
        for index in sorted(self._open):
            if index < len(output) and output[index].type == self._open[index] == "message":
                yield from self._finish(index, output[index].to_dict(warnings=False))
        said = getattr(response.incomplete_details, "reason", None) or ""
        if said == "content_filter" or self._refusal:
            detail = self._refusal or "the service's content filter stopped the answer"
            yield self._stop(response, "refusal", detail)
        else:
            yield self._stop(response, "max_tokens", "" if said == "max_output_tokens" else said)

    def _failed(self, said: Mapping[str, Any]) -> ProviderFailure:
        if isinstance(said.get("error"), Mapping):
            said = said["error"]
        kind = said.get("type")
        return self._faults.refused(
            status=200,
            error_type=kind if isinstance(kind, str) and kind != "error" else "",
            error_code=str(said.get("code") or ""),
            text=str(said.get("message") or ""),
            started=self.started,
        )

    def _stop(self, response: Any, reason: StopReason, detail: str = "") -> Stop:
        blocks = _kept(self._blocks, calls=reason != "refusal")
        message = Message(role="assistant", blocks=blocks, origin=self._origin, at=time.time())
        return Stop(
            message=message,
            reason=reason,
            usage=_usage(response.usage),
            model=response.model or self._model,
            response_id=response.id or "",
            detail=detail,
        )


def _kept(blocks: Sequence[Block | None], *, calls: bool) -> tuple[Block, ...]:
    """Nobody runs the `calls` of an answer that was refused, and every call needs its output. The
    thoughts before what is left out go with it: the service takes none without the item it led to.
    Only those at the end may stay and be read; they are no more sent than any last thought.
    """
    kept: list[Block] = []
    led_nowhere = 0
    for block in blocks:
        if block is None or (not calls and isinstance(block, ToolCallBlock)):
            led_nowhere = len(kept)
            continue
        while led_nowhere and isinstance(kept[led_nowhere - 1], ReasoningBlock):
            led_nowhere -= 1
            del kept[led_nowhere]
        led_nowhere = 0
        kept.append(block)
    return tuple(kept)


def _thoughts(raw: Mapping[str, Any]) -> str:
    parts = [*(raw.get("summary") or []), *(raw.get("content") or [])]
    return _PARAGRAPH.join(part.get("text") or "" for part in parts)


def _is_plain(part: Mapping[str, Any]) -> bool:
    """Nothing but text: it need not be kept a second time."""
    return part.get("type") == "output_text" and not any(
        value for key, value in part.items() if key not in ("type", "text")
    )


def _usage(usage: Any) -> Usage:
    if usage is None:
        return NO_USAGE
    said = usage.to_dict(warnings=False)
    read = said.get("input_tokens_details") or {}
    written = said.get("output_tokens_details") or {}
    return Usage(
        input=said.get("input_tokens") or 0,
        output=said.get("output_tokens") or 0,
        cache_read=read.get("cached_tokens") or 0,
        cache_write=read.get("cache_write_tokens") or 0,
        reasoning=written.get("reasoning_tokens") or 0,
    )
