from __future__ import annotations

import socket

import anyio
import pytest

from bamboo_mcp.domain.errors import SettingsError
from bamboo_mcp.domain.ids import Subject
from bamboo_mcp.server.http import HttpAddress, check_open
from bamboo_mcp.server.http_bodies import MAX_BODY_BYTES, MAX_DEPTH, depth_of
from bamboo_mcp.server.http_callers import Caller, callers_of
from bamboo_mcp.server.http_hosts import names_of
from tests.server.http_served import ALICE, TOKENS, rpc, served

PATHS = ("/mcp", "/healthz", "/metrics", "/runs/run_1/events", "/nowhere")
JSON = "Content-Type: application/json"


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "evil.test:{port}",
        "127.0.0.1:1",
        "127.0.0.1",
        "127.0.0.1.evil.test:{port}",
        " ",
    ],
)
async def test_a_foreign_host_is_refused_on_every_route(host: str) -> None:
    async with served() as server:
        for path in PATHS:
            said = await server.status(f"GET {path}", host=host.format(port=server.port))
            assert said in (400, 421), path


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.test",
        "null",
        "http://127.0.0.1:1",
        "http://127.0.0.1",
        "file://",
        "",
        "http://evil.test@127.0.0.1:{port}",
        "https://127.0.0.1:{port}.evil.test",
    ],
)
async def test_a_foreign_origin_is_refused_on_every_route(origin: str) -> None:
    async with served() as server:
        said = f"Origin: {origin.format(port=server.port)}"
        for path in PATHS:
            assert await server.status(f"GET {path}", said) == 403, path


async def test_one_foreign_origin_among_good_ones_is_enough_to_refuse() -> None:
    async with served() as server:
        good = f"Origin: http://127.0.0.1:{server.port}"
        assert await server.status("GET /healthz", good) == 200
        assert await server.status("GET /healthz", good, "Origin: http://evil.test") == 403


async def test_a_plain_get_for_another_sites_page_is_refused() -> None:
    async with served() as server:
        assert await server.status("GET /metrics", "Sec-Fetch-Site: cross-site") == 403
        assert await server.status("GET /metrics", "Sec-Fetch-Site: none") == 200


async def test_a_target_with_a_host_of_its_own_is_refused() -> None:
    async with served() as server:
        assert await server.status("GET http://evil.test/healthz") == 421
        assert await server.status(f"GET http://127.0.0.1:{server.port}/healthz") == 421


async def test_a_request_without_a_host_is_refused() -> None:
    async with served() as server, server.socket() as client:
        await client.stream.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert (await client.head())[0] == 421


async def test_names_and_origins_of_the_settings_are_served() -> None:
    address = HttpAddress(
        port=0,
        allowed_hosts=("agent.example.com", "other.example.com:444"),
        allowed_origins=("https://app.example.com",),
    )
    async with served(address=address) as server:
        for host, status in (
            ("agent.example.com", 200),
            ("AGENT.example.com:8443", 200),
            ("other.example.com:444", 200),
            ("other.example.com", 421),
            ("x.agent.example.com", 421),
        ):
            assert await server.status("GET /healthz", host=host) == status, host
        app = "Origin: https://app.example.com"
        assert await server.status("GET /healthz", app) == 200
        assert await server.status("GET /healthz", app + ".evil.test") == 403
        preflight = ("Access-Control-Request-Method: POST", "Access-Control-Request-Headers: x")
        assert await server.status("OPTIONS /mcp", app, *preflight) == 200
        assert await server.status("OPTIONS /mcp", "Origin: http://evil.test", *preflight) == 403


def test_a_bind_to_every_address_does_not_make_every_name_ours() -> None:
    names = names_of("0.0.0.0", 8765)
    assert names.allow("localhost:8765")
    assert not names.allow("0.0.0.0:8765")
    assert not names.allow("evil.test:8765")
    assert names_of("::1", 80).allow("[::1]")
    assert names_of("192.0.2.7", 1).allow("192.0.2.7:1")


@pytest.mark.parametrize(
    "header",
    [
        "X-Nothing: 1",
        "Authorization: Bearer wrong-wrong-wrong-wrong",
        "Authorization: Bearer",
        f"Authorization: Basic {ALICE}",
        f"Authorization: {ALICE}",
        f"Authorization: Bearer {ALICE}x",
        f"Authorization: Bearer {ALICE[:-1]}",
        f"Authorization: Bearer {ALICE}\r\nAuthorization: Bearer {ALICE}",
        f"Cookie: token={ALICE}",
    ],
)
async def test_without_the_right_token_every_route_answers_401(header: str) -> None:
    async with served(tokens=["ALICE"]) as server:
        for path in PATHS:
            async with server.socket() as client:
                await client.stream.send(server.request(f"GET {path}", header))
                status, head = await client.head()
            assert status == 401, path
            assert 'www-authenticate: bearer realm="bamboo-mcp"' in head


