"""A server as people start it, `python -m bamboo_mcp serve`, and an MCP client of the SDK on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import mcp_types
import msgspec
import psutil
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

ERAS = ("legacy", "auto")
POLL_S = 0.02


class Place:
    """A workspace and a home folder for servers, and where they say what went wrong."""

    def __init__(self, tmp_path: Path) -> None:
        self.workspace = tmp_path / "project"
        self.workspace.mkdir()
        (self.workspace / "hello.py").write_text("print('hello')\n", encoding="utf-8")
        self.home = tmp_path / "home"
        self.home.mkdir()
        self.config = self.home / "config.toml"
        self.config.write_text("", encoding="utf-8")
        self.errors = tmp_path / "stderr.txt"

    def environ(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "BAMBOO_HOME": str(self.home),
            "BAMBOO_CONFIG": str(self.config),
            **(more or {}),
        }

    def command(self, *arguments: str) -> list[str]:
        workspace = ["--workspace", str(self.workspace)] if "--workspace" not in arguments else []
        return [sys.executable, "-m", "bamboo_mcp", "serve", *workspace, *arguments]

    def script(self, text: str, name: str = "model.yaml") -> str:
        """A scripted model; its name."""
        path = self.workspace.parent / name
        path.write_text(text, encoding="utf-8")
        return f"scripted:{path}"


@asynccontextmanager
async def client(
    place: Place,
    *arguments: str,
    era: str = "auto",
    env: Mapping[str, str] | None = None,
    within_s: float = 25,
) -> AsyncIterator[Agent]:
    program, *rest = place.command(*arguments)
    parameters = StdioServerParameters(
        command=program, args=rest, env=place.environ(env), cwd=place.workspace
    )
    with anyio.fail_after(within_s), place.errors.open("a", encoding="utf-8") as errors:
        async with Client(
            stdio_client(parameters, errlog=errors), mode=era, read_timeout_seconds=20
        ) as opened:
            yield Agent(opened)


class Agent:
    """Tool calls with their structure, and their errors as values."""

    def __init__(self, opened: Client) -> None:
        self.client = opened

    async def result(self, tool: str, **arguments: Any) -> mcp_types.CallToolResult:
        return await self.client.call_tool(tool, arguments)

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        result = await self.result(tool, **arguments)
        assert not result.is_error, text_of(result)
        return dict(result.structured_content or {})

    async def text(self, tool: str, **arguments: Any) -> str:
        result = await self.result(tool, **arguments)
        assert not result.is_error, text_of(result)
        return text_of(result)

    async def error(self, tool: str, **arguments: Any) -> dict[str, Any]:
        result = await self.result(tool, **arguments)
        assert result.is_error, text_of(result)
        return error_of(result)

    async def spawn(self, task: str, model: str = "offline:offline", **more: Any) -> str:
        answer = await self.call("spawn_subagent", task=task, model=model, **more)
        return str(answer["subagent_id"])

    async def awaited(self, subagent_id: str, **more: Any) -> dict[str, Any]:
        """The one subagent after a wait."""
        answer = await self.call(
            "await_subagents", subagent_ids=[subagent_id], **{"timeout_s": 15, **more}
        )
        return dict(answer["subagents"][0])

    async def until(self, subagent_id: str, kind: str) -> dict[str, Any]:
        """Wait until the subagent's log has an event of `kind`."""
        while True:  # polls: that is all a client can do
            answer = await self.call("get_subagent", subagent_id=subagent_id, include=["events"])
            for event in answer["events"]:
                if event["kind"] == kind:
                    return dict(event)
            await anyio.sleep(POLL_S)


def text_of(result: mcp_types.CallToolResult) -> str:
    return "\n".join(one.text for one in result.content if isinstance(one, mcp_types.TextContent))


def error_of(result: mcp_types.CallToolResult) -> dict[str, Any]:
    first = result.content[0]
    assert isinstance(first, mcp_types.TextContent)
    return dict(msgspec.json.decode(first.text)["error"])


class Raw:
    """A server spoken to line by line, for what no well-behaved client does."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._stdin = process.stdin
        self._lines = BufferedByteReceiveStream(process.stdout)
        self._number = 0

    async def open(self) -> None:
        await self.request(
            "initialize",
            protocolVersion="2025-11-25",
            capabilities={},
            clientInfo={"name": "test", "version": "1"},
        )
        await self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    async def send(self, message: Mapping[str, Any]) -> None:
        await self._stdin.send(msgspec.json.encode(message) + b"\n")

    async def begin(self, tool: str, **arguments: Any) -> int:
        """Send a call without waiting for its answer."""
        self._number += 1
        params = {"name": tool, "arguments": arguments}
        await self.send(
            {"jsonrpc": "2.0", "id": self._number, "method": "tools/call", "params": params}
        )
        return self._number

    async def request(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        await self.send({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params})
        return await self.answer(self._number)

    async def answer(self, number: int) -> dict[str, Any]:
        while True:
            line = msgspec.json.decode(await self._lines.receive_until(b"\n", 50_000_000))
            if line.get("id") == number:
                return dict(line)

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        answer = await self.answer(await self.begin(tool, **arguments))
        assert not answer["result"].get("isError"), answer
        return dict(answer["result"].get("structuredContent") or {})

    async def hang_up(self) -> None:
        await self._stdin.aclose()

    async def gone(self) -> int:
        return await self.process.wait()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(number)


@asynccontextmanager
async def raw(place: Place, *arguments: str, within_s: float = 25) -> AsyncIterator[Raw]:
    with anyio.fail_after(within_s), place.errors.open("a", encoding="utf-8") as errors:
        process = await anyio.open_process(
            place.command(*arguments), env=place.environ(), cwd=place.workspace, stderr=errors
        )
        try:
            server = Raw(process)
            await server.open()
            yield server
        finally:
            if process.returncode is None:
                process.kill()
            with anyio.CancelScope(shield=True):
                await process.aclose()


def run(
    place: Place, arguments: Sequence[str], *, env: Mapping[str, str] | None = None, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """One `bamboo-mcp` command, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "bamboo_mcp", *arguments],
        env=place.environ(env),
        cwd=place.workspace,
        input=text,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


async def no_process_with(marker: str) -> None:
    """Return once no process has `marker` in its command line."""
    while await anyio.to_thread.run_sync(_find, marker):  # noqa: ASYNC110 polls: processes of others give no event
        await anyio.sleep(POLL_S)


async def a_process_with(marker: str) -> int:
    while not (found := await anyio.to_thread.run_sync(_find, marker)):  # noqa: ASYNC110 polls: processes of others give no event
        await anyio.sleep(POLL_S)
    return found[0]


def _find(marker: str) -> list[int]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if marker in words and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found
