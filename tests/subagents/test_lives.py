from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from bamboo_mcp.domain.errors import LimitReached
from bamboo_mcp.domain.events import (
    RoundStarted,
    RunEnded,
    SteerDelivered,
    SteerQueued,
    SteerUndelivered,
    SubagentEnded,
    SubagentSpawned,
)
from bamboo_mcp.domain.ids import LOCAL, Subject
from bamboo_mcp.domain.runs import Outcome, RunRequest
from bamboo_mcp.domain.subagents import SubagentSpec
from bamboo_mcp.ports import SubagentLink
from bamboo_mcp.subagents.admission import SubagentRules
from bamboo_mcp.testing.harness import open_harness
from bamboo_mcp.testing.scripted import ScriptedProvider, Step
from tests.subagents.gate import Gate, calling


async def test_a_result_can_be_awaited_any_number_of_times() -> None:
    async with open_harness(ScriptedProvider("the result")) as harness:
        child = await harness.spawn("work")
        for _ in range(3):
            waited = await harness.subagents.wait([child.subagent_id], caller=LOCAL)
            assert waited.done
            [one] = waited.subagents
            assert one.status == "completed"
            assert one.outcome is not None
            assert one.outcome.text == "the result"


async def test_waiting_ends_in_time_and_says_that_it_is_not_done() -> None:
    gate = Gate()
    provider = ScriptedProvider(calling("wait_here"))
    async with open_harness(provider, tools=gate.tools) as harness:
        child = await harness.spawn("work")
        with anyio.fail_after(5):
            waited = await harness.subagents.wait([child.subagent_id], caller=LOCAL, timeout_s=0.01)
    assert not waited.done
    assert waited.subagents[0].status == "running"


async def test_any_returns_with_the_first_and_not_again_for_one_that_was_seen() -> None:
    gate = Gate()
    provider = ScriptedProvider()
    provider.respond(
        lambda request: (
            Step(text="quick")
            if "quick" in request.messages[0].text
            else calling("wait_here")
            if len(request.messages) == 1
            else Step(text="slow")
        )
    )
    async with open_harness(provider, tools=gate.tools) as harness:
        slow = await harness.spawn("slow one")
        quick = await harness.spawn("quick one")
        ids = [slow.subagent_id, quick.subagent_id]
        with anyio.fail_after(5):
            first = await harness.subagents.wait(ids, caller=LOCAL, mode="any")
        assert [one.status for one in first.subagents] == ["running", "completed"]
        seen = {one.subagent_id: one.last_seq for one in first.subagents}
        again = await harness.subagents.wait(
            ids, caller=LOCAL, mode="any", seen=seen, timeout_s=0.01
        )
        assert not again.done
        gate.open.set()
        with anyio.fail_after(5):
            second = await harness.subagents.wait(ids, caller=LOCAL, mode="any", seen=seen)
        assert second.subagents[0].status == "completed"


async def test_beyond_the_limit_subagents_queue_and_run_when_there_is_room() -> None:
    gate = Gate()
    provider = ScriptedProvider(calling("wait_here"), "done")
    rules = SubagentRules(max_concurrent=2)
    async with open_harness(provider, tools=gate.tools, rules=rules) as harness:
        children = [await harness.spawn(f"work {n}") for n in range(5)]
        for child in children[:2]:
            await harness.until(child.subagent_id, lambda e: isinstance(e, RoundStarted))
        states = [(await harness.subagents.get(c.subagent_id, caller=LOCAL)) for c in children]
        assert [s.status for s in states] == ["running"] * 2 + ["pending"] * 3
        gate.open.set()
        for child in children:
            assert (await harness.ended(child.subagent_id)).status == "completed"


async def test_too_many_unfinished_subagents_are_refused_by_number() -> None:
    gate = Gate()
    provider = ScriptedProvider(calling("wait_here"))
    rules = SubagentRules(max_concurrent=1, max_unfinished=2)
    async with open_harness(provider, tools=gate.tools, rules=rules) as harness:
        await harness.spawn("one")
        await harness.spawn("two")
        with pytest.raises(LimitReached, match="2 subagents are unfinished"):
            await harness.spawn("three")


