"""Real tokens of a real model through our providers (`make realmodel`; not in the default run)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import msgspec
import pytest

from bamboo_mcp.contributions import ProviderContribution, ProviderPreset
from bamboo_mcp.domain.messages import Message, user_message
from bamboo_mcp.domain.models import ModelFacts, ModelRequest
from bamboo_mcp.domain.provider_errors import ContextOverflow
from bamboo_mcp.domain.stream import Chunk, Stop, TextChunk
from bamboo_mcp.ports import Provider
from bamboo_mcp.providers.catalog import ProviderCatalog
from bamboo_mcp.providers.shipped import shipped_providers
from bamboo_mcp.testing.harness import open_harness

pytestmark = pytest.mark.realmodel

MODEL = "smollm2"


@dataclass(frozen=True)
class _Settings:
    type: str = ""
    base_url: str = ""
    api_key: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, ModelFacts] = field(default_factory=dict)


@contextmanager
def _served() -> Iterator[str]:
    command = (sys.executable, "-m", "tests.realmodel.server")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            address = next((line.strip() for line in process.stdout if "http" in line), "")
            assert address, "the server did not start: is `make realmodel` what you ran?"
            yield address
        finally:
            process.stdin.close()
            process.wait(timeout=10)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with _served() as found:
        yield found


def _at(address: str) -> list[ProviderContribution]:
    """What ships, llama.cpp being at this address."""
    preset = ProviderPreset(
        name="llama.cpp",
        base_url=f"{address}/v1",
        options={"profile": "llama.cpp"},
        probe="bamboo_mcp.providers.openai.local:probe",
    )
    return [
        msgspec.structs.replace(one, presets=(preset,)) if one.type == "openai-chat" else one
        for one in shipped_providers()
    ]


@asynccontextmanager
async def _catalog(address: str) -> AsyncIterator[ProviderCatalog]:
    keyless = {"keyless": True}
    settings = {
        "by-chat": _Settings(type="openai-chat", base_url=f"{address}/v1"),
        "by-messages": _Settings(type="anthropic", base_url=address, options=keyless),
        "by-responses": _Settings(type="openai", base_url=f"{address}/v1", options=keyless),
    }
    async with ProviderCatalog(_at(address), providers=settings, environ={}) as catalog:
        yield catalog


async def _ask(provider: Provider, history: list[Message]) -> tuple[list[Chunk], Stop]:
    request = ModelRequest(
        model=MODEL, messages=history, system="You answer briefly.", max_output=24
    )
    with anyio.fail_after(60):
        async with provider.stream(request) as stream:
            chunks = [chunk async for chunk in stream]
    stop = chunks[-1]
    assert isinstance(stop, Stop)
    return chunks, stop


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["by-chat", "by-messages", "by-responses"])
async def test_a_real_model_streams_and_counts_through_each_wire_api(
    address: str, name: str
) -> None:
    async with _catalog(address) as catalog:
        provider, _ = await catalog.resolve(f"{name}:{MODEL}")
        history = [user_message("What is the capital of France?")]
        chunks, stop = await _ask(provider, history)
        texts = [chunk.text for chunk in chunks if isinstance(chunk, TextChunk)]
        assert len(texts) > 1, "it came in pieces"
        assert "".join(texts) == stop.message.text
        assert stop.usage.input > 10
        assert 0 < stop.usage.output <= 25
        assert stop.reason in ("end", "max_tokens")
        _, again = await _ask(provider, [*history, stop.message, user_message("And of Spain?")])
        assert again.usage.input > stop.usage.input


@pytest.mark.timeout(120)
async def test_what_the_server_says_of_it_is_believed(address: str) -> None:
    async with ProviderCatalog(_at(address), environ={}, local=True) as catalog:
        row = next(row for row in await catalog.menu(ask=True) if row.provider == "llama.cpp")
        assert (row.name, row.ready) == (MODEL, True)
        assert row.caps.context_window == 2048, "what it was started with"
        assert not row.caps.tools, "its template has no place for them"
        provider, model = await catalog.resolve("")
        assert f"{provider.name}:{model}" == "offline:offline", "no agent without tools"
        provider, model = await catalog.resolve("llama.cpp")
        assert f"{provider.name}:{model}" == f"llama.cpp:{MODEL}", "but whoever asks for it gets it"


@pytest.mark.timeout(120)
async def test_a_prompt_beyond_its_window_is_told_as_that(address: str) -> None:
    async with _catalog(address) as catalog:
        for name in ("by-chat", "by-messages", "by-responses"):
            provider, _ = await catalog.resolve(f"{name}:{MODEL}")
            with pytest.raises(ContextOverflow):
                await _ask(provider, [user_message("far too much of it. " * 2_000)])


@pytest.mark.timeout(120)
async def test_a_run_on_it_ends_with_what_it_said(address: str) -> None:
    async with _catalog(address) as catalog, open_harness(catalog) as harness:
        child = await harness.spawn("Say hello.", model=f"by-chat:{MODEL}")
        outcome = await harness.ended(child.subagent_id, within_s=60)
    assert outcome.status == "completed", outcome.error
    assert outcome.text
    assert outcome.usage.input > 0
