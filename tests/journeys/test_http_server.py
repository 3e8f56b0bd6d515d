"""`bamboo-mcp serve --http` as people start it: a process, real clients, signals."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx2
import pytest
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.journeys.harness import ERAS, Agent, Place, run

TOKEN = "a-long-enough-token-for-a-test"
SLOW = """
steps:
  - text: "never ends"
    delay_ms: 600000
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    process: Process
    url: str

    @property
    def base(self) -> str:
        return self.url.removesuffix("/mcp")

    @asynccontextmanager
    async def agent(self, era: str = "auto", token: str = "") -> AsyncIterator[Agent]:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=20) as http,
            Client(
                streamable_http_client(self.url, http_client=http),
                mode=era,
                read_timeout_seconds=20,
            ) as client,
        ):
            yield Agent(client)


@asynccontextmanager
async def http_server(
    place: Place, *arguments: str, env: Mapping[str, str] | None = None, within_s: float = 25
) -> AsyncIterator[Server]:
    with anyio.fail_after(within_s):
        process = await anyio.open_process(
            place.command("--http", "--port", "0", *arguments),
            env=place.environ(env),
            cwd=place.workspace,
        )
        try:
            assert process.stderr is not None
            said = ""
            async for text in TextReceiveStream(process.stderr):
                said += text
                if found := re.search(r"serving MCP at (\S+)", said):
                    yield Server(process=process, url=found[1])
                    return
            raise AssertionError(f"the server did not start: {said}")
        finally:
            if process.returncode is None:
                process.kill()
            with anyio.CancelScope(shield=True):
                await process.aclose()


@pytest.mark.parametrize("era", ERAS)
async def test_a_subagent_is_run_and_read_over_http(tmp_path: Path, era: str) -> None:
    async with http_server(Place(tmp_path)) as server, server.agent(era) as agent:
        child = await agent.spawn("hello")
        assert (await agent.awaited(child))["status"] == "completed"
        result = await agent.client.read_resource(f"bamboo://subagents/{child}/result")
        assert result.contents


async def test_what_one_client_started_another_finds_after_it_left(tmp_path: Path) -> None:
    async with http_server(Place(tmp_path)) as server:
        async with server.agent("legacy") as first:
            child = await first.spawn("hello")
        async with server.agent("auto") as second:
            assert (await second.awaited(child))["status"] == "completed"


async def test_callers_with_tokens_do_not_see_each_others_subagents(tmp_path: Path) -> None:
    other = TOKEN[::-1]
    file = tmp_path / "token"
    file.write_text(other + "\n", encoding="utf-8")
    tokens = ("--token", "env:MY_TOKEN", "--token", f"file:{file}")
    async with http_server(Place(tmp_path), *tokens, env={"MY_TOKEN": TOKEN}) as server:
        async with server.agent(token=TOKEN) as mine:
            child = await mine.spawn("hello")
            await mine.awaited(child)
        async with server.agent(token=other) as theirs:
            assert (await theirs.call("list_subagents"))["subagents"] == []
            assert (await theirs.error("get_subagent", subagent_id=child))["code"] == "unknown_id"
        async with httpx2.AsyncClient() as http:
            assert (await http.get(f"{server.base}/healthz")).status_code == 401


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_stop_it_is_gone_in_five_seconds_with_streams_open(
    tmp_path: Path, number: signal.Signals
) -> None:
    place = Place(tmp_path)
    async with http_server(place) as server, httpx2.AsyncClient(timeout=20) as http:
        async with server.agent("legacy") as agent, server.agent() as modern:
            started = await agent.call("spawn_subagent", task="x", model=place.script(SLOW))
            address = f"{server.base}/runs/{started['run_id']}/events"
            async with (
                http.stream("GET", address) as response,
                modern.client.listen(tools_list_changed=True) as listening,
            ):
                parts = response.aiter_text()
                assert "retry" in await anext(parts)
                server.process.send_signal(number)
                with anyio.fail_after(5):
                    async for _ in parts:
                        pass
                    assert [event async for event in listening] == []
                    assert await server.process.wait() == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--port", "1"), "add --http"),
        (("--http", "--host", "0.0.0.0", "--port", "0"), "no token protects it"),
        (("--http", "--token", "env:NOT_SET_ANYWHERE"), "is not set"),
        (("--http", "--token", TOKEN), "not be the key"),
        (("--http", "--port", "70000"), "65535"),
        (("--http", "--host", "no.such.host.invalid"), "cannot listen"),
    ],
)
def test_what_cannot_be_served_is_said_and_the_command_ends(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    place = Place(tmp_path)
    ended = run(place, ["serve", "--workspace", str(place.workspace), *arguments])
    assert ended.returncode == 2
    assert words in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr
    assert TOKEN not in ended.stderr
    assert ended.stdout == ""


def test_over_stdio_nothing_of_the_http_server_is_imported() -> None:
    program = (
        "import sys, bamboo_mcp.server.stdio, bamboo_mcp.server.backing; "
        "print([n for n in sys.modules if n.startswith(('bamboo_mcp.server.http',))])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"
