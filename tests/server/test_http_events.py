from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import msgspec
import pytest

from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.domain.events import RunEnded, RunStarted, TextDelta
from bamboo_mcp.domain.ids import RunId, SessionId, new_owner_id
from bamboo_mcp.domain.runs import Outcome
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.runs.log import FileEventLog
from bamboo_mcp.server.http_connections import Patience
from bamboo_mcp.testing.harness import Harness, open_harness
from bamboo_mcp.testing.scripted import ScriptedProvider
from tests.server.doubles import Held, ScriptedTools
from tests.server.http_served import ALICE, BOB, Served, caller, rpc, served

RUN = RunId("run_1")
EVENTS = f"/runs/{RUN}/events"
_FRAME = re.compile(r"id: (\d+)\ndata: (.*)")


async def begin(harness: Harness, events: int = 0, *, whose: str = "local") -> None:
    """A run of a session, with so many words of text in its log."""
    meta = SessionMeta(session_id=SessionId("ses_1"), created_at=1.0)
    await harness.sessions.create(msgspec.structs.replace(meta, caller=whose))
    harness.log.append(RUN, RunStarted(session_id=SessionId("ses_1"), owner=new_owner_id()))
    say(harness, events)


def say(harness: Harness, words: int, text: str = "word") -> None:
    for _ in range(words):
        harness.log.append(RUN, TextDelta(text=text))


def end(harness: Harness) -> None:
    harness.log.append(RUN, RunEnded(outcome=Outcome(status="completed")))


