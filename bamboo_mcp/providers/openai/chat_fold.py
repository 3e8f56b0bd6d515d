"""The chunks of a chat stream, folded into ours; nothing is known to be whole before its end.

Usage may follow the reason to stop, or never come, and a call is whole only when no more of it
comes: so blocks are finished when the stream is. A stream that never gave a reason to stop broke
off, though the SDK ends without a word (providers note, section 2.3).
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Final

import anyio

from bamboo_mcp.domain.messages import Block, Message, ReasoningBlock, TextBlock
from bamboo_mcp.domain.provider_errors import Overloaded, ServerFailed, Truncated
from bamboo_mcp.domain.stream import BlockDone, Chunk, ReasoningChunk, Stop, StopReason, TextChunk
from bamboo_mcp.domain.usage import NO_USAGE, Usage
from bamboo_mcp.providers.arguments import BadCall, bad_tool_json
from bamboo_mcp.providers.faults import Faults
from bamboo_mcp.providers.openai.chat_calls import Calls
from bamboo_mcp.providers.openai.chat_tags import Tags

logger = logging.getLogger(__name__)

END: Final = object()
"""The last event `feed` is given: the stream is at its end."""

_STOPS: dict[str, StopReason] = {
    "stop": "end",
    "tool_calls": "end",  # and `tool_use` when there are any
    "function_call": "end",
    "eos": "end",
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "model_length": "context_window",
    "content_filter": "refusal",
}
_CUT_SHORT = ("max_tokens", "context_window")
_LAST_WORDS_WITHIN_S = 3.0


class UntilEnd:
    """The events of a stream, and then `END`.

    Once the model has given its reason to stop, a connection that breaks is only another end, and
    so is silence: usage and the end itself are waited for `last_words_within_s` altogether.
    """

    def __init__(
        self,
        events: AsyncIterator[Any],
        fold: Fold,
        errors: tuple[type[Exception], ...],
        *,
        last_words_within_s: float = _LAST_WORDS_WITHIN_S,
    ) -> None:
        self._events = events
        self._fold = fold
        self._errors = errors
        self._last_words_within_s = last_words_within_s
        self._deadline: float | None = None
        self._ended = False

    def __aiter__(self) -> UntilEnd:
        return self

    async def __anext__(self) -> Any:
        if self._ended:
            raise StopAsyncIteration
        try:
            if not self._fold.finished:
                return await self._events.__anext__()
            if self._deadline is None:
                self._deadline = anyio.current_time() + self._last_words_within_s
            with anyio.CancelScope(deadline=self._deadline):
                return await self._events.__anext__()
            logger.info("the stream went silent after its answer")
        except StopAsyncIteration:
            pass
        except self._errors as error:
            if not self._fold.finished:
                raise
            logger.info("the stream broke off after its answer: %s", type(error).__name__)
        self._ended = True
        return END


class _Open:
    """The text or reasoning that is being written."""

    __slots__ = ("index", "kind", "parts")

    def __init__(self, kind: type[TextChunk | ReasoningChunk], index: int) -> None:
        self.kind = kind
        self.index = index
        self.parts: list[str] = []


class Fold:
    """Feed it every event in order, then `END`; the `Stop` comes from `end`."""

    def __init__(self, faults: Faults, model: str, tags: tuple[str, str] | None) -> None:
        self._faults = faults
        self._origin = f"{faults.name}:{model}"
        self._model = model
        self._response_id = ""
        self._tags = Tags(tags)
        self._next = 0
        self._calls = Calls(self._next_index)
        self._open: _Open | None = None
        self._blocks: list[Block] = []
        self._refusal: list[str] = []
        self._usage: Any = None
        self._said = ""
        self._ended = False
        self.started = False
        """True once a chunk was handed on."""

    @property
    def finished(self) -> bool:
        """The model gave its reason to stop."""
        return bool(self._said)

    def feed(self, event: Any) -> Iterable[Chunk]:
        if event is END:
            return self._finish()
        if event.usage is not None:
            self._usage = event.usage  # the last word counts: some repeat it in every chunk
        if not event.choices:
            self._refuse(event)
            return ()
        if not self._response_id:
            self._response_id = event.id or ""
            self._model = event.model or self._model
        choice = event.choices[0]
        if choice.finish_reason:
            self._said = str(choice.finish_reason)
        return self._delta(choice.delta) if choice.delta is not None else ()

    def end(self) -> Stop | None:
        if not self._ended:
            return None
        reason, detail = _reason(self._said)
        if self._refusal:
            reason, detail = "refusal", "".join(self._refusal)
        message = Message(
            role="assistant", blocks=tuple(self._blocks), origin=self._origin, at=time.time()
        )
        return Stop(
            message=message,
            reason="tool_use" if self._calls and reason == "end" else reason,
            usage=_usage(self._usage),
            model=self._model,
            response_id=self._response_id,
            detail=detail,
        )

    def truncated(self) -> Truncated:
        return Truncated(
            f"the stream of {self._origin} ended in the middle of the answer",
            hint="The server or a proxy in between closed early; try again.",
            provider=self._faults.name,
            started=self.started,
        )

    def _delta(self, delta: Any) -> list[Chunk]:
        chunks: list[Chunk] = []
        if extra := delta.model_extra:
            # Servers in transition send both fields, with the same text.
            thought = extra.get("reasoning_content") or extra.get("reasoning")
            if thought and isinstance(thought, str):
                if not self._tags.done:
                    self._write(TextChunk, self._tags.stop(), chunks)
                self._write(ReasoningChunk, thought, chunks)
        if content := delta.content:
            self._content(content, chunks)
        if delta.refusal:
            self._refusal.append(delta.refusal)
            self._write(TextChunk, self._tags.stop() + delta.refusal, chunks)
        if delta.tool_calls:
            for piece in delta.tool_calls:
                chunks += self._calls.feed(piece)
        elif delta.function_call is not None:
            chunks += self._calls.feed_legacy(delta.function_call)
        return chunks

    def _content(self, content: Any, chunks: list[Chunk]) -> None:
        if isinstance(content, str):
            if self._tags.done:
                self._write(TextChunk, content, chunks)
                return
            for kind, text in self._tags.split(content):
                self._write(kind, text, chunks)
            return
        for kind, text in _parts(content):
            self._write(kind, text, chunks)

    def _write(
        self, kind: type[TextChunk | ReasoningChunk], text: str, chunks: list[Chunk]
    ) -> None:
        if not text:
            return
        opened = self._open
        if opened is None or opened.kind is not kind:
            self._close(chunks)
            opened = self._open = _Open(kind, self._next_index())
        opened.parts.append(text)
        chunks.append(kind(text=text, index=opened.index))

    def _close(self, chunks: list[Chunk]) -> None:
        opened, self._open = self._open, None
        if opened is None:
            return
        text = "".join(opened.parts)
        block = TextBlock(text=text) if opened.kind is TextChunk else ReasoningBlock(text=text)
        self._blocks.append(block)
        chunks.append(BlockDone(index=opened.index, block=block))

    def _finish(self) -> list[Chunk]:
        """All that is whole now. Without a reason to stop nothing is."""
        chunks: list[Chunk] = []
        if not self._said:
            return chunks
        for kind, text in self._tags.flush():
            self._write(kind, text, chunks)
        self._close(chunks)
        reason, _ = _reason(self._said)
        self._check_reason()
        try:
            calls = self._calls.blocks(cut_short=reason in _CUT_SHORT)
        except BadCall as error:
            raise bad_tool_json(
                self._origin, error, started=self.started, usage=_usage(self._usage)
            ) from None
        for index, block in calls:
            self._blocks.append(block)
            chunks.append(BlockDone(index=index, block=block))
        self._ended = True
        return chunks

    def _check_reason(self) -> None:
        """Some reasons to stop are failures that ended up in the wrong field."""
        said, name = self._said.lower(), self._faults.name
        if "malformed_function_call" in said:
            problem = "wrote a call that the service could not read"
            raise bad_tool_json(self._origin, problem, started=self.started)
        if said == "insufficient_system_resource":
            raise Overloaded(f"{name} broke off: {said}", provider=name, started=self.started)
        if said == "error":
            raise ServerFailed(
                f"{name} broke off the answer with an error it did not name",
                provider=name,
                started=self.started,
            )
        if said == "abort":
            raise self.truncated()

    def _refuse(self, event: Any) -> None:
        """Old vLLM sends an error as if it were a chunk, which the SDK lets pass."""
        if event.object != "error":
            return
        said = event.model_extra or {}
        code = said.get("code")
        raise self._faults.refused(
            status=code if isinstance(code, int) else 200,
            error_type=str(said.get("type") or ""),
            error_code=str(code or ""),
            text=str(said.get("message") or ""),
            started=self.started,
        )

    def _next_index(self) -> int:
        self._next += 1
        return self._next - 1


def _reason(said: str) -> tuple[StopReason, str]:
    """Our reason, and the service's word when it is none that everybody has."""
    word, _, detail = said.lower().partition(":")
    reason = _STOPS.get(word.strip())
    return (reason, detail.strip()) if reason is not None else ("end", said)


def _parts(content: object) -> Iterator[tuple[type[TextChunk | ReasoningChunk], str]]:
    """Content as a list of parts, as Mistral's models that think send it."""
    for part in content if isinstance(content, list) else ():
        match part:
            case {"type": "thinking", "thinking": list(inner)}:
                yield ReasoningChunk, "".join(str(one.get("text", "")) for one in inner)
            case {"text": str(text)}:
                yield TextChunk, text


def _usage(said: Any) -> Usage:
    """Zero for what the server does not say. `total_tokens` may hold thoughts that
    `completion_tokens` leaves out (Gemini)."""
    if said is None:
        return NO_USAGE
    prompt = said.prompt_tokens or 0
    read = said.prompt_tokens_details
    written = said.completion_tokens_details
    hits: Callable[[str], Any] = (said.model_extra or {}).get
    return Usage(
        input=prompt,
        output=max(said.completion_tokens or 0, (said.total_tokens or 0) - prompt),
        cache_read=(read and read.cached_tokens) or hits("prompt_cache_hit_tokens") or 0,
        cache_write=(read and read.cache_write_tokens) or 0,
        reasoning=(written and written.reasoning_tokens) or 0,
    )
