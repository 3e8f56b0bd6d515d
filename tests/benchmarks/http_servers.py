"""The servers of the benchmark `http`: `python -m tests.benchmarks.http_servers NAME`.

A server says its port on a line, then obeys lines: `new` makes something to watch and answers with
its path, `burst N` lets N events happen to it and then an end.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import import_module
from typing import Any

import anyio
import anyio.lowlevel

from bamboo_mcp.domain.events import EventRecord, RunEnded, RunStarted, TextDelta
from bamboo_mcp.domain.ids import RunId, new_run_id, new_session_id
from bamboo_mcp.domain.runs import Outcome
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.server.run_feeds import line_of

TEXT = "word " * 24
"""Makes an event of about 220 bytes."""
AT_A_TIME = 50
"""Events between two turns of the loop."""
END = "run_ended"

New = Callable[[], Awaitable[str]]
Say = Callable[[int], None]
Finish = Callable[[], None]


async def obey(new: New, say: Say, finish: Finish) -> None:
    async for line in anyio.wrap_file(sys.stdin):
        words = line.split()
        if words[0] == "new":
            print(await new(), flush=True)
            continue
        left = int(words[1])
        while left > 0:
            say(min(left, AT_A_TIME))
            left -= AT_A_TIME
            await anyio.lowlevel.checkpoint()
        finish()


async def ours() -> None:
    from bamboo_mcp.cli.collector import settle
    from bamboo_mcp.domain.tools import ToolSpec
    from bamboo_mcp.testing.harness import open_harness
    from bamboo_mcp.testing.scripted import ScriptedProvider
    from tests.benchmarks.minimal_server import TOOL
    from tests.server.doubles import ScriptedTools
    from tests.server.http_served import served

    run = RunId("")
    spec = ToolSpec(name=TOOL.name, description="Say it again.", input_schema=TOOL.input_schema)
    async with open_harness(ScriptedProvider()) as harness:

        async def new() -> str:
            nonlocal run
            run, session = new_run_id(), new_session_id()
            await harness.sessions.create(SessionMeta(session_id=session, created_at=1.0))
            harness.log.append(run, RunStarted(session_id=session))
            return f"/runs/{run}/events"

        def say(count: int) -> None:
            for _ in range(count):
                harness.log.append(run, TextDelta(text=TEXT))

        def finish() -> None:
            harness.log.append(run, RunEnded(outcome=Outcome(status="completed")))

        tools = ScriptedTools(specs=[spec])
        settle()  # as `serve` does
        async with served(tools, harness=harness, within_s=3600) as server:
            print(server.port, flush=True)
            await obey(new, say, finish)


def event_text(seq: int) -> str:
    record = EventRecord(run_id=RunId("r"), seq=seq, at=1795264046.5, event=TextDelta(text=TEXT))
    return line_of(record).decode()


async def bare_sdk() -> None:
    """The SDK's own application with its own settings, over uvicorn with its own."""
    from mcp.server.lowlevel import Server

    from tests.benchmarks.minimal_server import call_tool, list_tools

    server: Server[Any] = Server(
        "minimal", version="1", on_list_tools=list_tools, on_call_tool=call_tool
    )
    await _uvicorn(server.streamable_http_app(), lambda: anyio.sleep_forever())


class Queues:
    """A queue for each watcher, read by sse-starlette: what one writes with that library."""

    def __init__(self) -> None:
        self._queues: list[Any] = []
        self._seq = 0

    async def events(self) -> AsyncIterator[Any]:
        from sse_starlette import ServerSentEvent

        send, receive = anyio.create_memory_object_stream[str](1_000_000)
        self._queues.append(send)
        yield ServerSentEvent(data="retry")
        async with receive:
            async for text in receive:
                yield ServerSentEvent(data=text, id="1")
                if text == END:
                    return

    async def new(self) -> str:
        self._queues.clear()
        return "/watch"

    def say(self, count: int) -> None:
        for _ in range(count):
            self._seq += 1
            self._put(event_text(self._seq))

    def finish(self) -> None:
        self._put(END)

    def _put(self, text: str) -> None:
        for queue in self._queues:
            queue.send_nowait(text)


async def sse_starlette() -> None:
    from sse_starlette import EventSourceResponse
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.routing import Route

    queues = Queues()

    async def watch(request: Request) -> EventSourceResponse:
        return EventSourceResponse(queues.events())

    app = Starlette(routes=[Route("/watch", watch)])
    await _uvicorn(app, lambda: obey(queues.new, queues.say, queues.finish))


async def broadcast() -> None:
    """`websockets.broadcast`, where that library is installed."""
    library = import_module("websockets.asyncio.server")
    watchers: set[Any] = set()
    seq = 0

    async def watch(connection: Any) -> None:
        watchers.add(connection)
        await connection.send("retry")
        await connection.wait_closed()
        watchers.discard(connection)

    async def new() -> str:
        watchers.clear()
        return "/"

    def say(count: int) -> None:
        nonlocal seq
        for _ in range(count):
            seq += 1
            library.broadcast(watchers, event_text(seq))

    def finish() -> None:
        library.broadcast(watchers, END)

    async with library.serve(watch, "127.0.0.1", 0, compression=None) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await obey(new, say, finish)


async def _uvicorn(app: Any, obeying: Callable[[], Awaitable[None]]) -> None:
    import socket

    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error")
    async with anyio.create_task_group() as group:
        group.start_soon(uvicorn.Server(config).serve, [listening])
        print(port, flush=True)
        await obeying()
        group.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(
        {"ours": ours, "sdk": bare_sdk, "sse": sse_starlette, "broadcast": broadcast}[sys.argv[1]]
    )
