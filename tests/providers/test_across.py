"""One conversation through all three wire APIs, and from each to each other."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, NamedTuple

import anyio
import msgspec
import pytest

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.messages import (
    ImageBlock,
    Message,
    TextBlock,
    ToolResultBlock,
    user_message,
)
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.secrets import Secret
from bamboo_mcp.domain.stream import Stop
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.providers.anthropic.provider import make as make_anthropic
from bamboo_mcp.providers.openai.chat import make as make_chat
from bamboo_mcp.providers.openai.responses import make as make_responses
from bamboo_mcp.testing.fake_llm.anthropic import AnthropicDialect
from bamboo_mcp.testing.fake_llm.chat import ChatDialect
from bamboo_mcp.testing.fake_llm.responses import ResponsesDialect
from bamboo_mcp.testing.fake_llm.server import FakeCall, FakeLLM, FakeReply, fake_llm

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
TOOLS = [ToolSpec(name="look", description="Look."), ToolSpec(name="count", description="Count.")]
THOUGHT, SIGNATURE = "a private thought", "SIGNED-AND-ENCRYPTED"


class Service(NamedTuple):
    name: str
    make: Callable[[ProviderConfig], Any]
    path: str
    model: str


SERVICES = (
    Service("anthropic", make_anthropic, "", "claude-opus-5-5"),
    Service("openai", make_responses, "/v1", "gpt-6.1-sol"),
    Service("openai-chat", make_chat, "/v1", "llama3"),
)
PAIRS = list(itertools.permutations(SERVICES, 2))


@asynccontextmanager
async def _running() -> AsyncIterator[FakeLLM]:
    async with fake_llm(AnthropicDialect(), ResponsesDialect(), ChatDialect()) as server:
        yield server


async def _ask(service: Service, server: FakeLLM, history: list[Message]) -> Stop:
    config = ProviderConfig(
        name=service.name,
        type=service.name,
        base_url=f"{server.base_url}{service.path}",
        api_key=Secret("k"),
    )
    request = ModelRequest(
        model=service.model, messages=history, system="be kind", tools=TOOLS, effort="high"
    )
    with anyio.fail_after(10):
        async with aclosing(service.make(config)) as provider, provider.stream(request) as stream:
            stop = [chunk async for chunk in stream][-1]
    assert isinstance(stop, Stop)
    return stop


async def _work(service: Service, server: FakeLLM, history: list[Message], turn: str) -> None:
    """One round in which two tools are called side by side, and one of them answers a picture."""
    server.reply(
        FakeReply(
            thinking=f"{THOUGHT} of {service.name}",
            signature=f"{SIGNATURE}-{service.name}",
            text=f"{turn}: let me see.",
            calls=(
                FakeCall(id=f"call_{turn}_1", name="look", args={"at": "it"}),
                FakeCall(id=f"call_{turn}_2", name="count", args={}),
            ),
        )
    )
    stop = await _ask(service, server, history)
    assert stop.reason == "tool_use"
    first, second = stop.message.tool_calls
    history += [
        stop.message,
        Message(
            role="user",
            blocks=(
                ToolResultBlock(
                    call_id=first.id,
                    name="look",
                    content=(
                        TextBlock(text=f"{turn}: a picture"),
                        ImageBlock(media_type="image/png", data_b64=PIXEL),
                    ),
                ),
                ToolResultBlock(
                    call_id=second.id,
                    name="count",
                    content=(TextBlock(text=f"{turn}: it broke"),),
                    is_error=True,
                ),
            ),
        ),
    ]


def _last(server: FakeLLM) -> str:
    return msgspec.json.encode(server.requests[-1].body).decode()


@pytest.mark.parametrize("service", SERVICES, ids=lambda one: one.name)
async def test_two_turns_of_parallel_tools_with_images_go_round(service: Service) -> None:
    async with _running() as server:
        history = [user_message("go")]
        for turn in ("one", "two"):
            await _work(service, server, history, turn)
        server.reply(FakeReply(text="all done"))
        stop = await _ask(service, server, history)
        sent = _last(server)
    assert (stop.message.text, stop.reason) == ("all done", "end")
    assert stop.message.origin == f"{service.name}:{service.model}"
    for turn in ("one", "two"):
        assert f"{turn}: a picture" in sent
        assert f"{turn}: it broke" in sent
    assert sent.count(PIXEL) == 2
    if service.name != "openai-chat":  # whose API has no form for it
        assert sent.count(f"{SIGNATURE}-{service.name}") == 2


@pytest.mark.parametrize(
    ("begins", "goes_on"),
    PAIRS,
    ids=[f"{a.name} to {b.name}" for a, b in PAIRS],
)
async def test_another_service_goes_on_with_all_but_the_thoughts(
    begins: Service, goes_on: Service
) -> None:
    async with _running() as server:
        history = [user_message("go")]
        await _work(begins, server, history, "one")
        await _work(goes_on, server, history, "two")
        between = _last(server)
        server.reply(FakeReply(text="back again"))
        stop = await _ask(begins, server, history)
        back = _last(server)
    assert stop.message.text == "back again"
    for sent, stranger in ((between, begins), (back, goes_on)):
        assert f"{THOUGHT} of {stranger.name}" not in sent
        assert f"{SIGNATURE}-{stranger.name}" not in sent
        assert "one: a picture" in sent
        assert PIXEL in sent
    assert "two: let me see." in back


async def test_a_conversation_survives_its_file_and_a_tour_of_all_services() -> None:
    async with _running() as server:
        history = [user_message("go")]
        for number, service in enumerate((*SERVICES, *reversed(SERVICES))):
            await _work(service, server, history, f"turn{number}")
            history = msgspec.json.decode(msgspec.json.encode(history), type=list[Message])
        for service in SERVICES:
            server.reply(FakeReply(text="done"))
            stop = await _ask(service, server, history)
            assert stop.message.text == "done"
            assert _last(server).count("a picture") == 6
