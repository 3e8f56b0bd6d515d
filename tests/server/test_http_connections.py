from __future__ import annotations

import anyio
import pytest

from bamboo_mcp.server.http_connections import Patience
from tests.server.http_served import Served, served

SHORT = Patience(request_s=1.0, reader_s=1.0, refused_s=0.5, look_every_s=0.05)
KINDS = ("silent", "half a head", "half a body")


async def stuck(server: Served, kind: str) -> None:
    """One connection of a kind that gets nowhere; returns when the server has closed it."""
    async with server.socket() as client:
        match kind:
            case "half a head":
                await client.stream.send(b"POST /mcp HTTP/1.1\r\nHost: x\r\nX-")
            case "half a body":
                await client.stream.send(server.request("POST /mcp", "Content-Length: 100") + b"{")
        await client.closed()


async def test_stuck_connections_of_three_kinds_are_closed_while_an_honest_client_works() -> None:
    async with served(patience=SHORT) as server, server.client("auto") as honest:
        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(stuck, server, KINDS[number % 3])
            for _ in range(20):
                assert not (await honest.call_tool("echo", {})).is_error
        async with server.browser() as http:
            assert (await http.get("/healthz")).status_code == 200


@pytest.mark.parametrize("kind", ["a head", "a body"])
async def test_bytes_that_trickle_in_do_not_keep_a_connection(kind: str) -> None:
    async with (
        served(patience=SHORT) as server,
        server.socket() as client,
        server.browser() as others,
    ):
        if kind == "a body":
            await client.stream.send(server.request("POST /mcp", "Content-Length: 100000"))

        async def trickle() -> None:
            try:
                while True:
                    await client.stream.send(b"G")
                    await others.get("/healthz")
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return

        async with anyio.create_task_group() as group:
            group.start_soon(trickle)
            await client.closed()
            group.cancel_scope.cancel()


async def test_an_idle_connection_may_send_its_next_request_byte_by_byte_only_so_long() -> None:
    async with served(patience=SHORT) as server, server.socket() as client:
        for _ in range(3):
            await client.stream.send(server.request("GET /healthz"))
            assert (await client.answer())[0] == 200
        await client.stream.send(b"GET /hea")
        await client.closed()


async def test_a_body_that_comes_slowly_but_steadily_is_taken() -> None:
    patience = Patience(request_s=1.0, body_bytes=10, look_every_s=0.05)
    async with (
        served(patience=patience) as server,
        server.socket() as client,
        server.browser() as others,
    ):
        await client.stream.send(server.request("POST /metrics", "Content-Length: 400"))
        for _ in range(10):
            await client.stream.send(b"x" * 40)
            until = anyio.current_time() + 0.1
            while anyio.current_time() < until:
                await others.get("/healthz")
        assert (await client.answer())[0] == 405
