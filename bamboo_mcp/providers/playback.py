"""An answer known beforehand, played as a stream: what scripted and offline models share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from types import TracebackType

from anyio import sleep, sleep_forever

from bamboo_mcp.domain.messages import Block, Message, ReasoningBlock, TextBlock, ToolCallBlock
from bamboo_mcp.domain.provider_errors import ProviderFailure
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


class Playback:
    """The stream of one model call: enter it, iterate it, leave it at any moment.

    When the chunks are used up, `ending` is raised, for an answer that shall break off; one that
    `stalls` says nothing more and does not end.
    """

    __slots__ = ("_between_s", "_chunks", "_ending", "_first_s", "_next", "_stalls")

    def __init__(
        self,
        chunks: Sequence[Chunk],
        *,
        ending: ProviderFailure | None = None,
        before_s: float = 0.0,
        between_s: float = 0.0,
        stalls: bool = False,
    ) -> None:
        self._chunks = chunks
        self._ending = ending
        self._stalls = stalls
        self._first_s = before_s
        self._between_s = between_s
        self._next = 0

    async def __aenter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._next = len(self._chunks)
        self._ending = None
        self._stalls = False

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        at = self._next
        if at == 0:
            # Also without a delay: a loop around a model that never lets go cannot be cancelled.
            await sleep(self._first_s)
        elif self._between_s and at < len(self._chunks):
            await sleep(self._between_s)
        if at < len(self._chunks):
            self._next = at + 1
            return self._chunks[at]
        if self._stalls:
            await sleep_forever()
        if self._ending is not None:
            self._ending.started = at > 0
            raise self._ending
        raise StopAsyncIteration


def chunks_of(
    blocks: Sequence[Block],
    *,
    origin: str,
    usage: Usage = NO_USAGE,
    reason: StopReason | None = None,
    size: int = 0,
) -> list[Chunk]:
    """The chunks a model would send for `blocks`, `size` characters each (0: each block in one)."""
    chunks: list[Chunk] = []
    calls = False
    for index, block in enumerate(blocks):
        match block:
            case TextBlock(text=text):
                chunks += [TextChunk(text=part, index=index) for part in _cut(text, size)]
            case ReasoningBlock(text=text):
                chunks += [ReasoningChunk(text=part, index=index) for part in _cut(text, size)]
            case ToolCallBlock(id=call_id, name=name, arguments_json=text):
                calls = True
                chunks.append(ToolCallChunk(index=index, id=call_id, name=name))
                chunks += [
                    ToolCallChunk(index=index, arguments_json=part) for part in _cut(text, size)
                ]
        chunks.append(BlockDone(index=index, block=block))
    message = Message(role="assistant", blocks=tuple(blocks), origin=origin)
    stop = reason or ("tool_use" if calls else "end")
    model = origin.partition(":")[2]
    chunks.append(Stop(message=message, reason=stop, usage=usage, model=model))
    return chunks


def _cut(text: str, size: int) -> list[str]:
    if size <= 0 or len(text) <= size:
        return [text] if text else []
    return [text[at : at + size] for at in range(0, len(text), size)]
