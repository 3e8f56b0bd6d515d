"""An Anthropic provider talking to a fake server, as the tests here set one up."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.secrets import Secret
from bamboo_mcp.domain.stream import Chunk, Stop
from bamboo_mcp.providers.anthropic.provider import AnthropicProvider, make
from bamboo_mcp.testing.fake_llm.anthropic import AnthropicDialect
from bamboo_mcp.testing.fake_llm.server import FakeLLM, fake_llm

KEY = "sk-ant-very-secret-0123456789"
MODEL = "claude-opus-5-5"


@asynccontextmanager
async def anthropic_and_fake(
    **options: Any,
) -> AsyncGenerator[tuple[AnthropicProvider, FakeLLM]]:
    async with fake_llm(AnthropicDialect()) as server:
        config = ProviderConfig(
            name="anthropic",
            type="anthropic",
            base_url=server.base_url,
            api_key=Secret(KEY),
            options=options,
        )
        async with aclosing(make(config)) as provider:
            yield provider, server


async def ask(provider: AnthropicProvider, request: ModelRequest) -> Stop:
    chunks: list[Chunk] = []
    with anyio.fail_after(5):
        async with provider.stream(request) as stream:
            chunks.extend([chunk async for chunk in stream])
    stop = chunks[-1]
    assert isinstance(stop, Stop)
    return stop
