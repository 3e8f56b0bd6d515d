from __future__ import annotations

import pytest

from bamboo_mcp.domain.ids import (
    SubagentId,
    Subject,
)
from tests.control.desk import Desk


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
