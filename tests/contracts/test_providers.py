from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

import pytest

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.secrets import Secret
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.providers.anthropic.provider import AnthropicProvider
from bamboo_mcp.providers.offline import OfflineProvider
from bamboo_mcp.providers.retrying import Retrying
from bamboo_mcp.testing.contracts.provider import Case, ProviderContract, simple_request
from bamboo_mcp.testing.fake_llm.anthropic import AnthropicDialect
from bamboo_mcp.testing.fake_llm.server import FakeCall, FakeError, FakeReply, fake_llm
from bamboo_mcp.testing.scripted import Call, Fault, ScriptedProvider, Step, When

_MODEL = "claude-opus-5-5"


def _asked(text: str, *, model: str) -> ModelRequest:
    return simple_request(text, model=model)


@pytest.mark.allow_hosts(["127.0.0.1"])
class TestAnthropic(ProviderContract):
    @asynccontextmanager
    async def case(self) -> AsyncGenerator[Case]:
        async with fake_llm(AnthropicDialect()) as server:
            config = ProviderConfig(
                name="anthropic",
                type="anthropic",
                base_url=server.base_url,
                api_key=Secret("sk-test"),
            )

            def answer(body: object) -> FakeReply:
                text = str(body)
                if "please call" in text:
                    call = FakeCall(id="call_1", name="look", args={"path": "a b"})
                    return FakeReply(thinking="hm", text="Looking.", calls=(call,))
                if "please break" in text:
                    return FakeReply(text="half an answer", fault="error_event", after=5)
                return FakeReply(text="Good morning to you.", error=None)

            server.reply(answer)
            async with aclosing(AnthropicProvider(config)) as provider:
                yield Case(
                    provider=provider,
                    says=_asked("hello", model=_MODEL),
                    calls=_asked("please call", model=_MODEL),
                    fails=_asked("please break", model=_MODEL),
                )


@pytest.mark.allow_hosts(["127.0.0.1"])
class TestAnthropicThatRefuses(ProviderContract):
    """Here the failing request fails before anything was said."""

    @asynccontextmanager
    async def case(self) -> AsyncGenerator[Case]:
        async with fake_llm(AnthropicDialect()) as server:
            config = ProviderConfig(
                name="work", type="anthropic", base_url=server.base_url, api_key=Secret("sk-test")
            )

            def answer(body: object) -> FakeReply:
                refused = FakeError(status=529, type="overloaded_error")
                failing = "please break" in str(body)
                return FakeReply(text="Yes.", error=refused if failing else None)

            server.reply(answer)
            async with aclosing(AnthropicProvider(config)) as provider:
                yield Case(
                    provider=provider,
                    says=_asked("hello", model=_MODEL),
                    fails=_asked("please break", model=_MODEL),
                )


def _scripted() -> ScriptedProvider:
    return ScriptedProvider(
        Step(when=When(last_user="hello"), text="Good morning to you.", chunk=3),
        Step(
            when=When(last_user="please call"),
            reasoning="hm",
            text="Looking.",
            calls=(Call(name="look", args={"path": "a b"}), Call(name="look")),
            chunk=4,
        ),
        Step(when=When(last_user="please break"), text="half an answer", chunk=2, cut_after=2),
        Step(when=When(last_user="please refuse"), error=Fault(kind="overloaded")),
        strict=False,
    )


class TestScripted(ProviderContract):
    @asynccontextmanager
    async def case(self) -> AsyncGenerator[Case]:
        yield Case(
            provider=_scripted(),
            says=simple_request(),
            calls=simple_request("please call"),
            fails=simple_request("please break"),
        )


class TestRetrying(ProviderContract):
    """The wrapper is a provider too, and promises the same."""

    @asynccontextmanager
    async def case(self) -> AsyncGenerator[Case]:
        yield Case(
            provider=Retrying(_scripted(), attempts=1),
            says=simple_request(),
            calls=simple_request("please call"),
            fails=simple_request("please refuse"),
        )


class TestOffline(ProviderContract):
    @asynccontextmanager
    async def case(self) -> AsyncGenerator[Case]:
        tool = ToolSpec(name="look", description="Look at something.")
        says = ModelRequest(model="offline", messages=[user_message("hi")], tools=(tool,))
        calls = ModelRequest(
            model="offline", messages=[user_message('/tool look {"a": 1}')], tools=(tool,)
        )
        yield Case(provider=OfflineProvider(), says=says, calls=calls)
