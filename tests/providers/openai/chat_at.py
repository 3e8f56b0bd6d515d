"""A chat provider talking to a fake server, as the tests here set one up."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.messages import Message
from bamboo_mcp.domain.models import ModelFacts, ModelRequest
from bamboo_mcp.domain.secrets import Secret
from bamboo_mcp.domain.stream import Chunk, Stop
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.providers.openai.chat import ChatProvider, make
from bamboo_mcp.testing.fake_llm.chat import ChatDialect
from bamboo_mcp.testing.fake_llm.server import FakeLLM, fake_llm

KEY = "sk-chat-very-secret-0123456789"
MODEL = "qwen3:8b"
TOOLS = (
    ToolSpec(name="look", description="Look at a file."),
    ToolSpec(name="draw", description=""),
)
PLAIN = ChatDialect()


@asynccontextmanager
async def chat_and_fake(
    dialect: ChatDialect = PLAIN,
    profile: str = "compatible",
    models: dict[str, ModelFacts] | None = None,
    **options: Any,
) -> AsyncGenerator[tuple[ChatProvider, FakeLLM]]:
    async with fake_llm(dialect) as server:
        config = ProviderConfig(
            name="local",
            type="openai-chat",
            base_url=f"{server.base_url}/v1",
            api_key=Secret(KEY),
            options={"profile": profile, **options},
            models=models or {},
        )
        async with aclosing(make(config)) as provider:
            yield provider, server


def request(messages: list[Message], **more: Any) -> ModelRequest:
    fields: dict[str, Any] = {"model": MODEL, "tools": TOOLS, "conversation": "c1", **more}
    return ModelRequest(messages=messages, **fields)


async def read(provider: ChatProvider, asked: ModelRequest) -> list[Chunk]:
    """All chunks, the last of them a `Stop`."""
    chunks: list[Chunk] = []
    with anyio.fail_after(5):
        async with provider.stream(asked) as stream:
            chunks.extend([chunk async for chunk in stream])
    assert isinstance(chunks[-1], Stop)
    return chunks


async def ask(provider: ChatProvider, asked: ModelRequest) -> Stop:
    stop = (await read(provider, asked))[-1]
    assert isinstance(stop, Stop)
    return stop
