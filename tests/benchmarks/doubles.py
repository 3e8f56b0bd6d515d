"""A model that answers at once or after a while, a tool that does nothing, and the app around them.

They come in as a plugin, so what is measured is put together by `open_app` like the product.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Literal

import anyio

from bamboo_mcp.app import App, open_app
from bamboo_mcp.contributions import (
    ProviderConfig,
    ProviderContribution,
    Services,
    ToolsContribution,
)
from bamboo_mcp.domain.messages import Message, TextBlock, ToolCallBlock
from bamboo_mcp.domain.models import ModelCaps, ModelEntry, ModelRequest
from bamboo_mcp.domain.stream import Chunk, Stop
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.plugin_host.hookspecs import hookimpl
from bamboo_mcp.plugin_host.sources import ObjectSource
from bamboo_mcp.ports import Notify, Provider, ToolContext, ToolExecutor
from bamboo_mcp.settings import Settings
from bamboo_mcp.tools.function import FunctionExecutor, tool

MODEL = "bench:model"


@tool(title="Nothing", effect="read")
async def trivial(context: ToolContext, n: int) -> str:
    """Do nothing and say so."""
    return "ok"


class BenchModel:
    """Answers after `delay_s`: a call of `trivial` in the first `rounds` rounds, then a word.

    A provider: it knows the round by counting the calls of a conversation.
    """

    def __init__(self, *, delay_s: float = 0.0, rounds: int = 0) -> None:
        self.delay_s = delay_s
        self.rounds = rounds
        self._asked: defaultdict[str, int] = defaultdict(int)
        self._caps = ModelCaps(context_window=100_000_000)

    @property
    def name(self) -> str:
        return "bench"

    def caps(self, model: str) -> ModelCaps:
        return self._caps

    def stream(
        self, request: ModelRequest, *, notify: Notify | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        return _Answer(self, request.conversation)

    def answer(self, conversation: str) -> Stop:
        self._asked[conversation] = asked = self._asked[conversation] + 1
        usage = Usage(input=10, output=5)
        if asked > self.rounds:
            message = Message(role="assistant", blocks=(TextBlock(text="done"),))
            return Stop(message=message, usage=usage)
        call = ToolCallBlock(id=f"c{asked}", name="trivial", arguments_json=f'{{"n":{asked}}}')
        return Stop(
            message=Message(role="assistant", blocks=(call,)), reason="tool_use", usage=usage
        )

    async def count(self, request: ModelRequest) -> int | None:
        return None

    async def models(self) -> Sequence[ModelEntry]:
        return []


class _Answer:
    """A stream of one chunk. No generator: one left before its end makes asyncio start a task."""

    __slots__ = ("_conversation", "_ended", "_model")

    def __init__(self, model: BenchModel, conversation: str) -> None:
        self._model = model
        self._conversation = conversation
        self._ended = False

    async def __aenter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __aexit__(self, *reason: object) -> None:
        self._ended = True

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        if self._ended:
            raise StopAsyncIteration
        self._ended = True
        if self._model.delay_s:
            await anyio.sleep(self._model.delay_s)
        return self._model.answer(self._conversation)


class BenchPlugin:
    """Hands over the model and the tool, and keeps the services it was given."""

    def __init__(self, model: BenchModel) -> None:
        self.model = model
        self.services: Services | None = None

    @hookimpl
    def contribute_providers(self) -> Sequence[ProviderContribution]:
        row = ModelEntry(name="model", provider="bench", ready=True)
        return [ProviderContribution(type="bench", load=self._provider, models=(row,))]

    @hookimpl
    def contribute_tools(self) -> Sequence[ToolsContribution]:
        return [ToolsContribution(name="bench", load=self._tools)]

    def _provider(self, config: ProviderConfig) -> Provider:
        return self.model

    def _tools(self, services: Services) -> ToolExecutor:
        self.services = services
        return FunctionExecutor([trivial])


@asynccontextmanager
async def open_bench(
    model: BenchModel,
    home: Path,
    *,
    durability: Literal["process", "turn", "always"] | None,
    concurrent: int = 16,
) -> AsyncIterator[tuple[App, Services]]:
    """The whole agent over `model`; with `durability` None in memory."""
    settings = Settings.model_validate(
        {
            "home": home,
            "models": {"primary": MODEL},
            "subagents": {"max_concurrent": concurrent, "max_queued": concurrent},
            "storage": {"durability": durability or "process"},
        }
    )
    plugin = BenchPlugin(model)
    sources = [ObjectSource({"bench": plugin})]
    async with open_app(settings, sources=sources, in_memory=durability is None) as app:
        assert plugin.services is not None
        yield app, plugin.services
