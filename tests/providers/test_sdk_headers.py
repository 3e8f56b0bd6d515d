"""What the environment says to a vendor's SDK stays between it and that vendor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.secrets import Secret
from bamboo_mcp.providers.anthropic.provider import make as make_anthropic
from bamboo_mcp.providers.openai.chat import make as make_chat
from bamboo_mcp.providers.openai.responses import make as make_responses
from bamboo_mcp.testing.fake_llm.anthropic import AnthropicDialect
from bamboo_mcp.testing.fake_llm.chat import ChatDialect
from bamboo_mcp.testing.fake_llm.responses import ResponsesDialect
from bamboo_mcp.testing.fake_llm.server import FakeReply, fake_llm

KEY = "sk-mine-0123456789"
ASK = ModelRequest(model="claude-opus-5-5", messages=[user_message("hello")])
CASES = [
    (make_anthropic, "", "ANTHROPIC"),
    (make_responses, "/v1", "OPENAI"),
    (make_chat, "/v1", "OPENAI"),
]


async def _sent(
    make: Callable[[ProviderConfig], Any],
    base_url: str,
    server: Any,
    headers: Mapping[str, str] | None = None,
) -> Mapping[str, str]:
    server.reply(FakeReply(text="yes"))
    config = ProviderConfig(
        name="here",
        type="t",
        base_url=base_url,
        api_key=Secret(KEY),
        options={"headers": headers} if headers else {},
    )
    async with aclosing(make(config)) as provider:
        with anyio.fail_after(10):
            async with provider.stream(ASK) as stream:
                assert [chunk async for chunk in stream]
    sent: Mapping[str, str] = server.requests[-1].headers
    return sent


@pytest.mark.parametrize(("make", "path", "vendor"), CASES)
async def test_headers_of_the_environment_go_to_no_other_server(
    make: Callable[[ProviderConfig], Any], path: str, vendor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "x-corp-token: corp-secret\nAuthorization: Bearer other\nauthorization: Bearer third"
    monkeypatch.setenv(f"{vendor}_CUSTOM_HEADERS", said)
    monkeypatch.delenv(f"{vendor}_BASE_URL", raising=False)
    async with fake_llm(AnthropicDialect(), ResponsesDialect(), ChatDialect()) as server:
        sent = await _sent(make, f"{server.base_url}{path}", server)
        assert "x-corp-token" not in sent
        assert sent["authorization"] == f"Bearer {KEY}"
        own = await _sent(make, f"{server.base_url}{path}", server, {"x-corp-token": "mine"})
        assert own["x-corp-token"] == "mine", "what the settings say is said"


@pytest.mark.parametrize(("make", "path", "vendor"), CASES)
async def test_they_go_along_where_the_same_environment_says_that_the_service_is(
    make: Callable[[ProviderConfig], Any], path: str, vendor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{vendor}_CUSTOM_HEADERS", "x-corp-token: corp\nAuthorization: Bearer no")
    async with fake_llm(AnthropicDialect(), ResponsesDialect(), ChatDialect()) as server:
        monkeypatch.setenv(f"{vendor}_BASE_URL", f"{server.base_url}{path}")
        sent = await _sent(make, f"{server.base_url}{path}", server)
        assert sent["x-corp-token"] == "corp"
        assert sent["authorization"] == f"Bearer {KEY}", "and yet with the key of its instance"