async def test_the_right_token_is_let_in() -> None:
    async with served(tokens=["ALICE"]) as server:
        for scheme in ("Bearer", "bearer"):
            assert await server.status("GET /healthz", f"Authorization: {scheme} {ALICE}") == 200


@pytest.mark.parametrize("query", ["token={}", "a=1&access_token={}", "TOKEN={}", "%74oken={}"])
@pytest.mark.parametrize("tokens", [(), ("ALICE",)])
async def test_a_token_in_the_address_is_refused_even_a_right_one(
    query: str, tokens: tuple[str, ...]
) -> None:
    async with served(tokens=tokens) as server:
        line = f"GET /healthz?{query.format(ALICE)}"
        assert await server.status(line, f"Authorization: Bearer {ALICE}") == 400
        assert await server.status(line) == 400


async def test_a_body_over_the_limit_is_refused_before_it_is_sent() -> None:
    async with served() as server, server.socket() as client:
        length = f"Content-Length: {5 * 1024 * 1024}"
        await client.stream.send(server.request("POST /mcp", JSON, length))
        assert (await client.answer())[0] == 413


async def test_a_client_that_sends_five_megabytes_reads_the_refusal_and_may_go_on() -> None:
    async with served() as server, server.browser() as http:
        refused = await http.post("/mcp", content=b"x" * (5 * 1024 * 1024))
        assert refused.status_code == 413
        assert refused.json()["error"]["code"] == "too_long"
        assert (await http.get("/healthz")).status_code == 200


async def test_chunks_without_end_are_refused_and_cut_off() -> None:
    async with served() as server, server.socket() as client:
        head = server.request("POST /mcp", JSON, "Transfer-Encoding: chunked")
        await client.stream.send(head)
        chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"

        async def for_ever() -> None:
            try:
                while True:
                    await client.stream.send(chunk)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                cut.set()

        cut = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(for_ever)
            assert (await client.answer())[0] == 413
            await cut.wait()


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":['])
async def test_json_nested_a_hundred_thousand_deep_is_refused(opening: bytes) -> None:
    body = opening * 100_000
    async with served() as server:
        length = f"Content-Length: {len(body)}"
        for path in PATHS:
            assert await server.status(f"POST {path}", JSON, length, body=body) == 400, path
        assert await server.status("GET /healthz") == 200


async def test_a_packed_body_is_not_unpacked() -> None:
    async with served() as server:
        packed = ("Content-Length: 4", "Content-Encoding: gzip")
        assert await server.status("POST /mcp", *packed, body=b"\x1f\x8b00") == 415


@pytest.mark.parametrize(
    ("body", "depth"),
    [
        (b"", 0),
        (b"1", 0),
        (b"[]", 1),
        (b'{"a":[{}]}', 3),
        (b'"[[[["', 0),
        (b'["\\"[[", []]', 2),
        (b'"[[', 0),
        (b"[[]" * 3, 4),
        (b"]]]][", 0),
        (b'"\\\\"[', 1),
    ],
)
def test_the_depth_of_json_is_counted_outside_of_its_strings(body: bytes, depth: int) -> None:
    assert depth_of(body) == depth


def test_odd_strings_do_not_make_counting_slow() -> None:
    assert depth_of(b'"' + b'\\"' * (MAX_BODY_BYTES // 2)) == 0
    assert depth_of(b'"' * MAX_BODY_BYTES) == 0
    assert depth_of(b"[" * MAX_BODY_BYTES) > MAX_DEPTH


async def test_a_request_as_long_as_allowed_is_served() -> None:
    body = rpc(
        "initialize",
        protocolVersion="2025-11-25",
        capabilities={},
        clientInfo={"name": "x" * (MAX_BODY_BYTES - 300), "version": "1"},
    )
    async with served() as server, server.browser() as http:
        accept = {
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
        }
        assert (await http.post("/mcp", content=body, headers=accept)).status_code == 200


async def test_callers_are_named_after_the_place_of_their_token() -> None:
    found = await callers_of(["env:ALICE", "env:BOB", "env:ALICE"], TOKENS)
    assert [one.subject for one in found] == ["http:env:ALICE", "http:env:BOB"]
    assert ALICE not in repr(found)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "is not set"),
        ({"A": "short"}, "at least 16"),
        ({"A": ALICE, "B": ALICE}, "the same token"),
    ],
)
async def test_a_token_that_cannot_protect_is_refused_at_start(
    environ: dict[str, str], words: str
) -> None:
    with pytest.raises(SettingsError, match=words) as refused:
        await callers_of(["env:A", "env:B"], environ)
    assert not any(token in str(refused.value) for token in environ.values())


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_others_can_reach_needs_a_token(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as one:
        one.bind((host, 0))
        with pytest.raises(SettingsError, match="no token protects it"):
            check_open([one], ())
        check_open([one], [Caller(subject=Subject("a"), digest=b"")])


async def test_a_port_that_is_taken_is_said_with_what_to_do() -> None:
    async with served() as server:
        with pytest.RaisesGroup(SettingsError, flatten_subgroups=True):
            async with served(address=HttpAddress(port=server.port)):
                pass