async def test_a_queued_subagent_can_be_steered_and_reads_it_first() -> None:
    gate = Gate()
    provider = ScriptedProvider()
    provider.respond(
        lambda request: (
            calling("wait_here")
            if request.messages[0].text == "first" and len(request.messages) == 1
            else Step(text=request.messages[-1].text)
        )
    )
    rules = SubagentRules(max_concurrent=1)
    async with open_harness(provider, tools=gate.tools, rules=rules) as harness:
        await harness.spawn("first")
        queued = await harness.spawn("second")
        receipt = await harness.subagents.steer(queued.subagent_id, "do this", caller=LOCAL)
        assert receipt.state == "queued"
        gate.open.set()
        assert (await harness.ended(queued.subagent_id)).text == "do this"
        events = await harness.events(queued.subagent_id)
    assert sum(isinstance(e, SteerQueued) for e in events) == 1
    assert [e.round for e in events if isinstance(e, SteerDelivered)] == [1]


async def test_a_queued_subagent_is_cancelled_at_once_and_hands_its_messages_back() -> None:
    gate = Gate()
    provider = ScriptedProvider(calling("wait_here"), "done")
    rules = SubagentRules(max_concurrent=1)
    async with open_harness(provider, tools=gate.tools, rules=rules) as harness:
        first = await harness.spawn("first")
        queued = await harness.spawn("second")
        receipt = await harness.subagents.steer(queued.subagent_id, "unread", caller=LOCAL)
        with anyio.fail_after(1):
            [stopped] = await harness.subagents.cancel(queued.subagent_id, caller=LOCAL)
        assert stopped.status == "cancelled"
        assert stopped.outcome is not None
        assert [s.text for s in stopped.outcome.undelivered] == ["unread"]
        after = await harness.subagents.receipt(queued.subagent_id, receipt.steer_id, caller=LOCAL)
        assert after.state == "undelivered"
        gate.open.set()
        assert (await harness.ended(first.subagent_id)).status == "completed"


async def test_steering_that_was_never_read_is_undelivered_and_handed_back() -> None:
    gate = Gate()
    provider = ScriptedProvider(calling("wait_here"))
    async with open_harness(provider, tools=gate.tools) as harness:
        child = await harness.spawn("work")
        await harness.until(child.subagent_id, lambda e: isinstance(e, RoundStarted))
        receipt = await harness.subagents.steer(child.subagent_id, "never read", caller=LOCAL)
        await harness.subagents.cancel(child.subagent_id, caller=LOCAL)
        outcome = await harness.ended(child.subagent_id)
        events = await harness.events(child.subagent_id)
    assert [s.text for s in outcome.undelivered] == ["never read"]
    assert [e.text for e in events if isinstance(e, SteerUndelivered)] == ["never read"]
    assert isinstance(events[-1], RunEnded)
    assert receipt.state == "queued"


async def test_steering_an_ended_subagent_is_refused_with_its_status() -> None:
    async with open_harness(ScriptedProvider("done")) as harness:
        child = await harness.spawn("work")
        await harness.ended(child.subagent_id)
        receipt = await harness.subagents.steer(child.subagent_id, "more", caller=LOCAL)
    assert receipt.state == "refused"
    assert "completed" in receipt.reason


async def test_cancelling_a_parent_cancels_its_children_and_theirs() -> None:
    gate = Gate()
    provider = ScriptedProvider(calling("wait_here"))
    async with open_harness(provider, tools=gate.tools) as harness:
        parent = await harness.spawn("parent", may_spawn=True)
        child = await harness.spawn(
            "child", parent_id=parent.subagent_id, caller=Subject(parent.subagent_id), depth=2
        )
        grandchild = await harness.spawn(
            "grandchild", parent_id=child.subagent_id, caller=Subject(child.subagent_id), depth=3
        )
        for one in (parent, child, grandchild):
            await harness.until(one.subagent_id, lambda e: isinstance(e, RoundStarted))
        with anyio.fail_after(3):
            stopped = await harness.subagents.cancel(parent.subagent_id, caller=LOCAL)
        assert [one.status for one in stopped] == ["cancelled"] * 3
        events = await harness.events(parent.subagent_id)
    assert [e.subagent_id for e in events if isinstance(e, SubagentSpawned)] == [child.subagent_id]
    assert isinstance(events[-1], RunEnded)


async def test_a_parents_log_tells_of_its_children() -> None:
    gate = Gate()
    provider = ScriptedProvider()
    provider.respond(
        lambda request: (
            Step(text="child done") if request.messages[0].text == "child" else calling("wait_here")
        )
    )
    async with open_harness(provider, tools=gate.tools) as harness:
        parent = await harness.spawn("parent")
        await harness.until(parent.subagent_id, lambda e: isinstance(e, RoundStarted))
        child = await harness.spawn("child", parent_id=parent.subagent_id, depth=2)
        await harness.ended(child.subagent_id)
        events = await harness.events(parent.subagent_id)
    ended = [e for e in events if isinstance(e, SubagentEnded)]
    assert [(e.subagent_id, e.status) for e in ended] == [(child.subagent_id, "completed")]


