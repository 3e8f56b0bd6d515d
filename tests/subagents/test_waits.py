"""What a wait tells, once, and what it calls done."""

from __future__ import annotations

import re

import anyio

from bamboo_mcp.domain.events import ProviderWaiting, RoundStarted
from bamboo_mcp.domain.ids import LOCAL
from bamboo_mcp.domain.messages import Message
from bamboo_mcp.providers.retrying import Retrying
from bamboo_mcp.testing.harness import open_harness
from bamboo_mcp.testing.scripted import Fault, ScriptedProvider, Step
from tests.subagents.gate import Gate, calling


def by_task(first: Message) -> Step:
    return calling("write") if "write" in first.text else calling("wait_here")


async def test_a_question_ends_a_wait_once_and_is_not_called_done() -> None:
    gate = Gate()
    provider = ScriptedProvider()
    provider.respond(lambda request: by_task(request.messages[0]))
    async with open_harness(provider, tools=gate.tools) as harness:
        ids = [(await harness.spawn(task)).subagent_id for task in ("write it", "wait", "wait")]
        with anyio.fail_after(5):
            first = await harness.subagents.wait(ids, caller=LOCAL, timeout_s=60)
        assert not first.done
        assert first.subagents[0].question is not None
        # Told already: it is still in the answer, and wakes nobody again.
        again = await harness.subagents.wait(ids, caller=LOCAL, timeout_s=0.01)
        assert not again.done
        assert again.subagents[0].question is not None


async def test_what_ended_between_two_waits_is_told_by_the_next_without_naming_it() -> None:
    gate = Gate()
    provider = ScriptedProvider()
    provider.respond(
        lambda request: (
            calling("wait_here")
            if "slow" in request.messages[0].text and len(request.messages) == 1
            else Step(text="done")
        )
    )
    async with open_harness(provider, tools=gate.tools) as harness:
        quick = [await harness.spawn("quick") for _ in range(3)]
        slow = await harness.spawn("slow")
        for child in quick:
            await harness.until(child.subagent_id, lambda e: isinstance(e, RoundStarted))
        told: set[str] = set()
        with anyio.fail_after(5):
            while len(told) < 3:
                mine = harness.subagents.unfinished_of(LOCAL)
                waited = await harness.subagents.wait(mine, caller=LOCAL, mode="any")
                told |= {one.subagent_id for one in waited.subagents if one.outcome}
        assert told == {child.subagent_id for child in quick}
        assert list(harness.subagents.unfinished_of(LOCAL)) == [slow.subagent_id]
        gate.open.set()
        assert (await harness.ended(slow.subagent_id)).text == "done"


async def test_a_pause_before_the_next_try_is_what_it_does_now() -> None:
    provider = ScriptedProvider(
        Step(error=Fault(kind="overloaded", retry_after=40, message="full house")), "never"
    )
    async with open_harness(Retrying(provider)) as harness:
        child = await harness.spawn("go")
        await harness.until(child.subagent_id, lambda event: isinstance(event, ProviderWaiting))
        one = await harness.subagents.get(child.subagent_id, caller=LOCAL)
        assert re.fullmatch(
            r"round 1: waits (39|40) s for the model: .*full house.*", one.last_activity
        )
        await harness.subagents.cancel(child.subagent_id, caller=LOCAL)
        outcome = await harness.ended(child.subagent_id)
    assert outcome.status == "cancelled"
