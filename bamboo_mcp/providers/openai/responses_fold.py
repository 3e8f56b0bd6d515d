"""The raw events of a Responses stream, folded into our chunks and the whole message at the end.

Deltas are what is shown while the model writes; what is kept comes from the finished items, which
alone carry the whole encrypted reasoning. Nothing is repaired (providers note, section 2.3).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
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
from bamboo_mcp.domain.provider_errors import BadToolJson, ProviderFailure, Truncated
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
        self._blocks: list[Block] = []
        self._refusal = ""
        self._bad_json: BadToolJson | None = None
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
        self._open[index] = item.type
        if item.type != "function_call":
            return ()
        return (ToolCallChunk(index=index, id=item.call_id, name=item.name),)

    def _finish(self, index: int, raw: dict[str, Any]) -> Iterator[Chunk]:
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
        if block is not None:
            self._blocks.append(block)
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
        problem = "is not an object"
        try:
            value = msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            value, problem = None, str(error)
        if not isinstance(value, dict) or raw.get("status") == "incomplete":
            # Only remembered: an answer cut off by its token limit ends like this too, and then
            # that is the reason to tell.
            self._bad_json = BadToolJson(
                f"{self._origin} called {raw['name']!r} with arguments that are not a "
                f"JSON object ({problem}): {text[:200]!r}",
                hint="Ask again; if it happens often, give the tool a simpler schema.",
                provider=self._faults.name,
            )
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
        if self._bad_json is not None:
            self._bad_json.started = self.started
            raise self._bad_json
        if self._refusal:
            return (self._stop(response, "refusal", self._refusal),)
        calls = any(isinstance(block, ToolCallBlock) for block in self._blocks)
        return (self._stop(response, "tool_use" if calls else "end"),)

    def _cut_short(self, response: Any) -> Iterator[Chunk]:
        """The answer ends early, and legally so; items half written that were never finished are
        whole enough when the response holds them."""
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
        blocks = self._blocks
        if reason == "refusal":
            # Nobody runs the calls of an answer that was refused, and every call needs its output.
            blocks = [block for block in blocks if not isinstance(block, ToolCallBlock)]
        message = Message(
            role="assistant", blocks=tuple(blocks), origin=self._origin, at=time.time()
        )
        return Stop(
            message=message,
            reason=reason,
            usage=_usage(response.usage),
            model=response.model or self._model,
            response_id=response.id or "",
            detail=detail,
        )


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
