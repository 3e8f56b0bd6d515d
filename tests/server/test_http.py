from __future__ import annotations

from typing import Any

import anyio
import mcp_types
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import Implementation

from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.domain.tools import Progress, ToolCall, ToolResult, text_result
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.testing.harness import open_harness
from bamboo_mcp.testing.scripted import ScriptedProvider, Step
from tests.server.doubles import ERAS, Held, ScriptedTools
from tests.server.http_served import ALICE, BOB, caller, served

every_era = pytest.mark.parametrize("era", ERAS)


async def who(call: ToolCall, context: ToolContext) -> ToolResult:
    return text_result(context.caller)


def text(result: mcp_types.CallToolResult) -> str:
    first = result.content[0]
    assert isinstance(first, mcp_types.TextContent)
    return first.text


async def subscribe(client: Client, uri: str) -> None:
    params = mcp_types.SubscribeRequestParams(uri=uri)
    await client.session.send_request(
        mcp_types.SubscribeRequest(params=params), mcp_types.EmptyResult
    )


async def contents(client: Client, uri: str) -> str:
    first = (await client.read_resource(uri)).contents[0]
    assert isinstance(first, mcp_types.TextResourceContents)
    return first.text


@every_era
async def test_a_client_of_either_era_lists_and_calls_over_one_address(era: str) -> None:
    async with served() as server, server.client(era) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["echo"]
        assert text(await client.call_tool("echo", {"a": 1})) == "{'a': 1}"
        can = client.server_capabilities
        assert can.tools is not None and can.tools.list_changed
        assert can.resources is not None and can.resources.subscribe


async def test_both_eras_are_served_at_the_same_time() -> None:
    async with (
        served(ScriptedTools({"who": who})) as server,
        server.client("legacy") as old,
        server.client("auto") as new,
    ):
        assert (old.protocol_version, new.protocol_version) == ("2025-11-25", "2026-07-28")
        assert text(await old.call_tool("who", {})) == text(await new.call_tool("who", {}))


@every_era
async def test_progress_reaches_the_caller_over_http(era: str) -> None:
    async def works(call: ToolCall, context: ToolContext) -> ToolResult:
        context.progress(Progress(done=1, total=2, message="half"))
        await heard.wait()
        return text_result("done")

    heard = anyio.Event()
    said = []

    async def progressed(
        progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        said.append((progress, total, message))
        heard.set()

    async with served(ScriptedTools({"works": works})) as server, server.client(era) as client:
        result = await client.call_tool("works", {}, progress_callback=progressed)
        assert text(result) == "done"
        assert said == [(1, 2, "half")]


@every_era
async def test_a_cancelled_call_is_cancelled_in_the_server_too(era: str) -> None:
    held = Held()
    async with served(ScriptedTools({"hold": held})) as server, server.client(era) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "hold", {})
            await held.began.wait()
            group.cancel_scope.cancel()
        await held.cancelled.wait()


@every_era
async def test_without_a_token_the_caller_is_the_local_one(era: str) -> None:
    async with served(ScriptedTools({"who": who})) as server, server.client(era) as client:
        assert text(await client.call_tool("who", {})) == "local"


@every_era
async def test_each_token_is_a_caller_of_its_own(era: str) -> None:
    tools = ScriptedTools({"who": who})
    async with served(tools, tokens=["ALICE", "BOB"]) as server:
        for token, name in ((ALICE, "ALICE"), (BOB, "BOB")):
            async with server.client(era, token=token) as client:
                assert text(await client.call_tool("who", {})) == caller(name)


@every_era
async def test_a_caller_sees_its_own_subagents_and_nobody_elses(era: str) -> None:
    async with served(tokens=["ALICE", "BOB"]) as server:
        child = await server.harness.spawn("secret plans", caller=caller("ALICE"))
        uris = [
            f"bamboo://subagents/{child.subagent_id}",
            f"bamboo://sessions/{child.session_id}",
            f"bamboo://runs/{child.run_id}/events",
        ]
        async with server.client(era, token=ALICE) as alice:
            assert [str(one.uri) for one in (await alice.list_resources()).resources][:1] == uris[
                :1
            ]
            for uri in uris:
                assert await contents(alice, uri)
        async with server.client(era, token=BOB) as bob:
            assert (await bob.list_resources()).resources == []
            for uri in uris:
                with pytest.raises(MCPError) as refused:
                    await contents(bob, uri)
                assert refused.value.error.code == mcp_types.INVALID_PARAMS
                assert "secret" not in refused.value.error.message


async def test_a_conversation_without_a_subagent_belongs_to_who_began_it() -> None:
    async with served(tokens=["ALICE", "BOB"]) as server:
        meta = SessionMeta(session_id=SessionId("ses_1"), created_at=1.0, caller=caller("ALICE"))
        await server.harness.sessions.create(meta)
        async with server.client("auto", token=ALICE) as alice:
            assert "ses_1" in await contents(alice, "bamboo://sessions/ses_1")
        async with server.client("auto", token=BOB) as bob:
            with pytest.raises(MCPError, match="there is no session 'ses_1'"):
                await contents(bob, "bamboo://sessions/ses_1")


