from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import mcp_types
import pytest
from mcp.shared.exceptions import MCPError
from msgspec import json

from bamboo_mcp.domain.errors import WorkspaceNotSet
from bamboo_mcp.domain.ids import LOCAL, new_question_id
from bamboo_mcp.domain.messages import ImageBlock, RawBlock, TextBlock
from bamboo_mcp.domain.questions import Answer, Question
from bamboo_mcp.domain.tools import Progress, ToolCall, ToolResult, ToolSpec, text_result
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.server.changes import Changes
from tests.server.doubles import ERAS, Held, ScriptedTools, connected, echo, server_of

every_era = pytest.mark.parametrize("era", ERAS)


def text_of(result: mcp_types.CallToolResult) -> str:
    return "\n".join(one.text for one in result.content if isinstance(one, mcp_types.TextContent))


def error_of(result: mcp_types.CallToolResult) -> dict[str, Any]:
    assert result.is_error
    error: dict[str, Any] = json.decode(text_of(result))["error"]
    return error


@every_era
async def test_tools_are_listed_by_group_then_name(era: str) -> None:
    specs = [
        ToolSpec(name="zeta", description="d", group="control"),
        ToolSpec(name="alpha", description="d", group="plugins"),
        ToolSpec(name="beta", description="d", group="workspace"),
        ToolSpec(name="alpha_control", description="d", group="control"),
    ]
    async with connected(ScriptedTools({}, specs), era) as client:
        listed = await client.list_tools()
    assert [tool.name for tool in listed.tools] == ["alpha_control", "zeta", "beta", "alpha"]


@every_era
async def test_one_tool_with_a_bad_schema_does_not_cost_the_others(era: str) -> None:
    specs = [
        ToolSpec(name="good", description="d"),
        ToolSpec(name="no_root_type", description="d", input_schema={"properties": {}}),
        ToolSpec(name="not_an_object", description="d", input_schema={"type": "string"}),
        ToolSpec(name="not_json", description="d", input_schema={"default": object()}),
        ToolSpec(name="odd_output", description="d", output_schema={"type": "array"}),
    ]
    async with connected(ScriptedTools({}, specs), era) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert sorted(tools) == ["good", "no_root_type", "odd_output"]
    assert tools["no_root_type"].input_schema["type"] == "object"
    assert tools["odd_output"].output_schema is None


@every_era
async def test_the_server_says_who_it_is_and_that_its_tools_may_change(era: str) -> None:
    async with connected(ScriptedTools(), era) as client:
        assert client.server_info is not None
        assert (client.server_info.name, client.server_info.version) == ("bamboo-mcp", "1.2.3")
        assert client.instructions == "Read me."
        tools = client.server_capabilities.tools
        assert tools is not None
        assert tools.list_changed is True


@every_era
async def test_a_call_without_arguments_is_a_call_with_none(era: str) -> None:
    async with connected(ScriptedTools(), era) as client:
        assert text_of(await client.call_tool("echo")) == "{}"


@every_era
async def test_a_direct_call_knows_who_it_is_for_and_how_long_it_may_take(era: str) -> None:
    seen: list[ToolContext] = []

    async def note(call: ToolCall, context: ToolContext) -> ToolResult:
        seen.append(context)
        return text_result("ok")

    async with connected(ScriptedTools({"note": note}), era) as client:
        await client.call_tool("note")
        now = anyio.current_time()
    (context,) = seen
    assert (context.caller, context.mode, context.subagent_id) == (LOCAL, "accept_edits", None)
    assert now < context.deadline <= now + 45


@every_era
async def test_a_question_of_a_direct_call_is_denied_at_once_with_the_reason(era: str) -> None:
    answers: list[Answer] = []

    async def ask(call: ToolCall, context: ToolContext) -> ToolResult:
        question = Question(
            question_id=new_question_id(), topic="permission", text="May I?", asked_at=0.0
        )
        answers.append(await context.ask(question))
        return text_result("asked")

    async with connected(ScriptedTools({"ask": ask}), era) as client:
        await client.call_tool("ask")
    assert not answers[0].allowed
    assert "permissions.direct_mode" in answers[0].reason


