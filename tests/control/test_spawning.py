from __future__ import annotations

from typing import Any

import pytest

from bamboo_mcp.domain.ids import (
    SubagentId,
    Subject,
)
from bamboo_mcp.domain.subagents import RUN_STRIDE
from tests.control.desk import Desk

SCHEMA = {
    "type": "object",
    "properties": {"count": {"type": "integer"}},
    "required": ["count"],
    "additionalProperties": False,
}


async def test_what_is_asked_for_reaches_the_subagent() -> None:
    desk = Desk()
    spawned = await desk.get(
        "spawn_subagent",
        task="count",
        title="sizes",
        role="counter",
        model="fast",
        effort="low",
        system_prompt="Be brief.",
        isolation="in_process",
        workspace="src",
        allow_tools=["read_file"],
        deny_tools=["run_command"],
        limits={"max_tokens": 5, "max_rounds": 17},
        permission_mode="plan",
    )
    (one,) = desk.subagents.states.values()
    assert (spawned["session_id"], spawned["run_id"]) == (one.session_id, one.run_id)
    assert (spawned["status"], spawned["subagents"], spawned["done"]) == ("running", None, None)
    spec = one.spec
    assert (spec.task, spec.title, spec.role, spec.model) == ("count", "sizes", "counter", "fast")
    assert (spec.effort, spec.system_prompt, spec.workspace) == ("low", "Be brief.", "src")
    assert (spec.allow_tools, spec.deny_tools) == (("read_file",), ("run_command",))
    assert (spec.limits.max_tokens, spec.limits.max_rounds) == (5, 17)
    assert (spec.permission_mode, spec.may_spawn, spec.depth) == ("plan", False, 1)


@pytest.mark.parametrize("task", ["", " \n"])
async def test_an_empty_task_is_refused(task: str) -> None:
    error = await Desk().error("spawn_subagent", task=task)
    assert (error["code"], "task is empty" in error["message"]) == ("invalid_input", True)


async def test_a_task_of_five_megabytes_is_refused_with_the_bound_and_not_repeated() -> None:
    desk = Desk()
    error = await desk.error("spawn_subagent", task="x" * 5_000_000)
    assert "1,000,000" in error["message"]
    assert "5,000,000" in error["message"]
    assert len(str(error)) < 500
    assert not desk.subagents.states


async def test_a_subagent_that_spawns_owns_the_child_and_is_its_parent() -> None:
    desk = Desk()
    parent = await desk.spawn(allow_tools=["spawn_subagent"])
    assert desk.subagents.states[parent].spec.may_spawn
    context = desk.context(subagent_id=parent, depth=1)
    result = await desk.call_as(context, "spawn_subagent", task="part of it")
    assert result.structured is not None
    child = desk.subagents.states[SubagentId(result.structured["subagent_id"])]
    assert child.spec.parent_id == parent
    assert child.spec.caller == Subject(parent)
    assert child.spec.depth == 2
    refused = await desk.call_as(context, "spawn_subagent", task="t", parent_id="sub_other")
    assert "sub_other" in refused.text
    # What is not one's own is not there.
    assert (await desk.error("get_subagent", subagent_id=child.subagent_id))["code"] == "unknown_id"


async def test_spawning_with_a_wait_answers_like_a_wait() -> None:
    desk = Desk()
    desk.subagents.on_spawn = lambda one: desk.subagents.finish(one.subagent_id, "42")
    spawned = await desk.get("spawn_subagent", task="t", wait_s=5)
    assert (spawned["status"], spawned["done"]) == ("completed", True)
    assert spawned["subagents"][0]["result"]["text"] == "42"
    assert spawned["notices"] == []


async def test_what_a_fork_copies_and_what_an_answer_must_be_reach_the_subagent() -> None:
    desk = Desk()
    parent = await desk.spawn()
    child = await desk.spawn(
        parent_id=parent, context="fork", fork_messages=7, output_schema=SCHEMA
    )
    spec = desk.subagents.states[child].spec
    assert (spec.context, spec.fork_messages, spec.parent_id) == ("fork", 7, parent)
    assert spec.output_schema == SCHEMA


