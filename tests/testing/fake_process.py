"""`bamboo-mcp fake-llm` as a process of its own, as its users start it."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import anyio
import msgspec
from anyio.streams.buffered import BufferedByteReceiveStream

STOP = signal.SIGTERM if sys.platform == "win32" else signal.SIGINT


class FakeProcess:
    """`json` lines are read one by one; `stop` ends it as Ctrl-C does and gives the exit code."""

    def __init__(self, process: anyio.abc.Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._out = BufferedByteReceiveStream(process.stdout)
        self._err = process.stderr
        self.url = ""

    async def line(self) -> str:
        with anyio.fail_after(20):
            return (await self._out.receive_until(b"\n", 1_000_000)).decode()

    async def seen(self) -> dict[str, Any]:
        exchange: dict[str, Any] = msgspec.json.decode(await self.line())
        return exchange

    async def stop(self, number: signal.Signals = STOP) -> tuple[int, str]:
        self._process.send_signal(number)
        return await self.ended()

    async def ended(self) -> tuple[int, str]:
        """The exit code and what was said on standard error."""
        said = b""
        with anyio.fail_after(20):
            async for part in self._err:
                said += part
            return await self._process.wait(), said.decode()


@asynccontextmanager
async def started(*arguments: str | Path) -> AsyncGenerator[FakeProcess]:
    command = [sys.executable, "-m", "bamboo_mcp", "fake-llm", *map(str, arguments)]
    async with await anyio.open_process(command, stdin=None, stdout=PIPE, stderr=PIPE) as process:
        try:
            yield FakeProcess(process)
        finally:
            if process.returncode is None:
                process.kill()


@asynccontextmanager
async def fake_llm_process(
    script: Path | None = None, *options: str
) -> AsyncGenerator[FakeProcess]:
    """It listens when this is entered."""
    arguments: list[str | Path] = [] if script is None else [script]
    async with started(*arguments, "--json", *options) as fake:
        fake.url = (await fake.seen())["listening"]
        yield fake
