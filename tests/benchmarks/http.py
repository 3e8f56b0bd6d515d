"""The HTTP server: a thousand calls at once against the bare SDK, bursts of events to watchers."""

from __future__ import annotations

import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec

import msgspec

from tests.benchmarks.pairing import Row, row, take_turns

CALLS = 1_000
EVENTS = {10: 10_000, 100: 2_000}
"""Of a burst, by number of watchers."""
SSE_TARGET = 1 / 15
BROADCAST_TARGET = 1 / 5
_PATIENCE_S = 120.0
_END = b"run_ended"


class Server:
    """A process of `tests.benchmarks.http_servers`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        self.port = int(self._stdout.readline())

    def tell(self, line: str) -> None:
        self._stdin.write(line + "\n")
        self._stdin.flush()

    def new(self) -> str:
        self.tell("new")
        return self._stdout.readline().strip()

    def connect(self) -> socket.socket:
        for _ in range(100):  # uvicorn takes connections a moment after it says its port
            try:
                return socket.create_connection(("127.0.0.1", self.port), timeout=_PATIENCE_S)
            except ConnectionRefusedError:
                time.sleep(0.05)
        raise RuntimeError("the server takes no connections")


@contextmanager
def server_of(name: str) -> Iterator[Server]:
    command = (sys.executable, "-m", "tests.benchmarks.http_servers", name)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Server(process)
        finally:
            process.kill()


def measure(rounds: int) -> list[Row]:
    rows = []
    with ExitStack() as stack:
        ours = stack.enter_context(server_of("ours"))
        sdk = stack.enter_context(server_of("sdk"))
        slowest = take_turns(
            {"ours": partial(calls_p99, ours), "sdk": partial(calls_p99, sdk)}, rounds
        )
        rows.append(
            row(
                f"p99 of {CALLS} modern calls at once / the bare SDK's",
                slowest["ours"],
                slowest["sdk"],
                unit="ms",
                scale=1e3,
                target=1.0,
            )
        )
        others = {"sse": ("sse-starlette with a queue per watcher", SSE_TARGET)}
        if find_spec("websockets") is not None:
            others["broadcast"] = ("websockets.broadcast", BROADCAST_TARGET)
        servers = {name: stack.enter_context(server_of(name)) for name in others} | {"ours": ours}
        for watchers, events in EVENTS.items():
            took = take_turns(
                {name: partial(burst, one, watchers, events) for name, one in servers.items()},
                rounds,
            )
            for name, (words, target) in others.items():
                rows.append(
                    row(
                        f"{events} events to {watchers} watchers / {words}",
                        took["ours"],
                        took[name],
                        unit="ms",
                        scale=1e3,
                        target=target,
                        note=_rate(took["ours"], watchers * events),
                    )
                )
    return rows


def _rate(took: list[float], deliveries: int) -> str:
    return f"{deliveries / sorted(took)[len(took) // 2] / 1e3:.0f} k deliveries a second"


def calls_p99(server: Server) -> float:
    """Seconds that 99 of 100 calls stay under, all sent at once on connections of their own."""
    request = _call(server.port)
    connections = [server.connect() for _ in range(CALLS)]
    try:
        with selectors.DefaultSelector() as selector:
            sent: dict[socket.socket, float] = {}
            for one in connections:
                selector.register(one, selectors.EVENT_READ)
            for one in connections:
                sent[one] = time.perf_counter()
                one.sendall(request)
            took = []
            while sent:
                for one in _ready(selector):
                    if not (answer := one.recv(65_536)).startswith(b"HTTP/1.1 200"):
                        if answer:
                            continue  # the rest of an answer
                        raise RuntimeError("a connection was closed")
                    if one in sent:
                        took.append(time.perf_counter() - sent.pop(one))
    finally:
        for one in connections:
            one.close()
    return sorted(took)[int(len(took) * 0.99)]


def burst(server: Server, watchers: int, events: int) -> float:
    """Seconds until each of so many watchers has the last of so many events."""
    path = server.new()
    request = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n"
    )
    if path != "/":
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n"
    connections = [server.connect() for _ in range(watchers)]
    try:
        for one in connections:
            one.sendall(request.encode())
        _until(connections, b"retry")
        began = time.perf_counter()
        server.tell(f"burst {events}")
        _until(connections, _END)
        return time.perf_counter() - began
    finally:
        for one in connections:
            one.close()


def _until(connections: list[socket.socket], marker: bytes) -> None:
    """Read each connection until the marker has come; looks at no more than it must."""
    tails: dict[socket.socket, bytes] = dict.fromkeys(connections, b"")
    with selectors.DefaultSelector() as selector:
        for one in connections:
            selector.register(one, selectors.EVENT_READ)
        while tails:
            for one in _ready(selector):
                data = one.recv(1_048_576)
                if not data:
                    raise RuntimeError("a watcher was cut off")
                if marker in tails[one] + data:
                    del tails[one]
                    selector.unregister(one)
                else:
                    tails[one] = data[-len(marker) :]


def _ready(selector: selectors.BaseSelector) -> list[socket.socket]:
    ready = [key.fileobj for key, _ in selector.select(_PATIENCE_S)]
    if not ready:
        raise RuntimeError("nothing came for a long time")
    return [one for one in ready if isinstance(one, socket.socket)]


def _call(port: int) -> bytes:
    meta: Mapping[str, object] = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": "echo", "arguments": {"text": "hello"}, "_meta": meta}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    body = msgspec.json.encode(message)
    lines = (
        "POST /mcp HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        "MCP-Protocol-Version: 2026-07-28",
        "Mcp-Method: tools/call",
        "Mcp-Name: echo",
        f"Content-Length: {len(body)}",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
