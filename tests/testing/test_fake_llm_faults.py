"""A script means the same on the wire, read by our providers through the SDKs, as in process."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
import pytest

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.messages import Message, TextBlock, ToolResultBlock, user_message
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.provider_errors import ProviderFailure
from bamboo_mcp.domain.secrets import Secret
from bamboo_mcp.domain.stream import Chunk, Stop, TextChunk
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.ports import Provider
from bamboo_mcp.providers.anthropic.provider import AnthropicProvider
from bamboo_mcp.providers.openai.chat import ChatProvider
from bamboo_mcp.providers.openai.responses import ResponsesProvider
from bamboo_mcp.providers.scripted.file import parse_script
from bamboo_mcp.testing.fake_llm.anthropic import AnthropicDialect
from bamboo_mcp.testing.fake_llm.chat import ChatDialect
from bamboo_mcp.testing.fake_llm.responses import ResponsesDialect
from bamboo_mcp.testing.fake_llm.scripted import Exchange, ScriptedReplies, engine_of
from bamboo_mcp.testing.fake_llm.server import FakeLLM, fake_llm
from bamboo_mcp.testing.fake_llm.tolerance import Tolerant
from bamboo_mcp.testing.fake_llm.vendors import ANTHROPIC, CHAT, RESPONSES
from bamboo_mcp.testing.scripted import ScriptedProvider

MODELS = {"anthropic": "claude-opus-5-5", "responses": "gpt-6-sol", "chat": "local"}
APIS = list(MODELS)


@asynccontextmanager
async def serving(script: str) -> AsyncGenerator[tuple[FakeLLM, list[Exchange]]]:
    seen: list[Exchange] = []
    replies = ScriptedReplies(engine_of(parse_script(script, "script")), seen.append)
    dialects = [
        Tolerant(AnthropicDialect(), ANTHROPIC),
        Tolerant(ResponsesDialect(), RESPONSES),
        Tolerant(ChatDialect(), CHAT),
    ]
    async with fake_llm(*dialects, replies=replies) as server:
        yield server, seen


@asynccontextmanager
async def asking(api: str, server: FakeLLM) -> AsyncGenerator[Provider]:
    config = ProviderConfig(
        name=api,
        type=api,
        base_url=server.base_url if api == "anthropic" else f"{server.base_url}/v1",
        api_key=Secret("sk-test"),
    )
    kinds: dict[str, Any] = {
        "anthropic": AnthropicProvider,
        "responses": ResponsesProvider,
        "chat": ChatProvider,
    }
    async with aclosing(kinds[api](config)) as provider:
        yield provider


def _request(api: str, *messages: Message) -> ModelRequest:
    return ModelRequest(
        model=MODELS[api],
        messages=messages or (user_message("hello"),),
        tools=(ToolSpec(name="look", description="Look."),),
        conversation="c",
    )


async def _ask(provider: Provider, request: ModelRequest) -> Stop:
    chunks: list[Chunk] = []
    with anyio.fail_after(5):
        async with provider.stream(request) as stream:
            chunks += [chunk async for chunk in stream]
    stop = chunks[-1]
    assert isinstance(stop, Stop)
    return stop


FAULTS = [
    "error: {kind: rate_limited, retry_after: 7}",
    "error: {kind: overloaded}",
    "error: {kind: auth}",
    "error: {kind: quota}",
    "error: {kind: context, message: far too much}",
    "error: {kind: context}",
    "error: {kind: bad_request}",
    "error: {kind: server}",
    "error: {kind: transport}",
    "error: {kind: truncated}",
    "{text: half an answer, chunk: 2, cut_after: 3}",
    "{text: half an answer, truncate: true}",
    "{text: half an answer, chunk: 2, error: {kind: overloaded, after: 2}}",
    "{text: half an answer, chunk: 2, error: {kind: rate_limited, after: 2}}",
    "{text: half an answer, chunk: 2, error: {kind: server, after: 1}}",
    "{text: half an answer, chunk: 2, error: {kind: transport, after: 2}}",
    "{text: half an answer, chunk: 2, error: {kind: truncated, after: 2}}",
    'calls: [{name: look, raw_json: \'{"path": "REA\'}]',
    "calls: [{name: look, raw_json: '[1]'}]",
]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("step", FAULTS)
async def test_a_fault_is_of_the_same_kind_on_the_wire_as_in_process(api: str, step: str) -> None:
    script = f"steps:\n  - {step}\n"
    provider = ScriptedProvider(*parse_script(script, "script").steps)
    with pytest.raises(ProviderFailure) as here:
        await _ask(provider, _request(api))
    async with serving(script) as (server, _), asking(api, server) as remote:
        with pytest.raises(ProviderFailure) as there:
            await _ask(remote, _request(api))
    expected, got = here.value, there.value
    assert (type(got), got.started) == (type(expected), expected.started), got
    assert got.retry_after_s == expected.retry_after_s


@pytest.mark.parametrize("api", APIS)
async def test_an_answer_that_stalls_sends_what_it_has_and_then_nothing(api: str) -> None:
    script = "steps: [{text: half an answer, chunk: 4, cut_after: 2, stall: true}]"
    async with serving(script) as (server, _), asking(api, server) as provider:
        heard = ""
        with anyio.fail_after(5):
            async with provider.stream(_request(api)) as stream:
                while heard != "half an ":
                    chunk = await anext(stream)
                    heard += chunk.text if isinstance(chunk, TextChunk) else ""
                await server.stalled.wait()
            await server.disconnected.wait()


@pytest.mark.parametrize("api", APIS)
async def test_reasoning_calls_usage_and_stop_arrive_as_the_script_says(api: str) -> None:
    script = """
