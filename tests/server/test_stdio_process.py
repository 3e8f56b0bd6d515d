"""A real server process at the other end of a real pipe."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import mcp_types
import pytest
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from msgspec import json

from tests.server.doubles import ERAS

ROOT = Path(__file__).parents[2]

every_era = pytest.mark.parametrize("era", ERAS)
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


def command(trace: Path) -> list[str]:
    return [sys.executable, "-m", "tests.server.tiny_app", str(trace)]


@asynccontextmanager
async def client_of(trace: Path, era: str) -> AsyncIterator[Client]:
    program, *arguments = command(trace)
    parameters = StdioServerParameters(command=program, args=arguments, cwd=ROOT)
    with anyio.fail_after(20), trace.with_suffix(".err").open("w", encoding="utf-8") as errors:
        async with Client(stdio_client(parameters, errlog=errors), mode=era) as client:
            yield client


def text_of(result: mcp_types.CallToolResult) -> str:
    return "\n".join(one.text for one in result.content if isinstance(one, mcp_types.TextContent))


class RawServer:
    """A server spoken to line by line, so that a test sees all that comes out of it."""

    def __init__(self, process: Process, trace: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self.trace = trace
        self._stdin = process.stdin
        self._stdout = BufferedByteReceiveStream(process.stdout)

    async def send(self, message: dict[str, Any]) -> None:
        await self._stdin.send(json.encode(message) + b"\n")

    async def line(self) -> Any:
        return json.decode(await self._stdout.receive_until(b"\n", 10_000_000))

    async def call(self, number: int, tool: str, **more: Any) -> None:
        params = {"name": tool, "arguments": {}, **more}
        await self.send({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})

    async def hang(self) -> None:
        """Begin a call that never ends; its progress tells that it is under way."""
        await self.call(2, "hang", _meta={"progressToken": "p"})
        assert (await self.line())["method"] == "notifications/progress"

    async def close(self) -> None:
        await self._stdin.aclose()

    async def rest(self) -> bytes:
        left = self._stdout.buffer
        while True:
            try:
                left += await self._stdout.receive()
            except anyio.EndOfStream:
                return left

    def lines_of_trace(self) -> list[str]:
        return self.trace.read_text(encoding="utf-8").splitlines()


@asynccontextmanager
async def raw_server(trace: Path) -> AsyncIterator[RawServer]:
    with anyio.fail_after(20):
        async with await anyio.open_process(
            command(trace), cwd=ROOT, stderr=subprocess.DEVNULL
        ) as process:
            try:
                server = RawServer(process, trace)
                await server.send(INITIALIZE)
                assert (await server.line())["result"]["serverInfo"]["name"] == "bamboo-mcp"
                await server.send(INITIALIZED)
                yield server
            finally:
                if process.returncode is None:
                    process.kill()


@every_era
async def test_a_client_of_either_era_lists_and_calls(era: str, tmp_path: Path) -> None:
    async with client_of(tmp_path / "trace", era) as client:
        assert "echo" in [tool.name for tool in (await client.list_tools()).tools]
        assert text_of(await client.call_tool("echo", {"text": "grüße"})) == "grüße"
        assert '"unknown_tool"' in text_of(await client.call_tool("ecko", {}))
        assert "'txt'" in text_of(await client.call_tool("echo", {"txt": "x"}))
        assert "secret" not in text_of(await client.call_tool("break_down", {}))
        big = "x" * 5_000_000
        assert text_of(await client.call_tool("echo", {"text": big})) == big


@every_era
async def test_progress_arrives_and_a_cancelled_call_ends_alone(era: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    begun = anyio.Event()

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        assert (progress, total, message) == (1, 3, "1 of 3 done")
        begun.set()

    async with client_of(trace, era) as client, anyio.create_task_group() as group:
        scope = anyio.CancelScope()

        async def call() -> None:
            with scope:
                await client.call_tool("hang", {}, progress_callback=listen)

        group.start_soon(call)
        await begun.wait()
        scope.cancel()
        assert text_of(await client.call_tool("echo", {"text": "still here"})) == "still here"
        # The two messages went one after the other, and the first was acted on when it was read.
        assert "hang cancelled" in trace.read_text(encoding="utf-8")


async def test_stdout_carries_the_protocol_and_nothing_else(tmp_path: Path) -> None:
    async with raw_server(tmp_path / "trace") as server:
        await server.call(2, "shout")
        assert (await server.line())["id"] == 2
        await server.close()
        assert await server.rest() == b""
        assert await server.process.wait() == 0


async def test_the_end_of_stdin_closes_the_application_in_order(tmp_path: Path) -> None:
    async with raw_server(tmp_path / "trace") as server:
        await server.close()
        with anyio.fail_after(2):
            assert await server.process.wait() == 0
        assert server.lines_of_trace() == ["opened", "closed"]


async def test_a_client_that_disappears_mid_call_ends_the_call_and_the_server(
    tmp_path: Path,
) -> None:
    async with raw_server(tmp_path / "trace") as server:
        await server.hang()
        await server.close()
        with anyio.fail_after(2):
            assert await server.process.wait() == 0
        assert server.lines_of_trace() == ["opened", "hang began", "hang cancelled", "closed"]


async def test_a_client_that_stops_reading_ends_the_server(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    reading, writing = os.pipe()
    with anyio.fail_after(20):
        async with await anyio.open_process(
            command(trace), cwd=ROOT, stdout=writing, stderr=subprocess.DEVNULL
        ) as process:
            os.close(writing)
            assert process.stdin is not None
            await process.stdin.send(json.encode(INITIALIZE) + b"\n")
            assert await anyio.to_thread.run_sync(os.read, reading, 1) == b"{"
            os.close(reading)
            await process.stdin.send(
                json.encode({**INITIALIZED, "method": "ping", "id": 2}) + b"\n"
            )
            assert await process.wait() == 0
    assert trace.read_text(encoding="utf-8").splitlines() == ["opened", "closed"]


@posix
@pytest.mark.parametrize("closed", ["<&-", ">&-"])
async def test_a_server_started_without_a_pipe_says_so(closed: str, tmp_path: Path) -> None:
    with anyio.fail_after(20):
        done = await anyio.run_process(
            ["sh", "-c", f'exec "$0" "$@" {closed}', *command(tmp_path / "trace")],
            cwd=ROOT,
            check=False,
        )
    assert done.returncode != 0
    assert b"standard input or output is closed" in done.stderr


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_an_idle_server_in_order(
    number: signal.Signals, tmp_path: Path
) -> None:
    async with raw_server(tmp_path / "trace") as server:
        server.process.send_signal(number)
        with anyio.fail_after(2):
            assert await server.process.wait() == 0
        assert server.lines_of_trace() == ["opened", "closed"]


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_cancels_the_calls_in_flight_and_more_of_them_change_nothing(
    number: signal.Signals, tmp_path: Path
) -> None:
    async with raw_server(tmp_path / "trace") as server:
        await server.hang()
        server.process.send_signal(number)
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGINT)
        with anyio.fail_after(2):
            assert await server.process.wait() == 0
        assert server.lines_of_trace() == ["opened", "hang began", "hang cancelled", "closed"]


@posix
async def test_a_call_stuck_in_a_thread_does_not_keep_the_process(tmp_path: Path) -> None:
    async with raw_server(tmp_path / "trace") as server:
        await server.call(2, "block")
        await server.call(3, "echo", arguments={"text": "x"})
        assert (await server.line())["id"] == 3
        server.process.send_signal(signal.SIGTERM)
        with anyio.fail_after(5):
            await server.process.wait()
