"""An OpenAI provider talking to a fake Responses API, as the tests here set one up."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.messages import Message
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.secrets import Secret
from bamboo_mcp.domain.stream import Chunk, Stop
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.providers.openai.responses import ResponsesProvider, make
from bamboo_mcp.testing.fake_llm.responses import ResponsesDialect
from bamboo_mcp.testing.fake_llm.server import FakeLLM, fake_llm

KEY = "sk-proj-very-secret-0123456789"
MODEL = "gpt-6-sol"
TOOLS = (
    ToolSpec(name="look", description="Look at a file."),
    ToolSpec(name="draw", description="", input_schema={"type": "object"}),
)


@asynccontextmanager
async def openai_and_fake(**options: Any) -> AsyncGenerator[tuple[ResponsesProvider, FakeLLM]]:
    async with fake_llm(ResponsesDialect()) as server:
        config = ProviderConfig(
            name="openai",
            type="openai",
            base_url=f"{server.base_url}/v1",
            api_key=Secret(KEY),
            options=options,
        )
        async with aclosing(make(config)) as provider:
            yield provider, server


def a_request(messages: list[Message], **more: Any) -> ModelRequest:
    fields: dict[str, Any] = {"model": MODEL, "tools": TOOLS, "conversation": "c1", **more}
    return ModelRequest(messages=messages, **fields)


async def read(provider: ResponsesProvider, request: ModelRequest) -> list[Chunk]:
    with anyio.fail_after(5):
        async with provider.stream(request) as stream:
            return [chunk async for chunk in stream]


async def ask(provider: ResponsesProvider, request: ModelRequest) -> Stop:
    stop = (await read(provider, request))[-1]
    assert isinstance(stop, Stop)
    return stop
