"""Tools whose calls a test can watch and hold, and a server over them in either era."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from mcp import Client

from bamboo_mcp.domain.tools import (
    ToolCall,
    ToolResult,
    ToolSpec,
    error_result,
    text_result,
)
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.server.context import DirectCalls
from bamboo_mcp.server.mirror import MAX_CONCURRENT, Mirror, MirrorServer, mirror_server

ERAS = ("legacy", "auto")

Body = Callable[[ToolCall, ToolContext], Awaitable[ToolResult]]


async def echo(call: ToolCall, context: ToolContext) -> ToolResult:
    return text_result(repr(dict(call.arguments)))


class ScriptedTools:
    """An executor made of specs and bodies."""

    def __init__(
        self, bodies: Mapping[str, Body] | None = None, specs: Sequence[ToolSpec] | None = None
    ) -> None:
        self._bodies = dict(bodies if bodies is not None else {"echo": echo})
        self.specs = (
            list(specs)
            if specs is not None
            else [ToolSpec(name=name, description="d") for name in self._bodies]
        )

    async def list_tools(self) -> Sequence[ToolSpec]:
        return self.specs

    async def call_tool(self, call: ToolCall, context: ToolContext) -> ToolResult:
        body = self._bodies.get(call.name)
        if body is None:
            return error_result("unknown_tool", "not here")
        return await body(call, context)


class Held:
    """A tool body that tells when it began and when it was cancelled."""

    def __init__(self) -> None:
        self.began = anyio.Event()
        self.cancelled = anyio.Event()
        self.release = anyio.Event()

    async def __call__(self, call: ToolCall, context: ToolContext) -> ToolResult:
        self.began.set()
        try:
            await self.release.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled.set()
            raise
        return text_result("released")


def server_of(
    tools: ScriptedTools,
    *,
    max_wait_s: float = 45.0,
    max_concurrent: int = MAX_CONCURRENT,
    **more: Any,
) -> MirrorServer:
    calls = DirectCalls(mode="accept_edits", max_wait_s=max_wait_s)
    mirror = Mirror(tools, calls, max_concurrent=max_concurrent)
    return mirror_server(mirror, version="1.2.3", instructions="Read me.", **more)


@asynccontextmanager
async def connected(
    tools: ScriptedTools, era: str, *, client: Mapping[str, Any] | None = None, **more: Any
) -> AsyncIterator[Client]:
    with anyio.fail_after(10):
        async with Client(server_of(tools, **more), mode=era, **(client or {})) as connection:
            yield connection
