"""How the provider reaches its service: keys, headers, connections, models and token counts."""

from __future__ import annotations

import anyio
import pytest

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.stream import Stop
from bamboo_mcp.providers.anthropic.provider import make
from bamboo_mcp.testing.contracts.provider import simple_request
from bamboo_mcp.testing.fake_llm.server import FakeReply
from tests.providers.anthropic.at import KEY, MODEL, anthropic_and_fake, ask

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


async def test_the_key_goes_out_in_the_headers_and_the_connection_is_used_again() -> None:
    async with anthropic_and_fake(headers={"x-team": "blue"}) as (provider, server):
        for _ in range(3):
            server.reply(FakeReply(text="ok"))
            with anyio.fail_after(5):
                async with provider.stream(simple_request(model=MODEL)) as chunks:
                    async for chunk in chunks:
                        if isinstance(chunk, Stop):
                            break  # as the agent does: it leaves at the Stop
        assert server.connections == 1
        headers = server.requests[0].headers
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["x-api-key"] == KEY
    assert headers["x-team"] == "blue"


async def test_a_server_of_ones_own_needs_no_key_when_told_so() -> None:
    async with anthropic_and_fake() as (_, server):
        config = ProviderConfig(
            name="local",
            type="anthropic",
            base_url=server.base_url,
            options={"keyless": True, "cache_ttl": ""},
        )
        provider = make(config)
        server.reply(FakeReply(text="ok"))
        await ask(provider, simple_request(model="llama3:8b"))
        await provider.aclose()
        assert "cache_control" not in server.requests[0].body


async def test_tokens_are_counted_by_the_service() -> None:
    async with anthropic_and_fake() as (provider, server):
        server.token_count = 1234
        assert (
            await provider.count(
                ModelRequest(model=MODEL, messages=[user_message("a")], system="s")
            )
            == 1234
        )
        body = server.requests[0].body
        assert "max_tokens" not in body
        assert body["system"] == "s"


async def test_its_models_are_those_we_know_and_those_the_service_names() -> None:
    async with anthropic_and_fake() as (provider, server):
        server.model_ids = ["claude-of-tomorrow", MODEL]
        rows = {row.name: row for row in await provider.models()}
    assert rows["claude-of-tomorrow"].caps.context_window == 500_000
    assert rows[MODEL].ready


async def test_a_service_that_does_not_answer_leaves_the_known_models_with_the_reason() -> None:
    config = ProviderConfig(
        name="gone", type="anthropic", base_url="http://127.0.0.1:9", options={"keyless": True}
    )
    provider = make(config)
    rows = await provider.models()
    assert await provider.count(simple_request(model=MODEL)) is None
    await provider.aclose()
    assert rows
    assert all(row.provider == "gone" and not row.ready and row.missing for row in rows)