async def test_a_repeated_key_is_compared_by_what_was_asked_and_not_by_how_long_to_wait() -> None:
    desk = Desk()
    asked = []
    calls: list[dict[str, Any]] = [
        {},
        {"wait_s": 0.01},
        {"title": ""},
        {"title": "other"},
        {"task": "more"},
    ]
    for more in calls:
        one = await desk.spawn(**{"task": "count", "idempotency_key": "k", **more})
        asked.append(desk.subagents.states[one].spec.asked)
        assert desk.subagents.states[one].spec.idempotency_key == "k"
    assert asked[0] == asked[1] == asked[2]
    assert len(set(asked)) == 3


async def test_resuming_gives_a_new_run_and_a_cursor_before_its_first_event() -> None:
    desk = Desk()
    one = await desk.spawn()
    first = desk.subagents.states[one].run_id
    desk.subagents.finish(one, "forty")
    await desk.get("await_subagents", subagent_ids=[one])
    answer = await desk.get("resume_subagent", subagent_id=one, message="go on")
    assert desk.subagents.resumed == [(one, "go on")]
    assert answer["subagent_id"] == one
    assert answer["run_id"] != first
    assert (answer["status"], answer["subagents"]) == ("running", None)
    details = (await desk.get("get_subagent", subagent_id=one))["details"]
    assert (details["run_id"], details["earlier_runs"]) == (answer["run_id"], [first])
    desk.subagents.change(one, last_seq=RUN_STRIDE + 1)
    desk.subagents.finish(one, "and two")
    desk.subagents.change(one, last_seq=RUN_STRIDE + 2)
    waited = await desk.get(
        "await_subagents", subagent_ids=[one], mode="any", cursor=answer["cursor"]
    )
    assert waited["subagents"][0]["result"]["text"] == "and two"


async def test_resuming_with_a_wait_answers_like_a_wait() -> None:
    desk = Desk()
    one = await desk.spawn()
    desk.subagents.finish(one)
    desk.subagents.on_spawn = lambda child: desk.subagents.finish(child.subagent_id, "42")
    answer = await desk.get("resume_subagent", subagent_id=one, message="go on", wait_s=5)
    assert (answer["status"], answer["done"]) == ("completed", True)
    assert answer["subagents"][0]["result"]["text"] == "42"


async def test_an_answer_to_a_schema_is_given_as_text_and_as_what_it_says() -> None:
    desk = Desk(max_result_chars=2_000)
    one = await desk.spawn(output_schema=SCHEMA)
    desk.subagents.finish(one, '```json\n{"count": 42}\n```')
    (entry,) = (await desk.get("await_subagents", subagent_ids=[one]))["subagents"]
    assert entry["result"]["output"] == {"count": 42}
    shown = await desk.get("get_subagent", subagent_id=one)
    assert shown["result"]["output"] == {"count": 42}
    part = await desk.get("get_subagent", subagent_id=one, include=["result"], offset=3)
    assert part["result"]["output"] is None
    long = await desk.spawn(output_schema={"type": "array"})
    desk.subagents.finish(long, str(list(range(500))))
    shown = await desk.get("get_subagent", subagent_id=long, include=["result"])
    assert (shown["result"]["output"], shown["result"]["next_offset"] is None) == (None, False)
    wrong = await desk.spawn(output_schema=SCHEMA)
    desk.subagents.finish(
        wrong, "forty-two", status="error", error_code="output_invalid", error="it is not JSON"
    )
    shown = await desk.get("get_subagent", subagent_id=wrong, include=["result"])
    assert (shown["result"]["output"], shown["result"]["is_error"]) == (None, True)
    assert "forty-two" in shown["result"]["text"]
    assert "output_invalid" in shown["result"]["text"]
