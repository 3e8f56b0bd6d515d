"""A model's stream from the socket to our events, against iterating the SDK's own raw stream."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import anyio

from bamboo_mcp.agent.model_call import Draft, ask_model
from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.events import RunEvent
from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.secrets import Secret
from bamboo_mcp.providers.retrying import Retrying
from bamboo_mcp.testing.fake_llm.server import Dialect, FakeReply, Seen
from tests.benchmarks.pairing import Row, row, take_turns

CHARS = 16_000
CHUNK = 8
"""Characters of a delta: 2 000 deltas an answer, as long and as finely cut as real ones."""
ANSWERS = 3
TARGET = 1.3

Raw = Callable[[Any, str], Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """A wire API: the fake's dialect, our provider, and the SDK's own call."""

    name: str
    dialect: str
    provider: str
    model: str
    raw: Raw
    client: Callable[[str], Any]


def _anthropic(base_url: str) -> Any:
    import anthropic

    return anthropic.AsyncAnthropic(api_key="k", base_url=base_url, max_retries=0)


def _openai(base_url: str) -> Any:
    import openai

    return openai.AsyncOpenAI(api_key="k", base_url=f"{base_url}/v1", max_retries=0)


async def _messages(client: Any, model: str) -> Any:
    ask = [{"role": "user", "content": "go"}]
    return await client.messages.create(model=model, max_tokens=9, messages=ask, stream=True)


async def _responses(client: Any, model: str) -> Any:
    return await client.responses.create(model=model, input="go", stream=True, store=False)


async def _chat(client: Any, model: str) -> Any:
    ask = [{"role": "user", "content": "go"}]
    return await client.chat.completions.create(
        model=model, messages=ask, stream=True, stream_options={"include_usage": True}
    )


APIS = (
    Api(
        name="anthropic",
        dialect="anthropic:AnthropicDialect",
        provider="anthropic.provider",
        model="claude-opus-5-5",
        raw=_messages,
        client=_anthropic,
    ),
    Api(
        name="openai",
        dialect="responses:ResponsesDialect",
        provider="openai.responses",
        model="gpt-6.1-sol",
        raw=_responses,
        client=_openai,
    ),
    Api(
        name="openai-chat",
        dialect="chat:ChatDialect",
        provider="openai.chat",
        model="llama3",
        raw=_chat,
        client=_openai,
    ),
)


def answer_of(api: Api) -> bytes:
    """The whole body of one answer, as the fake would send it."""
    module, _, name = api.dialect.partition(":")
    dialect: Dialect = getattr(import_module(f"bamboo_mcp.testing.fake_llm.{module}"), name)()
    body = {"model": api.model, "stream": True, "stream_options": {"include_usage": True}}
    seen = Seen(method="POST", path=dialect.stream_path, headers={}, body=body)
    text = ("word and another " * CHARS)[:CHARS]
    return b"".join(dialect.events(FakeReply(text=text, chunk=CHUNK), seen))


@contextmanager
def served(api: Api) -> Iterator[str]:
    """A process of its own that answers every request with that body, as fast as it can."""
    command = (sys.executable, "-m", "tests.benchmarks.stream", api.name)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def serve(api: Api) -> None:
    body = answer_of(api)
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        b"content-length: %d\r\n\r\n" % len(body)
    )

    def answer(connection: socket.socket) -> None:
        with connection:
            while request := connection.recv(1_048_576):
                begin, _, rest = request.partition(b"\r\n\r\n")
                length = int(begin.lower().partition(b"content-length:")[2].split()[0])
                while len(rest) < length:
                    rest += connection.recv(1_048_576)
                connection.sendall(head + body)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        while True:
            threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


@dataclass(frozen=True, slots=True, kw_only=True)
class RawStream:
    """Seconds an answer takes when the SDK's events are iterated and dropped."""

    api: Api
    base_url: str

    def __call__(self) -> float:
        return anyio.run(self._run)

    async def _run(self) -> float:
        async with self.api.client(self.base_url) as client:

            async def once() -> int:
                events: AsyncIterator[Any]
                async with await self.api.raw(client, self.api.model) as events:
                    return len([0 async for _ in events])

            return await fastest(once)


@dataclass(frozen=True, slots=True, kw_only=True)
class OurStream:
    """Seconds an answer takes through provider, retries and the loop's model call, to events."""

    api: Api
    base_url: str

    def __call__(self) -> float:
        return anyio.run(self._run)

    async def _run(self) -> float:
        make = import_module(f"bamboo_mcp.providers.{self.api.provider}").make
        base_url = self.base_url if self.api.name == "anthropic" else f"{self.base_url}/v1"
        config = ProviderConfig(
            name=self.api.name, type=self.api.name, base_url=base_url, api_key=Secret("k")
        )
        provider = make(config)
        request = ModelRequest(model=self.api.model, messages=[user_message("go")])

        async def once() -> int:
            events: list[RunEvent] = []
            stop = await ask_model(Retrying(provider), request, Draft(), events.append)
            assert len(stop.message.text) == CHARS
            return len(events)

        try:
            return await fastest(once)
        finally:
            await provider.aclose()


async def fastest(once: Callable[[], Awaitable[int]]) -> float:
    best = float("inf")
    for _ in range(ANSWERS):
        began = time.perf_counter()
        count = await once()
        best = min(best, time.perf_counter() - began)
        assert count >= CHARS // CHUNK
    return best


def measure(rounds: int) -> list[Row]:
    rows: list[Row] = []
    for api in APIS:
        with served(api) as base_url:
            figures = take_turns(
                {
                    "ours": OurStream(api=api, base_url=base_url),
                    "raw": RawStream(api=api, base_url=base_url),
                },
                rounds,
            )
        rows.append(
            row(
                f"{CHARS // CHUNK:,} deltas to events against the raw SDK stream, {api.name}",
                figures["ours"],
                figures["raw"],
                unit="ms",
                scale=1e3,
                target=TARGET,
            )
        )
    return rows


if __name__ == "__main__":
    serve(next(api for api in APIS if api.name == sys.argv[1]))
