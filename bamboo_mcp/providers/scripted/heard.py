"""One model call as a recording hears it: what was asked, and what came of it."""

from __future__ import annotations

from bamboo_mcp.domain.messages import Message, ReasoningBlock, TextBlock, ToolCallBlock
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.provider_errors import ProviderFailure
from bamboo_mcp.domain.stream import (
    BlockDone,
    Chunk,
    ReasoningChunk,
    Stop,
    TextChunk,
    ToolCallChunk,
)


class Heard:
    """`stop` says that the answer is whole, `failure` that there is none; without either, whoever
    asked left."""

    __slots__ = (
        "arguments",
        "blocks",
        "call_name",
        "failure",
        "messages",
        "reasoning",
        "stop",
        "text",
    )

    def __init__(self, request: ModelRequest) -> None:
        # The history goes on growing after this call: these are the messages of now.
        self.messages: tuple[Message, ...] = tuple(request.messages)
        self.stop: Stop | None = None
        self.failure: ProviderFailure | None = None
        self.blocks: list[TextBlock | ReasoningBlock | ToolCallBlock] = []
        self.text: list[str] = []
        """What was written of a block that is not whole yet; the same holds for those below."""
        self.reasoning: list[str] = []
        self.call_name = ""
        self.arguments: list[str] = []

    def note(self, chunk: Chunk) -> None:
        match chunk:
            case TextChunk(text=text):
                self.text.append(text)
            case ReasoningChunk(text=text):
                self.reasoning.append(text)
            case ToolCallChunk(name=name, arguments_json=part):
                if name:
                    self.call_name = name
                    self.arguments.clear()
                self.arguments.append(part)
            case BlockDone(block=block):
                self._finish(block)
            case Stop():
                self.stop = chunk

    def _finish(self, block: object) -> None:
        match block:
            case TextBlock():
                self.text.clear()
            case ReasoningBlock():
                self.reasoning.clear()
            case ToolCallBlock():
                self.call_name = ""
                self.arguments.clear()
            case _:
                return  # a vendor's own block means nothing to anybody else
        self.blocks.append(block)
