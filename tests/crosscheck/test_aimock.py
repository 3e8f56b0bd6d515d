"""Our providers against a fake that is not ours (`make crosscheck`; not in the default run).

Our own fake and our providers could share a misreading of an API. `@copilotkit/aimock` was written
by others from the same documents; where it can play a case, it must come out the same.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.messages import Message, TextBlock, ToolResultBlock, user_message
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.provider_errors import (
    BadRequest,
    Overloaded,
    ProviderFailure,
    RateLimited,
    ServerFailed,
    TransportFailed,
)
from bamboo_mcp.domain.secrets import Secret
from bamboo_mcp.domain.stream import ReasoningChunk, Stop, TextChunk
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.providers.anthropic.provider import make as make_anthropic
from bamboo_mcp.providers.openai.chat import make as make_chat
from bamboo_mcp.providers.openai.responses import make as make_responses

pytestmark = pytest.mark.aimock

TOOLS = [ToolSpec(name="look", description="Look."), ToolSpec(name="count", description="Count.")]
LONG = "this text never comes to its end, as the connection is cut before that"


class Service(NamedTuple):
    name: str
    make: Callable[[ProviderConfig], Any]
    path: str
    model: str


SERVICES = (
    Service("anthropic", make_anthropic, "", "claude-opus-5-5"),
    Service("openai", make_responses, "/v1", "gpt-6.1-sol"),
    Service("openai-chat", make_chat, "/v1", "gpt-oss-120b"),
)


def _fixture(user: str, response: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"match": {"userMessage": user, **more.pop("match", {})}, "response": response, **more}


def _error(status: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": "not now", "type": kind}, "status": status, **more}


FIXTURES = [
    _fixture("greet", {"content": "Hello from the mock, at length.", "reasoning": "I greet."}),
    _fixture("tools", {"content": "All is well."}, match={"hasToolResult": True}),
    _fixture(
        "tools",
        {
            "content": "Let me see.",
            "toolCalls": [
                {"name": "look", "arguments": '{"at": "it"}'},
                {"name": "count", "arguments": "{}"},
            ],
        },
    ),
    _fixture("limit", _error(429, "rate_limit_error", retryAfter=7)),
    _fixture("full", _error(529, "overloaded_error")),
    _fixture("broken", _error(500, "api_error")),
    _fixture("wrong", _error(400, "invalid_request_error")),
    _fixture("cut", {"content": LONG}, truncateAfterChunks=10, chunkSize=4, latency=40),
]


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    program = os.environ.get("AIMOCK")
    assert program, "AIMOCK names its program; `make crosscheck` sets it"
    (folder / "all.json").write_text(json.dumps({"fixtures": FIXTURES}), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = (program, "-p", str(port), "-f", str(folder), "--log-level", "silent", "--strict")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            base_url = f"http://127.0.0.1:{port}"
            _wait_for(base_url)
            yield base_url
        finally:
            process.kill()


def _wait_for(base_url: str) -> None:
    """It says nothing when it is ready: ask until it answers."""
    until = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(f"{base_url}/v1/models", timeout=5):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            assert time.monotonic() < until, "the mock does not start"


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with _served(tmp_path_factory.mktemp("fixtures")) as found:
        yield found


async def _ask(service: Service, base_url: str, history: list[Message]) -> tuple[list[Any], Stop]:
    config = ProviderConfig(
        name=service.name,
        type=service.name,
        base_url=f"{base_url}{service.path}",
        api_key=Secret("k"),
    )
    request = ModelRequest(model=service.model, messages=history, tools=TOOLS, effort="high")
    with anyio.fail_after(20):
        async with aclosing(service.make(config)) as provider, provider.stream(request) as stream:
            chunks = [chunk async for chunk in stream]
    stop = chunks[-1]
    assert isinstance(stop, Stop)
    return chunks, stop


each_service = pytest.mark.parametrize("service", SERVICES, ids=lambda one: one.name)


@each_service
async def test_text_and_thoughts_arrive_in_pieces(service: Service, base_url: str) -> None:
    chunks, stop = await _ask(service, base_url, [user_message("greet")])
    text = [chunk.text for chunk in chunks if isinstance(chunk, TextChunk)]
    thoughts = [chunk.text for chunk in chunks if isinstance(chunk, ReasoningChunk)]
    assert len(text) > 1
    assert "".join(text) == stop.message.text == "Hello from the mock, at length."
    assert "".join(thoughts) == "I greet."
    assert stop.reason == "end"


@each_service
async def test_two_calls_side_by_side_and_their_answers_go_round(
    service: Service, base_url: str
) -> None:
    history = [user_message("tools")]
    _, stop = await _ask(service, base_url, history)
    assert stop.reason == "tool_use"
    calls = stop.message.tool_calls
    assert [(call.name, json.loads(call.arguments_json)) for call in calls] == [
        ("look", {"at": "it"}),
        ("count", {}),
    ]
    results = tuple(
        ToolResultBlock(call_id=call.id, name=call.name, content=(TextBlock(text="fine"),))
        for call in calls
    )
    history += [stop.message, Message(role="user", blocks=results)]
    _, stop = await _ask(service, base_url, history)
    assert (stop.message.text, stop.reason) == ("All is well.", "end")


@pytest.mark.parametrize(
    ("said", "kinds"),
    [
        ("limit", (RateLimited,)),
        ("full", (Overloaded,)),
        ("broken", (ServerFailed,)),
        ("wrong", (BadRequest,)),
        ("nobody knows this", (BadRequest, Overloaded)),
    ],
)
@each_service
async def test_failures_are_of_the_same_kind(
    service: Service, base_url: str, said: str, kinds: tuple[type[ProviderFailure], ...]
) -> None:
    with pytest.raises(kinds) as caught:
        await _ask(service, base_url, [user_message(said)])
    assert not caught.value.started
    assert caught.value.retry_after_s == (7 if said == "limit" else None)


@each_service
async def test_a_connection_cut_in_mid_stream_is_told_as_that(
    service: Service, base_url: str
) -> None:
    with pytest.raises(TransportFailed) as caught:
        await _ask(service, base_url, [user_message("cut")])
    assert caught.value.started
