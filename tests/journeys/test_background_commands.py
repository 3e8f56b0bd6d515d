"""Commands that run on, plans and notes: a real server, real processes, real ends."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.journeys.harness import (
    Agent,
    Place,
    a_process_with,
    client,
    no_process_with,
    raw,
)
from tests.journeys.test_endings import FreePlace

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="commands of a POSIX shell")


def family(marker: str) -> str:
    """One that stays, one in another session, one that daemonised, one that ignores SIGTERM."""
    return (
        f"setsid sleep {marker} & (setsid bash -c '(exec sleep {marker}) & exit' &); "
        f"""bash -c 'trap "" TERM; sleep {marker}; sleep {marker}' & exec sleep {marker}"""
    )


async def begun(agent: Agent, command: str) -> str:
    text = await agent.text("run_command", command=command, background=True)
    found = re.search(r"cmd_[0-9a-f]{32}", text)
    assert found, text
    return found[0]


def leaves_running(marker: str) -> str:
    """A model that starts a command, reads it once, and comes to its end."""
    return f"""
steps:
  - calls:
      - name: run_command
        args: {{command: "echo up; exec sleep {marker}", background: true}}
  - calls:
      - name: read_command_output
        args: {{command_id: "{{{{results.run_command | /cmd_\\\\w+/}}}}", wait_s: 10}}
  - text: "it said: {{{{result}}}}"
"""


def waits_for_it(marker: str) -> str:
    """A model that starts a command and goes on reading it."""
    return f"""
steps:
  - calls: [{{name: run_command, args: {{command: "exec sleep {marker}", background: true}}}}]
  - calls:
      - name: read_command_output
        args: {{command_id: "{{{{results.run_command | /cmd_\\\\w+/}}}}", wait_s: 40}}
