"""A steer ends delivered only where a model call read it; otherwise it is handed back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import pytest

from bamboo_mcp.domain.events import (
    ModelAnswered,
    RunEvent,
    SteerDelivered,
    SteerUndelivered,
    TextDelta,
)
from bamboo_mcp.domain.ids import LOCAL, SubagentId, new_steer_id
from bamboo_mcp.domain.models import ModelCaps, ModelRequest
from bamboo_mcp.domain.provider_errors import TransportFailed
from bamboo_mcp.domain.runs import Limits, Steer
from bamboo_mcp.domain.stream import Chunk
from bamboo_mcp.ports import Notify
from bamboo_mcp.testing.harness import Harness, open_harness
from bamboo_mcp.testing.scripted import Fault, ScriptedProvider, Step, scripted_models
from tests.agent.bare_run import BareRun


class Gated(ScriptedProvider):
    """Says that it was asked; its first answers do not begin, later ones come at once."""

    def __init__(self, *steps: Step | str, silent: int) -> None:
        super().__init__(*steps)
        self.asked = anyio.Event()
        self._silent = silent

    def stream(
        self, request: ModelRequest, *, notify: Notify | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        self.asked.set()
        if self._silent > 0:
            self._silent -= 1
            return self._never()
        return super().stream(request, notify=notify)

    @asynccontextmanager
    async def _never(self) -> AsyncIterator[AsyncIterator[Chunk]]:
        await anyio.sleep_forever()
        yield self._nothing()

    async def _nothing(self) -> AsyncIterator[Chunk]:
        return
        yield


class Unreachable(ScriptedProvider):
    def stream(
        self, request: ModelRequest, *, notify: Notify | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        raise TransportFailed("nobody answers there", provider=self.name)


async def ends_of(harness: Harness, subagent_id: SubagentId) -> list[RunEvent]:
    return [
        event
        for event in await harness.events(subagent_id)
        if isinstance(event, SteerDelivered | SteerUndelivered)
    ]


@pytest.mark.parametrize(
    ("provider", "limits", "code"),
    [
        (ScriptedProvider(caps=ModelCaps(context_window=10, max_output=5)), {}, "context_full"),
        (ScriptedProvider(), {"max_tokens": 0}, "limit_reached"),
        (Unreachable(), {}, "transport_failed"),
        (ScriptedProvider(Step(error=Fault(kind="server_failed"))), {}, "server_failed"),
    ],
    ids=["context_full", "no_tokens", "unreachable", "failing"],
)
async def test_a_steer_that_no_model_read_is_handed_back_once(
    provider: ScriptedProvider, limits: dict[str, int], code: str
) -> None:
    async with open_harness(provider) as harness:
        child = await harness.spawn("go", limits=Limits(**limits))
        receipt = await harness.subagents.steer(child.subagent_id, "this too", caller=LOCAL)
        outcome = await harness.ended(child.subagent_id)
        after = await harness.subagents.receipt(child.subagent_id, receipt.steer_id, caller=LOCAL)
        ends = await ends_of(harness, child.subagent_id)
    assert outcome.error_code == code
    assert (after.state, after.round, after.text) == ("undelivered", None, "this too")
    assert [steer.steer_id for steer in outcome.undelivered] == [receipt.steer_id]
    assert [type(end) for end in ends] == [SteerUndelivered]


async def test_a_steer_is_delivered_when_the_answer_begins_and_before_its_first_words() -> None:
    provider = ScriptedProvider("hello")
    async with open_harness(provider) as harness:
        child = await harness.spawn("go")
        await harness.subagents.steer(child.subagent_id, "this too", caller=LOCAL)
        outcome = await harness.ended(child.subagent_id)
        events = await harness.events(child.subagent_id)
    kinds = [type(event) for event in events]
    assert kinds.index(SteerDelivered) == kinds.index(TextDelta) - 1
    assert outcome.undelivered == ()


async def test_a_steer_whose_round_is_interrupted_unread_is_delivered_with_the_next() -> None:
    provider = Gated("I read both", silent=1)
    async with open_harness(provider) as harness:
        child = await harness.spawn("go")
        first = await harness.subagents.steer(child.subagent_id, "first", caller=LOCAL)
        with anyio.fail_after(5):
            await provider.asked.wait()
        waiting = await harness.subagents.receipt(child.subagent_id, first.steer_id, caller=LOCAL)
        second = await harness.subagents.steer(
            child.subagent_id, "second", caller=LOCAL, delivery="interrupt"
        )
        outcome = await harness.ended(child.subagent_id)
        ends = await ends_of(harness, child.subagent_id)
    assert waiting.state == "queued"
    assert outcome.undelivered == ()
    assert ends == [
        SteerDelivered(steer_id=first.steer_id, round=2),
        SteerDelivered(steer_id=second.steer_id, round=2),
    ]


async def test_a_steer_merged_in_a_round_that_is_cancelled_unread_is_handed_back() -> None:
    provider = Gated(silent=1)
    async with open_harness(provider) as harness:
        child = await harness.spawn("go")
        receipt = await harness.subagents.steer(child.subagent_id, "unread", caller=LOCAL)
        with anyio.fail_after(5):
            await provider.asked.wait()
        await harness.subagents.cancel(child.subagent_id, caller=LOCAL)
        outcome = await harness.ended(child.subagent_id)
        ends = await ends_of(harness, child.subagent_id)
    assert outcome.status == "cancelled"
    assert ends == [SteerUndelivered(steer_id=receipt.steer_id, text="unread")]


async def test_a_cancel_in_the_tick_of_the_last_answer_takes_no_steer_in() -> None:
    provider = ScriptedProvider("done", "never said")
    steer = Steer(steer_id=new_steer_id(), text="too late", delivery="when_idle")

    def meanwhile(event: RunEvent) -> None:
        if isinstance(event, ModelAnswered):
            run.inbox.put(steer)
            run.inbox.cancel("enough")

    run = BareRun(scripted_models(provider), on_event=meanwhile)
    outcome = await run.play()
    assert outcome.status == "cancelled"
    assert (*outcome.undelivered, *run.inbox.close()) == (steer,)
    assert all("too late" not in message.text for message in run.messages)
    assert len(provider.requests) == 1


async def test_a_run_stopped_from_outside_puts_unread_steers_back_in_their_order() -> None:
    provider = Gated(silent=1)
    run = BareRun(scripted_models(provider))
    steers = [Steer(steer_id=new_steer_id(), text=text) for text in ("one", "two", "three")]
    run.inbox.put(steers[0])
    run.inbox.put(steers[1])
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(run.start)
            await provider.asked.wait()
            run.inbox.put(steers[2])
            group.cancel_scope.cancel()
    assert run.outcome is None
    assert run.inbox.close() == steers


async def test_a_steer_that_met_an_unreadable_tool_call_was_read() -> None:
    provider = ScriptedProvider(Step(error=Fault(kind="bad_tool_json", message="no object")), "ok")
    async with open_harness(provider) as harness:
        child = await harness.spawn("go")
        receipt = await harness.subagents.steer(child.subagent_id, "this too", caller=LOCAL)
        await harness.ended(child.subagent_id)
        ends = await ends_of(harness, child.subagent_id)
    assert ends == [SteerDelivered(steer_id=receipt.steer_id, round=1)]


async def test_a_steer_read_by_the_last_round_is_delivered_with_its_number() -> None:
    provider = ScriptedProvider("the answer", "the last words")
    steer = Steer(steer_id=new_steer_id(), text="and now?")

    def meanwhile(event: RunEvent) -> None:
        if isinstance(event, ModelAnswered) and event.round == 1:
            run.inbox.put(steer)

    run = BareRun(scripted_models(provider), limits=Limits(max_rounds=1), on_event=meanwhile)
    outcome = await run.play()
    assert (outcome.error_code, outcome.undelivered) == ("limit_reached", ())
    assert outcome.text == "the last words"
    delivered = [event for event in run.events if isinstance(event, SteerDelivered)]
    assert delivered == [SteerDelivered(steer_id=steer.steer_id, round=2)]