class Stream:
    """What one watcher gets."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._blocks = self._split()

    async def _split(self) -> AsyncIterator[str]:
        text = ""
        async for part in self.response.aiter_text():
            *blocks, text = (text + part).split("\n\n")
            for block in blocks:
                yield block

    async def block(self) -> str:
        return await anext(self._blocks)

    async def event(self) -> tuple[int, dict[str, Any]]:
        while True:
            if found := _FRAME.fullmatch(await self.block()):
                data = msgspec.json.decode(found[2])
                assert data["seq"] == int(found[1])
                return int(found[1]), data["event"]

    async def seqs(self, count: int) -> list[int]:
        return [(await self.event())[0] for _ in range(count)]

    async def rest(self) -> list[int]:
        found = []
        async for block in self._blocks:
            if match := _FRAME.fullmatch(block):
                found.append(int(match[1]))
        return found


@asynccontextmanager
async def watching(server: Served, address: str = EVENTS, **headers: str) -> AsyncIterator[Stream]:
    async with server.browser(**headers) as http, http.stream("GET", address) as response:
        assert response.status_code == 200
        yield Stream(response)


@asynccontextmanager
async def running(events: int = 0, **more: Any) -> AsyncIterator[Served]:
    async with open_harness(ScriptedProvider()) as harness:
        await begin(harness, events)
        async with served(harness=harness, **more) as server:
            yield server


async def test_a_watcher_gets_what_was_and_then_what_comes_until_the_end() -> None:
    async with running(2) as server, watching(server) as stream:
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        assert await stream.block() == "retry: 2000"
        assert (await stream.event())[1]["kind"] == "run_started"
        assert await stream.seqs(2) == [2, 3]
        say(server.harness, 1, "new\n\ndata: no")
        seq, event = await stream.event()
        assert (seq, event["text"]) == (4, "new\n\ndata: no")
        end(server.harness)
        assert await stream.rest() == [5]


async def test_a_watcher_that_comes_back_goes_on_where_it_was() -> None:
    async with running(10) as server:
        async with watching(server) as first:
            assert await first.seqs(4) == [1, 2, 3, 4]
        say(server.harness, 5)
        async with watching(server, **{"last-event-id": "4"}) as second:
            assert await second.seqs(12) == list(range(5, 17))


async def test_the_browsers_memory_goes_before_the_address() -> None:
    async with running(10) as server:
        async with watching(server, f"{EVENTS}?after=2") as stream:
            assert (await stream.event())[0] == 3
        async with watching(server, f"{EVENTS}?after=2", **{"last-event-id": "7"}) as stream:
            assert (await stream.event())[0] == 8


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "٣", "1" * 30, "0x1"])
async def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    async with running(1) as server, server.browser() as http:
        assert (await http.get(EVENTS, params={"after": cursor})).status_code == 400


async def test_one_that_has_seen_the_end_is_told_not_to_come_back() -> None:
    async with running(1) as server:
        end(server.harness)
        async with server.browser() as http:
            assert (await http.get(EVENTS, headers={"last-event-id": "3"})).status_code == 204
        async with watching(server, **{"last-event-id": "2"}) as stream:
            assert await stream.rest() == [3]
        async with watching(server) as stream:
            assert await stream.rest() == [1, 2, 3]


async def test_a_run_of_another_caller_is_not_there() -> None:
    async with open_harness(ScriptedProvider()) as harness:
        await begin(harness, 1, whose=caller("ALICE"))
        async with served(harness=harness, tokens=["ALICE", "BOB"]) as server:
            async with watching(server, authorization=f"Bearer {ALICE}") as stream:
                assert await stream.seqs(2) == [1, 2]
            async with server.browser(authorization=f"Bearer {BOB}") as http:
                foreign, nowhere = await http.get(EVENTS), await http.get("/runs/run_2/events")
            assert (foreign.status_code, nowhere.status_code) == (404, 404)
            assert foreign.text.replace("run_1", "run_2") == nowhere.text


async def test_a_long_log_is_replayed_whole_from_the_disk(tmp_path: Path) -> None:
    with Journals("process") as journals:
        log = FileEventLog(tmp_path, journals)
        async with open_harness(ScriptedProvider(), log=log) as harness:
            await begin(harness, 5_000)
            async with served(harness=harness) as server:
                async with watching(server) as stream, watching(server) as other:
                    assert await stream.seqs(5_001) == list(range(1, 5_002))
                    say(harness, 3_000)
                    end(harness)
                    assert await stream.rest() == list(range(5_002, 8_003))
                    assert await other.rest() == list(range(1, 8_003))


async def test_a_watcher_that_stops_reading_keeps_nobody_waiting() -> None:
    async with running() as server, server.socket() as stopped, watching(server) as stream:
        await stopped.stream.send(server.request(f"GET {EVENTS}"))
        assert (await stopped.head())[0] == 200
        await stream.event()
        for _ in range(200):
            say(server.harness, 50, "x" * 1_000)
            await stream.seqs(50)
        end(server.harness)
        assert await stream.rest() == [10_002]


async def test_a_watcher_that_never_reads_is_closed_and_may_come_back() -> None:
    patience = Patience(reader_s=0.2, look_every_s=0.05)
    async with running(patience=patience) as server, server.socket() as stopped:
        say(server.harness, 200, "x" * 100_000)
        await stopped.stream.send(server.request(f"GET {EVENTS}"))
        async with server.browser() as http:
            while "bamboo_watchers 1" not in (await http.get("/metrics")).text:
                pass
            while "bamboo_watchers 0" not in (await http.get("/metrics")).text:
                pass
        async with watching(server, f"{EVENTS}?after=200") as stream:
            assert await stream.seqs(1) == [201]


async def test_a_watcher_that_goes_away_leaves_nothing_behind() -> None:
    async with running(1) as server, server.browser() as http:
        async with watching(server) as stream:
            await stream.event()
            assert "bamboo_watchers 1" in (await http.get("/metrics")).text
        while "bamboo_watchers 0" not in (await http.get("/metrics")).text:
            pass
        say(server.harness, 10)
        assert (await http.get("/healthz")).status_code == 200


async def test_a_hundred_watchers_get_everything_in_order() -> None:
    async def watch() -> None:
        async with watching(server) as stream:
            assert await stream.rest() == list(range(1, 2_003))

    async with running() as server:
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(watch)
            for _ in range(20):
                say(server.harness, 100)
                await anyio.lowlevel.checkpoint()
            end(server.harness)


async def test_the_run_of_a_dead_process_ends_with_a_word_about_it(tmp_path: Path) -> None:
    with Journals("process") as journals:
        log = FileEventLog(tmp_path, journals, alive=lambda owner: False)
        async with open_harness(ScriptedProvider(), log=log) as harness:
            await begin(harness, 1)
            other = FileEventLog(tmp_path, journals, alive=lambda owner: False)
            async with open_harness(
                ScriptedProvider(), log=other, sessions=harness.sessions
            ) as later:
                async with served(harness=later) as server, watching(server) as stream:
                    assert await stream.seqs(2) == [1, 2]
                    assert (await stream.block()).startswith('event: lost\ndata: {"status":"lost"')


async def test_told_to_stop_the_server_ends_its_streams_and_is_gone() -> None:
    async with running(1) as server:
        async with watching(server) as stream, server.client("auto") as modern:
            await stream.event()
            async with modern.listen(tools_list_changed=True) as subscription:
                async with server.client("legacy"):
                    server.shutdown.begin("test")
                    assert await stream.rest() == [2]
                    assert [event async for event in subscription] == []
                    with anyio.fail_after(5):
                        await server.ended.wait()


async def test_a_call_that_does_not_end_does_not_keep_the_server() -> None:
    held = Held()
    async with served(ScriptedTools({"hold": held})) as server, server.socket() as client:
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        body = rpc("tools/call", name="hold", arguments={}, _meta=meta)
        headers = (
            "Content-Type: application/json",
            "Accept: application/json, text/event-stream",
            "MCP-Protocol-Version: 2026-07-28",
            "Mcp-Method: tools/call",
            "Mcp-Name: hold",
            f"Content-Length: {len(body)}",
        )
        await client.stream.send(server.request("POST /mcp", *headers) + body)
        await held.began.wait()
        server.shutdown.begin("test")
        with anyio.fail_after(5):
            await server.ended.wait()
            await held.cancelled.wait()
            await client.closed()