"""


async def test_a_client_runs_reads_and_stops_a_command(tmp_path: Path) -> None:
    async with client(Place(tmp_path), "--allow-commands") as agent:
        one = await begun(agent, "echo up; exec sleep 3211111")
        text = await agent.text("read_command_output", command_id=one, wait_s=10)
        assert "running for" in text
        assert text.endswith("\nup\n")
        text = await agent.text("stop_command", command_id=one)
        assert "by signal 15" in text
        await no_process_with("3211111")
        error = await agent.error("read_command_output", command_id="cmd_none")
        assert error["code"] == "unknown_id"
        assert one in error["hint"]


async def test_the_rules_are_those_of_commands_in_the_foreground(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with client(place) as agent:
        error = await agent.error("run_command", command="true", background=True)
        assert error["code"] == "permission_denied"
    marker = "3222222"
    async with client(place) as agent:  # a subagent in its usual mode asks first
        child = await agent.spawn("run it", place.script(leaves_running(marker)))
        asked = await agent.until(child, "question_asked")
        assert asked["question"]["tool"] == "run_command"
        assert asked["question"]["arguments"]["background"] is True
        await agent.call("cancel_subagent", subagent_id=child)


async def test_twenty_at_once_and_each_ends_by_itself(tmp_path: Path) -> None:
    limit = {"BAMBOO_WORKSPACE__MAX_BACKGROUND_COMMANDS": "20"}
    async with client(Place(tmp_path), "--allow-commands", env=limit) as agent:
        wait = "until [ -e go ]; do sleep 0.05; done"
        ids = [await begun(agent, f"{wait}; echo {n}") for n in range(20)]
        error = await agent.error("run_command", command="true", background=True)
        assert error["code"] == "limit_reached"
        await agent.text("write_file", path="go", content="")
        for one in ids:
            text = await agent.text("read_command_output", command_id=one, wait_s=10)
            while "running" in text:
                text = await agent.text("read_command_output", command_id=one, wait_s=10)
            assert "exit_code: 0" in text


async def test_a_run_that_ends_stops_its_command_and_its_result_says_so(tmp_path: Path) -> None:
    place = FreePlace(tmp_path)
    marker = "3233333"
    async with client(place) as agent:
        model = place.script(leaves_running(marker))
        child = await agent.spawn("start it", model, permission_mode="bypass")
        ended = await agent.awaited(child)
        assert ended["status"] == "completed"
        assert "running for" in ended["result"]["text"]
        assert "up" in ended["result"]["text"]
        (note,) = ended["result"]["notes"]
        assert f"'echo up; exec sleep {marker}' was stopped: the run ended" in note
        with anyio.fail_after(1):  # it was gone before anybody was told
            await no_process_with(marker)
        told = await agent.until(child, "command_ended")
        assert told["cause"] == "run_ended"
        assert told["command_id"] in note


async def test_a_cancelled_run_stops_its_command_and_its_result_says_so(tmp_path: Path) -> None:
    place = FreePlace(tmp_path)
    marker = "3244444"
    async with client(place) as agent:
        model = place.script(waits_for_it(marker))
        child = await agent.spawn("start it", model, permission_mode="bypass")
        await a_process_with(marker)
        await agent.call("cancel_subagent", subagent_id=child)
        ended = await agent.awaited(child)
        assert ended["status"] == "cancelled"
        assert "was stopped" in ended["result"]["notes"][0]
        await no_process_with(marker)


async def test_one_agent_does_not_see_the_command_of_another_nor_does_the_client(
    tmp_path: Path,
) -> None:
    place = FreePlace(tmp_path)
    marker = "3255555"
    async with client(place, "--allow-commands") as agent:
        model = place.script(waits_for_it(marker))
        child = await agent.spawn("start it", model, permission_mode="bypass")
        await a_process_with(marker)
        finished = await agent.until(child, "tool_finished")
        found = re.search(r"cmd_[0-9a-f]{32}", finished["preview"])
        assert found
        error = await agent.error("stop_command", command_id=found[0])
        assert error["code"] == "unknown_id"
        other = await agent.spawn(f'/tool stop_command {{"command_id": "{found[0]}"}}')
        assert "no command" in (await agent.awaited(other))["result"]["text"]
        await a_process_with(marker)
        mine = await begun(agent, "exec sleep 3255556")
        await agent.call("cancel_subagent", subagent_id=child)
        await no_process_with(marker)
        assert "running" in await agent.text("read_command_output", command_id=mine)


@pytest.mark.parametrize("ending", ["kill -9", "hang up"])
async def test_when_the_server_goes_everything_its_commands_started_goes(
    tmp_path: Path, ending: str
) -> None:
    place = FreePlace(tmp_path)
    direct, childs = f"3266{len(ending)}66", f"3277{len(ending)}77"
    async with raw(place, "--allow-commands") as server:
        await server.call("run_command", command=family(direct), background=True)
        await server.call(
            "spawn_subagent",
            task="start it",
            model=place.script(waits_for_it(childs)),
            permission_mode="bypass",
        )
        await a_process_with(direct)
        await a_process_with(childs)
        if ending == "kill -9":
            server.kill()
        else:
            await server.hang_up()
        await server.gone()
        with anyio.fail_after(5):
            await no_process_with(direct)
            await no_process_with(childs)


PLANNED = """
steps:
  - calls:
      - name: update_plan
        args: {steps: [{step: read the code, status: in_progress}, {step: write a test}]}
      - {name: write_note, args: {name: facts, text: "there is one file"}}
  - calls:
      - name: update_plan
        args: {steps: [{step: read the code, status: completed}, {step: write a test}]}
  - calls: [{name: read_notes, args: {name: facts}}]
  - text: "{{result}}"
"""


async def test_a_plan_is_seen_by_those_who_watch_and_notes_come_back(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with client(place) as agent:
        child = await agent.spawn("plan", place.script(PLANNED))
        ended = await agent.awaited(child)
        assert "there is one file" in ended["result"]["text"]
        seen = await agent.call("get_subagent", subagent_id=child, include=["events"])
        plans: list[Any] = [one for one in seen["events"] if one["kind"] == "plan_updated"]
        assert [plan["version"] for plan in plans] == [1, 2]
        assert plans[1]["steps"][0] == ["read the code", "completed"]
        shown = await agent.call("get_subagent", subagent_id=child, include=["plan"])
        assert (shown["plan"]["version"], shown["plan"]["completed"]) == (2, 1)
        # The client has a plan and notes of its own.
        assert (await agent.call("read_notes"))["notes"] == []


async def test_what_a_client_noted_is_there_after_a_restart(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with raw(place) as server:
        await server.call("write_note", name="facts", text="kept")
        await server.call("update_plan", steps=[{"step": "go on"}])
        server.kill()
        await server.gone()
    async with client(place) as agent:
        assert (await agent.call("read_notes", name="facts"))["text"] == "kept"
        error = await agent.error("update_plan", steps=[{"step": "another"}])
        assert "go on" in error["hint"]
        assert (await agent.call("update_plan", steps=[{"step": "another"}]))["version"] == 2
