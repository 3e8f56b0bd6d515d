"""The HTTP server in this process, over a small agent in memory, and raw ways to talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2
import msgspec
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from bamboo_mcp.domain.ids import Subject
from bamboo_mcp.server.backing import Backing
from bamboo_mcp.server.context import DirectCalls
from bamboo_mcp.server.http import HttpAddress, serve_http
from bamboo_mcp.server.http_callers import callers_of
from bamboo_mcp.server.http_connections import Patience
from bamboo_mcp.server.metrics import Source
from bamboo_mcp.server.process import Shutdown
from bamboo_mcp.testing.harness import Harness, open_harness
from bamboo_mcp.testing.scripted import ScriptedProvider
from tests.server.doubles import ScriptedTools

ALICE = "alice-has-a-long-token-of-her-own"
BOB = "bob-has-another-long-token-00000"
TOKENS = {"ALICE": ALICE, "BOB": BOB}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    harness: Harness
    port: int
    url: str
    shutdown: Shutdown
    ended: anyio.Event = field(default_factory=anyio.Event)

    @property
    def base(self) -> str:
        return self.url.removesuffix("/mcp")

    @asynccontextmanager
    async def client(self, era: str, *, token: str = "", **more: Any) -> AsyncIterator[Client]:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=10) as http,
            Client(
                streamable_http_client(self.url, http_client=http),
                mode=era,
                read_timeout_seconds=10,
                **more,
            ) as opened,
        ):
            yield opened

    @asynccontextmanager
    async def browser(self, **headers: str) -> AsyncIterator[httpx2.AsyncClient]:
        async with httpx2.AsyncClient(base_url=self.base, headers=headers, timeout=10) as http:
            yield http

    @asynccontextmanager
    async def socket(self) -> AsyncIterator[Socket]:
        async with await anyio.connect_tcp("127.0.0.1", self.port) as stream:
            yield Socket(stream)

    def request(self, line: str, *headers: str, host: str = "") -> bytes:
        lines = [f"{line} HTTP/1.1", f"Host: {host or f'127.0.0.1:{self.port}'}", *headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def status(self, line: str, *headers: str, host: str = "", body: bytes = b"") -> int:
        """Of one request, written by hand."""
        async with self.socket() as socket:
            await socket.stream.send(self.request(line, *headers, host=host) + body)
            return (await socket.answer())[0]


class Socket:
    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self._incoming = BufferedByteReceiveStream(stream)

    async def head(self) -> tuple[int, str]:
        """The status and all headers of an answer."""
        head = (await self._incoming.receive_until(b"\r\n\r\n", 65_536)).decode()
        return int(head.split()[1]), head.lower()

    async def answer(self) -> tuple[int, bytes]:
        status, head = await self.head()
        length = int(head.partition("content-length:")[2].split()[0]) if status != 204 else 0
        return status, await self._incoming.receive_exactly(length) if length else b""

    async def closed(self) -> None:
        """Return once the server has closed the connection."""
        try:
            while True:
                await self._incoming.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return


@asynccontextmanager
async def served(
    tools: ScriptedTools | None = None,
    *,
    tokens: Sequence[str] = (),
    address: HttpAddress | None = None,
    harness: Harness | None = None,
    patience: Patience | None = None,
    sources: Sequence[Source] = (),
    within_s: float = 20,
) -> AsyncIterator[Served]:
    """A server on a free port. `tokens` are names of `TOKENS`."""
    with anyio.fail_after(within_s):
        if harness is None:
            async with open_harness(ScriptedProvider("hello")) as harness:
                async with _served(tools, tokens, address, harness, patience, sources) as server:
                    yield server
        else:
            async with _served(tools, tokens, address, harness, patience, sources) as server:
                yield server


@asynccontextmanager
async def _served(
    tools: ScriptedTools | None,
    tokens: Sequence[str],
    address: HttpAddress | None,
    harness: Harness,
    patience: Patience | None,
    sources: Sequence[Source],
) -> AsyncIterator[Served]:
    callers = await callers_of([f"env:{name}" for name in tokens], TOKENS)
    shutdown = Shutdown(grace_s=60)
    listening: list[str] = []
    ready, ended = anyio.Event(), anyio.Event()

    def on_listening(url: str) -> None:
        listening.append(url)
        ready.set()

    async def serve() -> None:
        await serve_http(
            tools or ScriptedTools(),
            calls=DirectCalls(mode="accept_edits"),
            backing=Backing(
                subagents=harness.subagents,
                sessions=harness.sessions,
                runs=harness.board,
                log=harness.log,
                listen=harness.log.listen,
            ),
            address=address or HttpAddress(port=0),
            callers=callers,
            version="1.2.3",
            shutdown=shutdown,
            patience=patience,
            sources=sources,
            on_listening=on_listening,
        )
        ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        await ready.wait()
        port = int(listening[0].rpartition(":")[2].partition("/")[0])
        try:
            yield Served(
                harness=harness, port=port, url=listening[0], shutdown=shutdown, ended=ended
            )
        finally:
            shutdown.begin("the test is over")
            shutdown.finish()


def caller(name: str) -> Subject:
    """The subject of a token of `TOKENS`."""
    return Subject(f"http:env:{name}")


def rpc(method: str, number: int = 1, **params: Any) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