@every_era
async def test_an_unknown_tool_is_an_error_that_names_close_ones(era: str) -> None:
    async with connected(ScriptedTools({"read_file": echo, "run_command": echo}), era) as client:
        error = error_of(await client.call_tool("Read-Files", {}))
        assert error["code"] == "unknown_tool"
        assert '"Read-Files"' in error["message"]
        assert "read_file" in error["hint"]
        far = error_of(await client.call_tool("qqqqqqqq", {}))
        assert "List the tools" in far["hint"]


@every_era
async def test_our_own_errors_reach_the_model_with_code_and_hint(era: str) -> None:
    async def fail(call: ToolCall, context: ToolContext) -> ToolResult:
        raise WorkspaceNotSet("no workspace", hint="start with --workspace FOLDER")

    async with connected(ScriptedTools({"fail": fail}), era) as client:
        error = error_of(await client.call_tool("fail", {}))
    assert error == {
        "code": "workspace_not_set",
        "message": "no workspace",
        "retryable": False,
        "hint": "start with --workspace FOLDER",
    }


@every_era
@pytest.mark.parametrize("failure", [RuntimeError("secret"), TimeoutError("secret")])
async def test_an_unexpected_exception_is_logged_and_never_shown(
    era: str, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(call: ToolCall, context: ToolContext) -> ToolResult:
        raise failure

    async with connected(ScriptedTools({"fail": fail}), era) as client:
        result = await client.call_tool("fail", {})
    assert error_of(result)["code"] == "internal_error"
    assert "secret" not in text_of(result)
    (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert record.exc_info[1] is failure


@every_era
async def test_an_answer_that_is_not_json_is_an_error_of_the_tool(era: str) -> None:
    async def odd(call: ToolCall, context: ToolContext) -> ToolResult:
        return ToolResult(structured={"what": object()})

    async with connected(ScriptedTools({"odd": odd}), era) as client:
        assert error_of(await client.call_tool("odd", {}))["code"] == "internal_error"


@every_era
async def test_a_list_that_fails_tells_nothing_of_why(era: str) -> None:
    class Broken(ScriptedTools):
        async def list_tools(self) -> Sequence[ToolSpec]:
            raise RuntimeError("secret")

    async with connected(Broken(), era) as client:
        with pytest.raises(MCPError) as caught:
            await client.list_tools()
    assert "could not be listed" in caught.value.error.message
    assert "secret" not in caught.value.error.message


@every_era
async def test_an_unknown_page_of_the_list_is_refused(era: str) -> None:
    async with connected(ScriptedTools(), era) as client:
        with pytest.raises(MCPError, match="unknown cursor"):
            await client.list_tools(cursor="page 2")


@every_era
async def test_every_kind_of_content_passes(era: str) -> None:
    async def show(call: ToolCall, context: ToolContext) -> ToolResult:
        return ToolResult(
            content=(
                TextBlock(text="words"),
                ImageBlock(media_type="image/png", data_b64="aGk="),
                ImageBlock(media_type="image/png", url="https://example.org/a.png"),
                RawBlock(raw={"type": "audio", "data": "aGk=", "mimeType": "audio/wav"}),
                RawBlock(raw={"type": "audio"}),
            ),
            structured={"n": 1},
        )

    async with connected(ScriptedTools({"show": show}), era) as client:
        result = await client.call_tool("show", {})
    kinds = [one.type for one in result.content]
    assert kinds == ["text", "image", "resource_link", "audio", "text"]
    assert result.structured_content == {"n": 1}


@every_era
async def test_progress_reaches_the_client_as_one_short_line(era: str) -> None:
    got: list[tuple[float, float | None, str | None]] = []
    arrived = anyio.Event()

    async def work(call: ToolCall, context: ToolContext) -> ToolResult:
        context.progress(Progress(done=1, total=3, message="1 of 3 done\n · sub_4f: running"))
        await arrived.wait()
        return text_result("ok")

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        got.append((progress, total, message))
        arrived.set()

    async with connected(ScriptedTools({"work": work}), era) as client:
        await client.call_tool("work", {}, progress_callback=listen)
    assert got == [(1.0, 3.0, "1 of 3 done · sub_4f: running")]


@every_era
async def test_a_client_that_cancels_stops_the_call_and_the_server_goes_on(era: str) -> None:
    held = Held()
    tools = ScriptedTools({"held": held, "echo": echo})
    async with connected(tools, era) as client, anyio.create_task_group() as group:
        scope = anyio.CancelScope()

        async def call() -> None:
            with scope:
                await client.call_tool("held", {})

        group.start_soon(call)
        await held.began.wait()
        scope.cancel()
        await held.cancelled.wait()
        assert text_of(await client.call_tool("echo", {"a": 1})) == "{'a': 1}"


@every_era
async def test_a_tool_that_ignores_its_deadline_is_stopped(era: str) -> None:
    held = Held()
    # So far back that even the overtime is over.
    async with connected(ScriptedTools({"held": held}), era, max_wait_s=-10.0) as client:
        error = error_of(await client.call_tool("held", {}))
    assert error["code"] == "timeout"
    assert error["retryable"] is True


@every_era
async def test_calls_past_the_bound_wait_and_can_be_cancelled_meanwhile(era: str) -> None:
    first, second = Held(), Held()
    tools = ScriptedTools({"first": first, "second": second, "echo": echo})
    async with (
        connected(tools, era, max_concurrent=1) as client,
        anyio.create_task_group() as group,
    ):
        scope = anyio.CancelScope()
        left = anyio.Event()

        async def call_first() -> None:
            await client.call_tool("first", {})

        async def call_second() -> None:
            with scope:
                await client.call_tool("second", {})
            left.set()

        group.start_soon(call_first)
        await first.began.wait()
        group.start_soon(call_second)
        await anyio.wait_all_tasks_blocked()
        assert not second.began.is_set()
        scope.cancel()
        await left.wait()
        first.release.set()
        assert text_of(await client.call_tool("echo", {})) == "{}"
        assert not second.began.is_set()


async def test_a_legacy_client_hears_that_the_tools_changed() -> None:
    changes = Changes()
    heard = anyio.Event()

    async def listen(message: object) -> None:
        if isinstance(message, mcp_types.ToolListChangedNotification):
            heard.set()

    options = {"message_handler": listen}
    async with connected(ScriptedTools(), "legacy", client=options, changes=changes) as client:
        await client.list_tools()  # the handshake's last word is read by now
        await changes.tools_changed()
        await heard.wait()
    await changes.tools_changed()  # nobody is there any more: no error


async def test_a_modern_client_hears_that_the_tools_changed() -> None:
    changes = Changes()
    async with (
        connected(ScriptedTools(), "auto", changes=changes) as client,
        client.listen(tools_list_changed=True) as subscription,
    ):
        await changes.tools_changed()
        async for _ in subscription:
            break


async def test_a_legacy_clients_folders_are_told_and_other_roots_are_not() -> None:
    told: list[Sequence[Path]] = []
    arrived = anyio.Event()

    def on_roots(paths: Sequence[Path]) -> None:
        told.append(paths)
        arrived.set()

    async def roots(context: object) -> mcp_types.ListRootsResult:
        # The client's own type wants file URIs; hosts elsewhere are the odd ones.
        return mcp_types.ListRootsResult(
            roots=[
                mcp_types.Root(uri="file:///home/ada/my%20project"),  # type: ignore[arg-type]
                mcp_types.Root(uri="file://elsewhere/share"),  # type: ignore[arg-type]
            ]
        )

    options = {"list_roots_callback": roots}
    async with connected(ScriptedTools(), "legacy", client=options, on_roots=on_roots):
        await arrived.wait()
    assert told == [[Path("/home/ada/my project")]]


async def test_a_client_without_roots_is_not_asked() -> None:
    told: list[Sequence[Path]] = []
    async with connected(ScriptedTools(), "legacy", on_roots=told.append) as client:
        await client.list_tools()
    assert told == []


async def test_schemas_are_at_hand_for_header_checks_once_listed() -> None:
    tools = ScriptedTools()
    server = server_of(tools)
    assert server.get_tool_input_schema is not None
    assert server.get_tool_input_schema("echo") is None
