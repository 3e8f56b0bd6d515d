"""Serving many clients over HTTP, in both protocol eras, until somebody says stop.

From the outside in: connections that get nowhere are closed, a request's Host and Origin are
checked, then its token, then its size; only then does a route see it.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from ipaddress import ip_address

import anyio
import anyio.to_thread
import uvicorn
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from bamboo_mcp.domain.errors import SettingsError
from bamboo_mcp.domain.value import Value
from bamboo_mcp.ports import ToolExecutor
from bamboo_mcp.server.backing import Backing
from bamboo_mcp.server.changes import Changes
from bamboo_mcp.server.context import DirectCalls
from bamboo_mcp.server.http_bodies import BodyGate
from bamboo_mcp.server.http_callers import Caller, CallerGate
from bamboo_mcp.server.http_connections import Patience, TimedConnection, close_stuck, cut_off
from bamboo_mcp.server.http_events import EventStreams
from bamboo_mcp.server.http_hosts import HostGate, Names, names_of
from bamboo_mcp.server.http_routes import MCP_PATH, Routes
from bamboo_mcp.server.instructions import INSTRUCTIONS
from bamboo_mcp.server.metrics import Source, Tally
from bamboo_mcp.server.mirror import Mirror, mirror_server
from bamboo_mcp.server.process import Shutdown
from bamboo_mcp.server.run_feeds import RunFeeds

logger = logging.getLogger(__name__)

MAX_CONCURRENT = 4_096
"""Calls that run at a time; most of them wait for subagents."""
DRAIN_S = 1.0
"""How long answers under way may take to be finished once the server is told to stop."""
_UVICORN_S = 2


class HttpAddress(Value, frozen=True, kw_only=True):
    """Where to listen, under which names, and for which web sites."""

    host: str = "127.0.0.1"
    port: int = 8765
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()


async def serve_http(
    tools: ToolExecutor,
    *,
    calls: DirectCalls,
    backing: Backing,
    address: HttpAddress,
    callers: Sequence[Caller],
    version: str,
    shutdown: Shutdown,
    instructions: str = INSTRUCTIONS,
    changes: Changes | None = None,
    sources: Sequence[Source] = (),
    patience: Patience | None = None,
    on_listening: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve until `shutdown` is requested, then let answers and streams finish, for a moment.

    `on_listening` is told the address of the MCP endpoint once it can be called.

    Raises:
        SettingsError: The address cannot be listened on, or is open to others without a token.
    """
    changes = changes or Changes()
    patience = patience or Patience()
    tally = Tally()
    resources = backing.resources(changes)
    mirror = Mirror(tools, calls, max_concurrent=MAX_CONCURRENT)
    manager = StreamableHTTPSessionManager(
        mirror_server(
            mirror,
            version=version,
            instructions=instructions,
            changes=changes,
            resources=resources,
        )
    )
    async with AsyncExitStack() as stack:
        sockets = await anyio.to_thread.run_sync(_listen, address.host, address.port)
        for one in sockets:
            stack.callback(one.close)
        check_open(sockets, callers)
        port = sockets[0].getsockname()[1]
        stack.callback(backing.listen(tally.note))
        group = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(group.cancel_scope.cancel)
        feeds = RunFeeds(backing.log, group)
        routes = Routes(
            mcp=manager.handle_request,
            streams=EventStreams(backing.visibility(), backing.log, feeds),
            feeds=feeds,
            tally=tally,
            sources=sources,
            version=version,
        )
        names = names_of(address.host, port, address.allowed_hosts)
        app = gated(routes, names=names, origins=address.allowed_origins, callers=callers)
        server = _Uvicorn(_config(app, patience))
        connections = server.server_state.connections
        group.start_soon(close_stuck, connections, patience)
        group.start_soon(resources.tell)
        async with manager.run(), anyio.create_task_group() as serving:
            serving.start_soon(server.serve, sockets)
            await server.listening.wait()
            on_listening(f"http://{_shown(address.host)}:{port}{MCP_PATH}")
            await shutdown.requested.wait()
            routes.stopping = True
            server.should_exit = True
            feeds.close()
            changes.close()
            with anyio.move_on_after(DRAIN_S):
                await server.idle()
            cut_off(connections)
        cut_off(connections)


def gated(
    app: ASGIApp, *, names: Names, origins: Sequence[str], callers: Sequence[Caller]
) -> ASGIApp:
    """`app` behind all gates, whichever route is asked for."""
    inner: ASGIApp = CallerGate(BodyGate(app), callers=callers)
    if origins:
        inner = CORSMiddleware(
            inner,
            allow_origins=[origin.lower() for origin in origins],
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["Mcp-Session-Id"],
        )
    return HostGate(inner, names=names, origins=origins)


def check_open(sockets: Sequence[socket.socket], callers: Sequence[Caller]) -> None:
    """Raises `SettingsError` when others than this machine could call without a token."""
    if callers:
        return
    for one in sockets:
        host = one.getsockname()[0]
        if not ip_address(host.partition("%")[0]).is_loopback:
            raise SettingsError(
                f"{host!r} can be reached by other machines, and no token protects it",
                hint="add --token env:NAME (or file:PATH), or listen on 127.0.0.1",
            )


class _Uvicorn(uvicorn.Server):
    """Uvicorn without its signal handlers: who started the process decides when it ends."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = anyio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def idle(self) -> None:
        """Return once no answer is under way."""
        while self.server_state.tasks:  # noqa: ASYNC110 uvicorn tells nobody
            await anyio.sleep(0.02)


def _config(app: ASGIApp, patience: Patience) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=TimedConnection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=max(1, int(patience.request_s)),
        timeout_graceful_shutdown=_UVICORN_S,
    )


def _listen(host: str, port: int) -> list[socket.socket]:
    """A listening socket for each address of `host`; port 0 takes the same free one for all."""
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, _, _, _, place in dict.fromkeys(found):
            where = (place[0], sockets[0].getsockname()[1] if sockets else port)
            sockets.append(socket.create_server(where, family=family))
    except OSError as error:
        for one in sockets:
            one.close()
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            hint="choose another with --port (0 takes a free one) or --host",
        ) from error
    return sockets


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