async def test_children_do_not_outlive_a_parent_that_ends() -> None:
    gate = Gate()
    provider = ScriptedProvider()
    parents_gate = anyio.Event()
    provider.respond(
        lambda request: (
            calling("wait_here")
            if request.messages[0].text == "child" or not parents_gate.is_set()
            else Step(text="parent done")
        )
    )
    async with open_harness(provider, tools=gate.tools) as harness:
        parent = await harness.spawn("parent")
        await harness.until(parent.subagent_id, lambda e: isinstance(e, RoundStarted))
        child = await harness.spawn("child", parent_id=parent.subagent_id, depth=2)
        await harness.until(child.subagent_id, lambda e: isinstance(e, RoundStarted))
        parents_gate.set()
        await harness.subagents.steer(
            parent.subagent_id, "finish", caller=LOCAL, delivery="interrupt"
        )
        assert (await harness.ended(parent.subagent_id)).text == "parent done"
        outcome = await harness.ended(child.subagent_id)
    assert (outcome.status, outcome.error) == ("cancelled", "its parent ended")


async def test_cancelling_twice_and_after_the_end_says_how_it_ended() -> None:
    async with open_harness(ScriptedProvider("done")) as harness:
        child = await harness.spawn("work")
        await harness.ended(child.subagent_id)
        for _ in range(2):
            [one] = await harness.subagents.cancel(child.subagent_id, caller=LOCAL)
            assert one.status == "completed"


async def test_role_and_system_prompt_reach_the_model() -> None:
    provider = ScriptedProvider("done")
    async with open_harness(provider) as harness:
        await harness.run("go", role="a reviewer", system_prompt="Be brief.")
    assert "Your role: a reviewer.\n\nBe brief." in provider.requests[0].system


async def test_listing_filters_by_status_and_parent_and_pages() -> None:
    async with open_harness(ScriptedProvider("done")) as harness:
        children = [await harness.spawn(f"work {n}") for n in range(5)]
        for child in children:
            await harness.ended(child.subagent_id)
        newest = await harness.subagents.list_subagents(caller=LOCAL, limit=2)
        assert [one.spec.task for one in newest] == ["work 4", "work 3"]
        older = await harness.subagents.list_subagents(
            caller=LOCAL, limit=2, before=newest[-1].created_at
        )
        assert [one.spec.task for one in older] == ["work 2", "work 1"]
        assert await harness.subagents.list_subagents(caller=LOCAL, status="running") == []


class BrokenLauncher:
    """A launcher that cannot start anything."""

    name = "broken"

    def launch(self, spec: SubagentSpec, request: RunRequest) -> object:
        raise RuntimeError("no room on the moon")


class HangingLauncher:
    """A launcher whose child ends with an outcome nobody streamed."""

    name = "silent"

    @asynccontextmanager
    async def launch(self, spec: SubagentSpec, request: RunRequest) -> AsyncIterator[SubagentLink]:
        raise LimitReached("no worker is free")
        yield


async def test_a_launcher_that_fails_ends_the_run_once_and_harms_nobody() -> None:
    launchers = {"broken": BrokenLauncher(), "silent": HangingLauncher()}
    async with open_harness(ScriptedProvider("done"), launchers=launchers) as harness:  # type: ignore[arg-type]
        broken = await harness.spawn("there", isolation="broken")
        outcome = await harness.ended(broken.subagent_id)
        assert (outcome.status, outcome.error_code) == ("error", "internal")
        assert "moon" not in outcome.error
        silent = await harness.spawn("there", isolation="silent")
        assert (await harness.ended(silent.subagent_id)).error_code == "limit_reached"
        for one in (broken, silent):
            events = await harness.events(one.subagent_id)
            assert sum(isinstance(e, RunEnded) for e in events) == 1
        assert (await harness.run("here")).text == "done"


async def test_when_the_server_stops_its_runs_end_as_lost() -> None:
    gate = Gate()
    provider = ScriptedProvider(calling("wait_here"))
    async with open_harness(provider, tools=gate.tools) as harness:
        child = await harness.spawn("work")
        await harness.until(child.subagent_id, lambda e: isinstance(e, RoundStarted))
        log = harness.log
    ended = (await log.read(child.run_id, limit=100))[-1].event
    assert isinstance(ended, RunEnded)
    assert isinstance(ended.outcome, Outcome)
    assert ended.outcome.status == "lost"
