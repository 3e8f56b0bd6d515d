"""Which addresses are this machine's, and that no proxy is asked for them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.provider_errors import BadRequest
from bamboo_mcp.domain.secrets import Secret
from bamboo_mcp.providers.addresses import is_on_this_machine
from bamboo_mcp.providers.anthropic.provider import make as make_anthropic
from bamboo_mcp.providers.openai.chat import make as make_chat
from bamboo_mcp.providers.openai.responses import make as make_responses
from bamboo_mcp.testing.fake_llm.anthropic import AnthropicDialect
from bamboo_mcp.testing.fake_llm.chat import ChatDialect
from bamboo_mcp.testing.fake_llm.responses import ResponsesDialect
from bamboo_mcp.testing.fake_llm.server import FakeError, FakeReply, fake_llm

ASK = ModelRequest(model="claude-opus-5-5", messages=[user_message("hello")])


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("http://127.0.0.1:8080/v1", True),
        ("http://127.9.9.9/v1", True),
        ("http://[::1]:1234", True),
        ("http://localhost:11434/v1", True),
        ("http://LOCALHOST", True),
        ("http://ollama.localhost", True),
        ("http://0.0.0.0:8000", True),
        ("http://192.168.1.7:11434/v1", False),
        ("https://localhost.example.com", False),
        ("https://api.openai.com/v1", False),
        ("", False),
        ("http://[bad", False),
    ],
)
def test_an_address_is_told_apart(address: str, here: bool) -> None:
    assert is_on_this_machine(address) is here


PROVIDERS = [(make_anthropic, ""), (make_responses, "/v1"), (make_chat, "/v1")]


@pytest.mark.parametrize(("make", "path"), PROVIDERS)
async def test_no_proxy_of_the_environment_stands_before_this_machine(
    make: Callable[[ProviderConfig], Any], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with fake_llm(AnthropicDialect(), ResponsesDialect(), ChatDialect()) as server:
        server.reply(FakeReply(text="straight"))
        config = ProviderConfig(
            name="here", type="t", base_url=f"{server.base_url}{path}", api_key=Secret("k")
        )
        async with aclosing(make(config)) as provider:
            with anyio.fail_after(10):
                async with provider.stream(ASK) as stream:
                    stop = [chunk async for chunk in stream][-1]
        assert stop.message.text == "straight"


@pytest.mark.parametrize(("make", "path"), PROVIDERS)
async def test_nobody_is_followed_to_another_address_with_key_and_conversation(
    make: Callable[[ProviderConfig], Any], path: str
) -> None:
    async with fake_llm(AnthropicDialect(), ResponsesDialect(), ChatDialect()) as server:
        async with fake_llm(AnthropicDialect(), ResponsesDialect(), ChatDialect()) as thief:
            place = f"{thief.base_url}/elsewhere"
            server.reply(FakeReply(error=FakeError(status=307, headers={"location": place})))
            config = ProviderConfig(
                name="here", type="t", base_url=f"{server.base_url}{path}", api_key=Secret("k")
            )
            async with aclosing(make(config)) as provider:
                with anyio.fail_after(10), pytest.raises(BadRequest) as caught:
                    async with provider.stream(ASK):
                        pass
            assert thief.connections == 0
    assert place in caught.value.message
    assert "providers.here.base_url" in caught.value.hint
