"""Subagents that go on after their end: in one server, after kill -9, and once for each key."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import pytest

from tests.journeys.harness import Agent, Place, client, raw

ERAS_OF_WORK = """
steps:
  - when: {last_user: '/first/'}
    calls:
      - {name: write_file, args: {path: notes.md, content: "forty-two\\n"}}
      - {name: run_command, args: {command: "exit 3"}}
      - {name: read_file, args: {path: missing.md}}
  - when: {tool_result: write_file}
    text: "I changed a hundred files and every command succeeded."
  - when: {last_user: '/second/'}
    text: "and two"
"""

ENDLESS_COMMAND = """
steps:
  - when: {last_user: '/begin/'}
    calls: [{name: run_command, args: {command: "sleep 3155", timeout_s: 500}}]
"""

GOES_ON = """
steps:
  - when: {last_user: '/go on/'}
    text: "went on"
"""

JSON_AT_LAST = """
steps:
  - text: "There are two."
  - text: '{"count": 2}'
"""

FREE = {"BAMBOO_PERMISSIONS__MAX_MODE": "bypass"}


class FreePlace(Place):
    def environ(self, more: object = None) -> dict[str, str]:
        return {**super().environ(), **FREE}


async def evidence_of(agent: Agent, subagent_id: str, **more: object) -> dict[str, object]:
    answer = await agent.call("get_subagent", subagent_id=subagent_id, include=["evidence"], **more)
    return dict(answer["evidence"])


@pytest.mark.skipif(sys.platform == "win32", reason="the command is one of POSIX")
async def test_a_follow_up_question_and_what_was_really_done_before_it(tmp_path: Path) -> None:
    place = FreePlace(tmp_path)
    async with client(place) as agent:
        child = await agent.spawn(
            "the first part", place.script(ERAS_OF_WORK), permission_mode="bypass"
        )
        done = await agent.awaited(child)
        assert "hundred files" in done["result"]["text"]
        seen = await evidence_of(agent, child)
        assert seen["files_changed"] == ["notes.md"]
        assert isinstance(seen["tools"], list)
        runs = {run["tool"]: (run["state"], run["exit_code"]) for run in seen["tools"]}
        assert runs == {
            "write_file": ("ok", None),
            "run_command": ("ok", 3),
            "read_file": ("failed", None),
        }
        assert seen["failed_calls"] == 1
        again = await agent.call(
            "resume_subagent", subagent_id=child, message="the second part", wait_s=15
        )
        assert (again["subagent_id"], again["done"]) == (child, True)
        assert again["subagents"][0]["result"]["text"] == "and two"
        shown = await agent.call("get_subagent", subagent_id=child)
        [first] = shown["details"]["earlier_runs"]
        assert shown["details"]["run_id"] == again["run_id"]
        before = await agent.call(
            "get_subagent", subagent_id=child, run_id=first, include=["result", "events"]
        )
        assert "hundred files" in before["result"]["text"]
        assert before["events"][-1]["kind"] == "run_ended"
        assert (await evidence_of(agent, child))["files_changed"] == []
        assert (await evidence_of(agent, child, run_id=first))["files_changed"] == ["notes.md"]


@pytest.mark.skipif(sys.platform == "win32", reason="the command is one of POSIX")
async def test_what_kill_9_left_is_lost_and_goes_on_in_the_next_server(tmp_path: Path) -> None:
    place = FreePlace(tmp_path)
    async with raw(place) as server:
        began = await server.call(
            "spawn_subagent",
            task="begin",
            model=place.script(ENDLESS_COMMAND),
            permission_mode="bypass",
        )
        child = str(began["subagent_id"])
        kinds: set[str] = set()
        while "tool_started" not in kinds:
            shown = await server.call("get_subagent", subagent_id=child, include=["events"])
            kinds = {event["kind"] for event in shown["events"]}
        await server.call("steer_subagent", subagent_id=child, message="never read")
        server.kill()
        await server.gone()
    place.script(GOES_ON)
    async with client(place) as agent:
        lost = await agent.awaited(child)
        assert lost["status"] == "lost"
        assert [one["text"] for one in lost["result"]["undelivered"]] == ["never read"]
        again = await agent.call("resume_subagent", subagent_id=child, message="go on", wait_s=15)
        assert again["subagents"][0]["result"]["text"] == "went on"
        transcript = await agent.call("get_subagent", subagent_id=child, include=["transcript"])
        answers = [
            result["text"]
            for message in transcript["transcript"]["messages"]
            for result in message["tool_results"]
        ]
        assert len(answers) == 1
        assert "died" in answers[0]


async def test_while_it_works_it_is_steered_and_not_resumed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    script = place.script('steps: [{text: "never", delay_ms: 600000}]')
    async with client(place) as agent:
        child = await agent.spawn("work", script)
        error = await agent.error("resume_subagent", subagent_id=child, message="more")
        assert error["code"] == "run_busy"
        assert "steer_subagent" in error["hint"]
        waited = await agent.call("await_subagents", subagent_ids=[child], timeout_s=20, stall_s=1)
        assert waited["done"] is False
        assert waited["subagents"][0]["stalled_s"] >= 1


async def test_a_key_starts_one_subagent_over_two_servers_and_a_restart(tmp_path: Path) -> None:
    place = Place(tmp_path)
    call = {"task": "count", "model": "offline:offline", "idempotency_key": "job 7"}
    ids: list[str] = []
    async with client(place) as first, client(place) as second:

        async def spawn(agent: Agent) -> None:
            ids.append((await agent.call("spawn_subagent", **call))["subagent_id"])

        async with anyio.create_task_group() as group:
            for agent in (first, second, first, second):
                group.start_soon(spawn, agent)
        result = (await first.awaited(ids[0]))["result"]["text"]
        assert (await second.awaited(ids[0]))["result"]["text"] == result
    async with client(place) as third:
        again = await third.call("spawn_subagent", **call, wait_s=10)
        ids.append(again["subagent_id"])
        assert again["subagents"][0]["result"]["text"] == result
        error = await third.error("spawn_subagent", **{**call, "task": "count more"})
        assert (error["code"], "'job 7'" in error["message"]) == ("invalid_input", True)
        assert len((await third.call("list_subagents"))["subagents"]) == 1
    assert len(set(ids)) == 1


async def test_an_answer_of_a_schema_comes_back_as_structure(tmp_path: Path) -> None:
    place = Place(tmp_path)
    schema = {"type": "object", "properties": {"count": {"type": "integer"}}}
    async with client(place) as agent:
        answer = await agent.call(
            "spawn_subagent",
            task="count",
            model=place.script(JSON_AT_LAST),
            output_schema=schema,
            wait_s=15,
        )
        [entry] = answer["subagents"]
        assert entry["result"]["output"] == {"count": 2}
        error = await agent.error("spawn_subagent", task="t", output_schema={"type": "nothing"})
        assert "output_schema" in error["message"]
