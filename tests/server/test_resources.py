from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import mcp_types
import msgspec
import pytest
from mcp import Client

from bamboo_mcp.server.backing import Backing
from bamboo_mcp.server.changes import Changes
from bamboo_mcp.testing.harness import Harness, open_harness
from bamboo_mcp.testing.scripted import ScriptedProvider, Step
from tests.server.doubles import ERAS, ScriptedTools, connected
from tests.server.test_http import contents, subscribe

every_era = pytest.mark.parametrize("era", ERAS)


@asynccontextmanager
async def reading(
    harness: Harness, era: str, *, listens: list[Any] | None = None, **client: Any
) -> AsyncIterator[Client]:
    """A client over a pipe in memory, and the task that tells it of changes."""

    def listen(*said: Any) -> Callable[[], None]:
        if listens is not None:
            listens.append(said)
        return harness.log.listen(*said)

    changes = Changes()
    resources = Backing(
        subagents=harness.subagents,
        sessions=harness.sessions,
        runs=harness.board,
        log=harness.log,
        listen=listen,
    ).resources(changes)
    async with anyio.create_task_group() as group:
        group.start_soon(resources.tell)
        async with connected(
            ScriptedTools(), era, client=client, changes=changes, resources=resources
        ) as opened:
            yield opened
        group.cancel_scope.cancel()


@every_era
async def test_the_templates_name_all_there_is_to_read(era: str) -> None:
    async with open_harness(ScriptedProvider()) as harness, reading(harness, era) as client:
        templates = (await client.list_resource_templates()).resource_templates
        assert [one.uri_template for one in templates] == [
            "bamboo://subagents/{id}",
            "bamboo://subagents/{id}/result",
            "bamboo://sessions/{id}",
            "bamboo://runs/{run_id}/events",
        ]
        assert len({one.name for one in templates}) == 4


@every_era
async def test_a_subagent_is_read_from_all_sides(era: str) -> None:
    async with open_harness(ScriptedProvider("hello")) as harness:
        child = await harness.spawn("say hello")
        await harness.ended(child.subagent_id)
        async with reading(harness, era) as client:
            listed = [str(one.uri) for one in (await client.list_resources()).resources]
            about = f"bamboo://subagents/{child.subagent_id}"
            assert listed == [about, f"{about}/result"]
            shown = msgspec.json.decode(await contents(client, about))
            assert (shown["status"], shown["details"]["task"]) == ("completed", "say hello")
            assert await contents(client, f"{about}/result") == "hello"
            session = msgspec.json.decode(
                await contents(client, f"bamboo://sessions/{child.session_id}")
            )
            assert [one["text"] for one in session["messages"]] == ["say hello", "hello"]
            events = f"bamboo://runs/{child.run_id}/events"
            lines = [
                msgspec.json.decode(line) for line in (await contents(client, events)).splitlines()
            ]
            assert [one["seq"] for one in lines] == list(range(1, len(lines) + 1))
            assert lines[-1]["event"]["kind"] == "run_ended"
            rest = await contents(client, f"{events}?after={len(lines) - 1}")
            assert msgspec.json.decode(rest) == lines[-1]


async def test_many_subagents_are_listed_page_by_page() -> None:
    async with open_harness(ScriptedProvider(*["x"] * 1)) as harness:
        for number in range(60):
            await harness.run(f"task {number}")
        async with reading(harness, "auto") as client:
            first = await client.list_resources()
            assert first.next_cursor
            second = await client.list_resources(cursor=first.next_cursor)
            assert second.next_cursor is None
            uris = {str(one.uri) for one in (*first.resources, *second.resources)}
            assert len(uris) == len(first.resources) + len(second.resources) == 120


async def test_over_a_pipe_a_legacy_subscriber_is_told_until_it_unsubscribes() -> None:
    heard = anyio.Event()
    updated: list[str] = []

    async def hear(message: Any) -> None:
        if isinstance(message, mcp_types.ResourceUpdatedNotification):
            updated.append(str(message.params.uri))
            heard.set()

    provider = ScriptedProvider(Step(text="well", delay_ms=100))
    async with open_harness(provider) as harness:
        async with reading(harness, "legacy", message_handler=hear) as client:
            one, other = await harness.spawn("a"), await harness.spawn("b")
            uri, left = (f"bamboo://subagents/{c.subagent_id}/result" for c in (one, other))
            await subscribe(client, left)
            params = mcp_types.UnsubscribeRequestParams(uri=left)
            await client.session.send_request(
                mcp_types.UnsubscribeRequest(params=params), mcp_types.EmptyResult
            )
            await subscribe(client, uri)
            await subscribe(client, uri)
            await heard.wait()
            await harness.ended(other.subagent_id)
            assert updated == [uri]


async def test_over_a_pipe_a_modern_listener_is_told_of_every_side_of_a_run() -> None:
    provider = ScriptedProvider(Step(text="well", delay_ms=100))
    async with open_harness(provider) as harness, reading(harness, "auto") as client:
        child = await harness.spawn("a")
        wanted = {
            f"bamboo://runs/{child.run_id}/events",
            f"bamboo://sessions/{child.session_id}",
            f"bamboo://subagents/{child.subagent_id}",
        }
        async with client.listen(resource_subscriptions=sorted(wanted)) as subscription:
            async for event in subscription:
                wanted.discard(str(getattr(event, "uri", "")))
                if not wanted:
                    break


async def test_nobody_listens_to_runs_before_somebody_subscribes() -> None:
    listens: list[Any] = []
    async with open_harness(ScriptedProvider("x")) as harness:
        async with reading(harness, "legacy", listens=listens) as client:
            child = await harness.spawn("a")
            assert await contents(client, f"bamboo://subagents/{child.subagent_id}")
            assert listens == []
            await subscribe(client, f"bamboo://subagents/{child.subagent_id}")
            await client.list_tools()
            assert len(listens) == 1