async def test_the_session_of_a_legacy_client_is_no_login_for_another() -> None:
    async with served(tokens=["ALICE", "BOB"]) as server:
        async with server.browser(authorization=f"Bearer {ALICE}") as alice:
            body = {
                "jsonrpc": "2.0",
                "id": 1,
                "method": "initialize",
                "params": {
                    "protocolVersion": "2025-11-25",
                    "capabilities": {},
                    "clientInfo": Implementation(name="a", version="1").model_dump(mode="json"),
                },
            }
            accept = {"accept": "application/json, text/event-stream"}
            opened = await alice.post("/mcp", json=body, headers=accept)
            session = opened.headers["mcp-session-id"]
        listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        for token, status in ((BOB, 404), (ALICE, 400)):  # hers: it is not initialized yet
            async with server.browser(authorization=f"Bearer {token}") as http:
                again = await http.post(
                    "/mcp", json=listing, headers=accept | {"mcp-session-id": session}
                )
            assert (again.status_code == 404) == (status == 404)


@every_era
async def test_the_result_is_a_resource_once_there_is_one(era: str) -> None:
    provider = ScriptedProvider(Step(text="the answer", delay_ms=600_000), "the answer")
    async with open_harness(provider) as harness, served(harness=harness) as server:
        child = await harness.spawn("think")
        async with server.client(era) as client:
            uri = f"bamboo://subagents/{child.subagent_id}/result"
            with pytest.raises(MCPError, match="no result yet"):
                await contents(client, uri)
            await harness.subagents.cancel(child.subagent_id, caller=child.spec.caller)
            assert "cancelled" in await contents(client, uri.removesuffix("/result"))


@pytest.mark.parametrize(
    "uri",
    [
        "bamboo://subagents/sub_nobody",
        "bamboo://sessions/ses_nobody",
        "bamboo://runs/run_nobody/events",
        "bamboo://runs/run_nobody",
        "bamboo://runs/../events",
        "file:///etc/passwd",
        "bamboo://",
    ],
)
@every_era
async def test_what_is_no_resource_is_said_to_be_none(era: str, uri: str) -> None:
    async with served() as server, server.client(era) as client:
        with pytest.raises(MCPError) as refused:
            await client.read_resource(uri)
        assert refused.value.error.code == mcp_types.INVALID_PARAMS


async def test_a_modern_client_hears_of_a_resource_it_listens_to() -> None:
    provider = ScriptedProvider(Step(text="well", delay_ms=100))
    async with open_harness(provider) as harness, served(harness=harness) as server:
        async with server.client("auto") as client:
            child = await harness.spawn("think")
            result = f"bamboo://subagents/{child.subagent_id}/result"
            async with client.listen(resource_subscriptions=[result]) as subscription:
                async for event in subscription:
                    assert str(getattr(event, "uri", "")) == result
                    break
            assert await contents(client, result) == "well"


async def test_a_legacy_client_hears_of_a_resource_it_subscribed_to() -> None:
    heard = anyio.Event()
    updated = []

    async def hear(message: Any) -> None:
        if isinstance(message, mcp_types.ResourceUpdatedNotification):
            updated.append(str(message.params.uri))
            heard.set()

    provider = ScriptedProvider(Step(text="well", delay_ms=100))
    async with open_harness(provider) as harness, served(harness=harness) as server:
        async with server.client("legacy", message_handler=hear) as client:
            child = await harness.spawn("think")
            result = f"bamboo://subagents/{child.subagent_id}/result"
            await subscribe(client, result)
            await heard.wait()
            assert updated == [result]
            assert await contents(client, result) == "well"


async def test_nobody_hears_of_what_is_anothers() -> None:
    async with served(tokens=["ALICE", "BOB"]) as server:
        child = await server.harness.spawn("think", caller=caller("ALICE"))
        uri = f"bamboo://subagents/{child.subagent_id}"
        async with server.client("legacy", token=BOB) as bob:
            with pytest.raises(MCPError):
                await subscribe(bob, uri)
        async with server.client("auto", token=BOB) as bob:
            async with bob.listen(resource_subscriptions=[uri]) as subscription:
                assert not subscription.honored.resource_subscriptions


async def test_health_and_metrics_say_what_is_known() -> None:
    async with served() as server:
        await server.harness.run("say hello")
        async with server.client("auto") as client:
            await client.list_tools()
        async with server.browser() as http:
            health = (await http.get("/healthz")).json()
            metrics = await http.get("/metrics")
        assert (health["status"], health["version"]) == ("ok", "1.2.3")
        assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = metrics.text.splitlines()
        assert 'bamboo_runs_ended_total{status="completed"} 1' in lines
        assert 'bamboo_events_total{kind="run_ended"} 1' in lines
        assert "bamboo_subagents 0" in lines


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/mcp/", 404),
        ("POST", "/healthz", 405),
        ("DELETE", "/metrics", 405),
        ("GET", "/runs/run_nobody/events", 404),
        ("GET", "/runs/../../etc/passwd/events", 404),
        ("HEAD", "/healthz", 200),
    ],
)
async def test_other_addresses_and_methods_are_refused(method: str, path: str, status: int) -> None:
    async with served() as server:
        async with server.browser() as http:
            assert (await http.request(method, path)).status_code == status
