"""One model call: its stream turned into events, and what is worth keeping if it is cut off."""

from __future__ import annotations

from collections.abc import Callable

from bamboo_mcp.domain.events import ReasoningDelta, TextDelta
from bamboo_mcp.domain.messages import (
    Block,
    Message,
    TextBlock,
    ToolCallBlock,
)
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.provider_errors import Truncated
from bamboo_mcp.domain.stream import BlockDone, ReasoningChunk, Stop, TextChunk, ToolCallChunk
from bamboo_mcp.ports import Emit, Provider


class Draft:
    """What has arrived of an answer so far: whole blocks, and the text being written."""

    __slots__ = ("_blocks", "_writing")

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._writing: list[str] = []

    def write(self, text: str) -> None:
        self._writing.append(text)

    def finish(self, block: Block) -> None:
        self._blocks.append(block)
        if isinstance(block, TextBlock):
            self._writing.clear()

    @property
    def text(self) -> str:
        done = "".join(block.text for block in self._blocks if isinstance(block, TextBlock))
        return done + "".join(self._writing)

    def salvage(self, origin: str, at: float) -> Message | None:
        """The half-written answer as a message that may stand in a history.

        A half-written tool call or thought is dropped: vendors refuse both (providers note,
        section 3, Cancellation). None when no text and no tool call is left.
        """
        blocks = list(self._blocks)
        if self._writing:
            blocks.append(TextBlock(text="".join(self._writing)))
        if not any(isinstance(block, TextBlock | ToolCallBlock) for block in blocks):
            return None
        return Message(role="assistant", blocks=tuple(blocks), origin=origin, at=at)


async def ask_model(
    provider: Provider,
    request: ModelRequest,
    draft: Draft,
    emit: Emit,
    begun: Callable[[], None] | None = None,
) -> Stop:
    """Stream one answer. `begun` is called when its first part is here: the request was read.

    Raises:
        ProviderFailure: The provider's, or `Truncated` when it ended without a `Stop`.
    """

    async with provider.stream(request, notify=emit) as chunks:
        async for chunk in chunks:
            if begun is not None:
                begun()
                begun = None
            match chunk:
                case TextChunk(text=text):
                    draft.write(text)
                    emit(TextDelta(text=text))
                case ReasoningChunk(text=text):
                    emit(ReasoningDelta(text=text))
                case BlockDone(block=block):
                    draft.finish(block)
                case ToolCallChunk():
                    pass
                case Stop():
                    return chunk
    raise Truncated(
        f"{provider.name!r} ended its answer without saying that it was complete",
        hint="run it again; if it goes on, the service or a proxy before it cuts connections",
        provider=provider.name,
        started=True,
    )