steps:
  - reasoning: hm
    text: Looking.
    calls: [{name: look, id: call_1}, {name: look, id: call_2, args: {path: a}}]
    usage: {input: 120, output: 30, cache_read: 100, reasoning: 5}
  - when: {tool_result: look, is_error: true, contains: gone}
    text: So
    stop: max_tokens
"""
    async with serving(script) as (server, seen), asking(api, server) as provider:
        asked = user_message("hello")
        first = await _ask(provider, _request(api, asked))
        assert [(call.name, call.arguments_json) for call in first.message.tool_calls] == [
            ("look", "{}"),
            ("look", '{"path":"a"}'),
        ]
        assert first.reason == "tool_use"
        assert first.usage == Usage(input=120, output=30, cache_read=100, reasoning=5)
        assert "hm" in str(first.message.blocks[0])
        results = tuple(
            ToolResultBlock(
                call_id=call.id,
                name=call.name,
                content=(TextBlock(text=text),),
                is_error=text == "gone",
            )
            for call, text in zip(first.message.tool_calls, ("fine", "gone"), strict=True)
        )
        second = await _ask(
            provider, _request(api, asked, first.message, Message(role="user", blocks=results))
        )
        assert (second.message.text, second.reason) == ("So", "max_tokens")
        assert [one.step for one in seen] == ["step 1 (line 3)", "step 2 (line 7)"]


@pytest.mark.parametrize("api", ["anthropic", "responses"])
async def test_raw_blocks_of_the_vendor_go_out_as_they_are(api: str) -> None:
    raw = "{type: server_thing, id: st_1, secret: [1, 2]}"
    script = f"steps: [{{text: Hello., blocks: [{raw}]}}]"
    async with serving(script) as (server, _), asking(api, server) as provider:
        stop = await _ask(provider, _request(api))
        assert stop.message.text == "Hello."
        assert "server_thing" in str(stop.message.blocks)


@pytest.mark.parametrize("api", APIS)
async def test_conversations_side_by_side_walk_the_script_each_for_itself(api: str) -> None:
    script = "steps: [{text: one}, {text: two}, {text: three}]"
    async with serving(script) as (server, _), asking(api, server) as provider:

        async def talk(said: list[str]) -> None:
            messages = [user_message("hello")]
            for _ in range(3):
                stop = await _ask(provider, _request(api, *messages))
                said.append(stop.message.text)
                messages += [stop.message, user_message("go on")]

        heard: list[list[str]] = [[], [], []]
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                for said in heard:
                    group.start_soon(talk, said)
        assert heard == [["one", "two", "three"]] * 3


@pytest.mark.parametrize("body", [b"", b"[1]", b"{}", b'{"model": 3, "messages": 4}', b"\xff{"])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses", "/v1/chat/completions"])
async def test_what_is_no_request_is_refused_and_the_fake_lives_on(path: str, body: bytes) -> None:
    async with serving("steps: [{text: a}]") as (server, seen):
        head = f"POST {path} HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n"
        for sent in (head.encode() + body, b"nonsense\r\n\r\n", head.encode() + body):
            with anyio.fail_after(5):
                async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
                    await stream.send(sent)
                    if sent.startswith(b"POST"):
                        assert (await stream.receive()).startswith(b"HTTP/1.1 400")
        assert [one.status for one in seen] == [400, 400]
