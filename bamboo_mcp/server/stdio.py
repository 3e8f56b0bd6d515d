"""Serving one client over standard input and output, until it leaves or somebody says stop."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, cast

import anyio
from mcp.server.stdio import stdio_server

from bamboo_mcp.ports import ToolExecutor
from bamboo_mcp.server.changes import Changes
from bamboo_mcp.server.context import DirectCalls
from bamboo_mcp.server.instructions import INSTRUCTIONS
from bamboo_mcp.server.mirror import MAX_CONCURRENT, Mirror, OnRoots, mirror_server
from bamboo_mcp.server.process import Shutdown
from bamboo_mcp.server.resources import Resources
from bamboo_mcp.server.wire import LineReader, LineWriter, Wire, claimed_stdio


async def serve_stdio(
    tools: ToolExecutor,
    *,
    calls: DirectCalls,
    version: str,
    shutdown: Shutdown,
    instructions: str = INSTRUCTIONS,
    wire: Wire | None = None,
    changes: Changes | None = None,
    on_roots: OnRoots | None = None,
    max_concurrent: int = MAX_CONCURRENT,
    resources: Resources | None = None,
) -> None:
    """Serve `tools` until stdin ends, the client stops reading, or `shutdown` is requested.

    Returns normally in all three; calls in flight are cancelled, and `shutdown` has begun. The
    caller closes what it opened around this. Give `wire` to claim stdio earlier than here.
    """
    mirror = Mirror(tools, calls, max_concurrent=max_concurrent)
    server = mirror_server(
        mirror,
        version=version,
        instructions=instructions,
        changes=changes,
        on_roots=on_roots,
        resources=resources,
    )
    with ExitStack() as stack:
        wire = wire or stack.enter_context(claimed_stdio())
        writer = LineWriter(
            wire.stdout_fd, on_broken=lambda: shutdown.begin("the client stopped reading")
        )
        stack.callback(writer.close)
        reader = LineReader(wire.stdin_fd)

        async with anyio.create_task_group() as group:

            async def stop_when_asked() -> None:
                await shutdown.requested.wait()
                group.cancel_scope.cancel()

            group.start_soon(stop_when_asked)
            if resources is not None:
                group.start_soon(resources.tell)
            # The SDK only iterates the one and writes to the other; both can be cancelled.
            async with stdio_server(cast(Any, reader), cast(Any, writer)) as (inbound, outbound):
                await server.run(inbound, outbound, server.create_initialization_options())
            shutdown.begin("the client closed the connection")
