"""A small server over stdio for the process tests: `python -m tests.server.tiny_app [trace file]`.

The trace file gets a line when the application has opened and one when it closed in order.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import anyio
import anyio.lowlevel
from msgspec import Meta

from bamboo_mcp.domain.tools import Progress
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.server.context import DirectCalls
from bamboo_mcp.server.process import Shutdown, run_server
from bamboo_mcp.server.stdio import serve_stdio
from bamboo_mcp.server.wire import claimed_stdio
from bamboo_mcp.tools.function import FunctionExecutor, tool, tools_of


class Tiny:
    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def note(self, line: str) -> None:
        with self._trace.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    @tool(title="Echo", effect="read")
    async def echo(
        self, context: ToolContext, *, text: Annotated[str, Meta(description="What to say.")]
    ) -> str:
        """Say it back."""
        return text

    @tool(title="Print", effect="read")
    async def shout(self, context: ToolContext) -> str:
        """Print to standard output in every way there is."""
        print("from print")  # noqa: T201
        sys.stdout.write("not flushed")
        os.write(1, b"from the descriptor\n")
        process = await anyio.run_process(
            [sys.executable, "-c", "import sys; print('from a child'); print(sys.stdin.read())"],
            stdin=None,
            stdout=None,
        )
        return f"child ended with {process.returncode}"

    @tool(title="Hang", effect="read")
    async def hang(self, context: ToolContext) -> str:
        """Report once and wait for ever."""
        self.note("hang began")
        context.progress(Progress(done=1, total=3, message="1 of 3\ndone"))
        try:
            await anyio.sleep_forever()
        finally:
            self.note("hang cancelled")
        return "never"

    @tool(title="Block", effect="read")
    async def block(self, context: ToolContext) -> str:
        """Sit in a thread that nothing can interrupt."""
        self.note("block began")
        reading, _ = os.pipe()
        await anyio.to_thread.run_sync(os.read, reading, 1)
        return "never"

    @tool(title="Break", effect="read")
    async def break_down(self, context: ToolContext) -> str:
        """Fail in a way nobody foresaw."""
        raise RuntimeError("the secret is 12345")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        self.note("opened")
        yield
        # A clean-up that waits: it only gets through when nothing cancels it.
        await anyio.lowlevel.checkpoint()
        self.note("closed")


def main() -> int:
    tiny = Tiny(Path(sys.argv[1]))

    async def serve(shutdown: Shutdown) -> None:
        with claimed_stdio() as wire:
            async with tiny.open():
                await serve_stdio(
                    FunctionExecutor(tools_of(tiny)),
                    calls=DirectCalls(mode="accept_edits"),
                    version="1.2.3",
                    shutdown=shutdown,
                    wire=wire,
                )

    return run_server(serve)


if __name__ == "__main__":
    sys.exit(main())
