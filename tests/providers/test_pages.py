"""What is no answer of an API at all: a proxy's page, whatever its length and status."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.provider_errors import ProviderFailure
from bamboo_mcp.domain.secrets import Secret
from bamboo_mcp.providers.anthropic.provider import make as make_anthropic
from bamboo_mcp.providers.openai.chat import make as make_chat
from bamboo_mcp.providers.openai.responses import make as make_responses

KEY = "sk-very-secret-0123456789-and-more"
ASK = ModelRequest(model="claude-opus-5-5", messages=[user_message("hello")])


@asynccontextmanager
async def _answering(body: bytes, status: str, kind: str) -> AsyncIterator[str]:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"

    async def answer(stream: ByteStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(head.encode() + body)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, answer)
        yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        group.cancel_scope.cancel()


async def _failure(make: Callable[[ProviderConfig], Any], base_url: str) -> ProviderFailure:
    config = ProviderConfig(name="here", type="t", base_url=base_url, api_key=Secret(KEY))
    async with aclosing(make(config)) as provider:
        with anyio.fail_after(10), pytest.raises(ProviderFailure) as caught:
            async with provider.stream(ASK) as stream:
                async for _ in stream:
                    pass
    return caught.value


@pytest.mark.parametrize("make", [make_anthropic, make_responses, make_chat])
async def test_a_key_in_a_page_is_hidden_wherever_the_page_is_cut(
    make: Callable[[ProviderConfig], Any],
) -> None:
    for before in (0, 440, 465, 480, 494, 499, 500, 1_990):
        page = f"<html>{'x' * before} {KEY}{'y' * 600}</html>".encode()
        async with _answering(page, "502 Bad Gateway", "text/html") as base_url:
            failure = await _failure(make, base_url)
        said = f"{failure.message} {failure.hint} {failure!r}"
        assert not any(KEY[:length] in said for length in (len(KEY), 20, 12)), (before, said)


@pytest.mark.parametrize("make", [make_anthropic, make_responses, make_chat])
async def test_a_stream_that_is_none_is_told_in_words_and_without_a_traceback(
    make: Callable[[ProviderConfig], Any], caplog: pytest.LogCaptureFixture
) -> None:
    body = b"event: message_start\ndata: {not json\n\n"
    async with _answering(body, "200 OK", "text/event-stream") as base_url:
        failure = await _failure(make, base_url)
    assert failure.message
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
