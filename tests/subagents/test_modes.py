"""Waits that end with the first success or failure, or when a child gives no sign of life."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from bamboo_mcp.domain.events import ProviderWaiting, ToolStarted
from bamboo_mcp.domain.ids import LOCAL, new_owner_id
from bamboo_mcp.domain.messages import Message
from bamboo_mcp.domain.subagents import WaitMode
from bamboo_mcp.providers.retrying import Retrying
from bamboo_mcp.subagents.admission import SubagentRules
from bamboo_mcp.testing.harness import open_harness
from bamboo_mcp.testing.scripted import Fault, ScriptedProvider, Step
from tests.subagents.gate import Gate, calling
from tests.subagents.test_losses import on_disk


def by_task(first: Message, again: bool) -> Step:
    match first.text:
        case "fail":
            return Step(error=Fault(kind="invalid_request"))
        case "slow" if not again:
            return calling("wait_here")
    return Step(text="done")


def crew() -> ScriptedProvider:
    provider = ScriptedProvider()
    provider.respond(lambda request: by_task(request.messages[0], len(request.messages) > 1))
    return provider


@pytest.mark.parametrize(
    ("mode", "first", "wanted"),
    [("first_success", "fail", "quick"), ("first_error", "quick", "fail")],
)
async def test_a_wait_for_one_kind_of_end_is_not_woken_by_the_other(
    mode: WaitMode, first: str, wanted: str
) -> None:
    gate = Gate()
    async with open_harness(crew(), tools=gate.tools) as harness:
        other = (await harness.spawn(first)).subagent_id
        slow = (await harness.spawn("slow")).subagent_id
        await harness.ended(other)
        results = []

        async def wait() -> None:
            results.append(
                await harness.subagents.wait([other, slow], caller=LOCAL, mode=mode, timeout_s=60)
            )

        with anyio.fail_after(5):
            short = await harness.subagents.wait(
                [other, slow], caller=LOCAL, mode=mode, timeout_s=0.01
            )
            assert not short.done
            right = (await harness.spawn(wanted)).subagent_id
            both = await harness.subagents.wait(
                [other, slow, right], caller=LOCAL, mode=mode, timeout_s=60
            )
            assert both.done
            assert both.subagents[1].outcome is None
            seen = {one.subagent_id: one.last_seq for one in both.subagents}
            again = await harness.subagents.wait(
                [slow, right], caller=LOCAL, mode=mode, timeout_s=0.01, seen=seen
            )
            assert not again.done
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
                gate.open.set()
        # All have ended: a wait for something that will not come is over too.
        assert results[0].done


async def test_a_cancelled_one_is_neither_a_success_nor_an_error() -> None:
    gate = Gate()
    async with open_harness(crew(), tools=gate.tools) as harness:
        ids = [(await harness.spawn("slow")).subagent_id for _ in range(2)]
        await harness.subagents.cancel(ids[0], caller=LOCAL)
        for mode in ("first_success", "first_error"):
            waited = await harness.subagents.wait(ids, caller=LOCAL, mode=mode, timeout_s=0.01)
            assert not waited.done


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


async def test_a_silent_child_ends_a_wait_early_and_again_only_after_as_long_once_more() -> None:
    gate = Gate()
    async with open_harness(crew(), tools=gate.tools) as harness:
        slow = (await harness.spawn("slow")).subagent_id
        await harness.until(slow, lambda e: isinstance(e, ToolStarted))
        with anyio.fail_after(5):
            waited = await harness.subagents.wait([slow], caller=LOCAL, timeout_s=60, stall_s=0.05)
            assert not waited.done
            assert waited.stalled[slow] >= 0.05
            assert waited.subagents[0].status == "running"
            unasked = await harness.subagents.wait([slow], caller=LOCAL, timeout_s=0)
            assert unasked.stalled == {}
            long = await harness.subagents.wait([slow], caller=LOCAL, timeout_s=0.01, stall_s=600)
            assert long.stalled == {}
            again = await harness.subagents.wait([slow], caller=LOCAL, timeout_s=60, stall_s=0.05)
            assert again.stalled[slow] >= waited.stalled[slow] + 0.05
            gate.open.set()
            ended = await harness.subagents.wait([slow], caller=LOCAL, timeout_s=60, stall_s=60)
        assert ended.done
        assert ended.stalled == {}


async def test_who_waits_for_a_place_an_answer_or_its_model_is_not_silent() -> None:
    gate = Gate()
    clock = Clock(0.0)
    provider = ScriptedProvider()
    waiting = Step(error=Fault(kind="overloaded", retry_after=9_000, message="full"))
    steps = {"ask": calling("write"), "queue": Step(text="x"), "pause": waiting}
    provider.respond(lambda request: steps[request.messages[0].text])
    rules = SubagentRules(max_concurrent=2)
    async with open_harness(
        Retrying(provider, longest_s=10_000), tools=gate.tools, rules=rules, clock=clock
    ) as harness:
        ids = [(await harness.spawn(task)).subagent_id for task in ("ask", "pause", "queue")]
        await harness.until(ids[1], lambda e: isinstance(e, ProviderWaiting))
        with anyio.fail_after(5):
            first = await harness.subagents.wait(ids, caller=LOCAL, timeout_s=60)
            assert first.subagents[0].question is not None
            clock.now = (await harness.log.read(first.subagents[1].run_id))[-1].at + 8_000
            waited = await harness.subagents.wait(ids, caller=LOCAL, timeout_s=0.01, stall_s=60)
        assert waited.stalled == {}
        assert [one.status for one in waited.subagents] == ["waiting", "running", "pending"]


async def test_one_that_works_in_another_process_is_noticed_when_it_is_silent(
    tmp_path: Path,
) -> None:
    one, other = new_owner_id(), new_owner_id()
    living = {one, other}
    gate = Gate()
    async with (
        on_disk(tmp_path, crew(), gate, owner=one, living=living) as first,
        on_disk(tmp_path, crew(), gate, owner=other, living=living) as second,
    ):
        slow = (await first.spawn("slow")).subagent_id
        await first.until(slow, lambda e: isinstance(e, ToolStarted))
        with anyio.fail_after(5):
            waited = await second.subagents.wait([slow], caller=LOCAL, timeout_s=60, stall_s=0.05)
        assert not waited.done
        assert waited.stalled[slow] >= 0.05
        gate.open.set()
        await first.ended(slow)
