"""A subagent that has ended goes on: with its history, in a new run, whatever ended it."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from bamboo_mcp.domain.errors import (
    InvalidInput,
    NotOwner,
    RunBusy,
    StorageError,
    UnknownId,
    UnknownModel,
)
from bamboo_mcp.domain.events import RoundStarted, RunEnded, RunQueued, ToolStarted
from bamboo_mcp.domain.ids import LOCAL, RunId, SessionId, SubagentId, Subject, new_owner_id
from bamboo_mcp.domain.messages import ToolCallBlock, ToolResultBlock
from bamboo_mcp.domain.subagents import RUN_STRIDE
from bamboo_mcp.sessions.memory import MemorySessionStore
from bamboo_mcp.testing.harness import open_harness
from bamboo_mcp.testing.scripted import Fault, ScriptedProvider, Step, scripted_models
from tests.subagents.gate import Gate, calling
from tests.subagents.test_losses import on_disk


async def test_it_goes_on_with_its_history_in_a_new_run_and_both_can_be_read() -> None:
    provider = ScriptedProvider("forty", "and two")
    async with open_harness(provider) as harness:
        first = await harness.spawn("count")
        assert (await harness.ended(first.subagent_id)).text == "forty"
        again = await harness.subagents.resume(first.subagent_id, "go on", caller=LOCAL)
        assert again.subagent_id == first.subagent_id
        assert again.session_id == first.session_id
        assert again.run_id != first.run_id
        assert (await harness.ended(first.subagent_id)).text == "and two"
        assert [m.text for m in provider.requests[1].messages] == ["count", "forty", "go on"]
        newest = await harness.subagents.get(first.subagent_id, caller=LOCAL)
        assert (newest.run_id, newest.earlier_runs) == (again.run_id, (first.run_id,))
        assert newest.created_at == first.created_at
        before = await harness.subagents.get(first.subagent_id, caller=LOCAL, run_id=first.run_id)
        assert (before.run_id, before.earlier_runs) == (first.run_id, ())
        assert before.outcome is not None
        assert before.outcome.text == "forty"
        events = [record.event for record in await harness.log.read(again.run_id)]
        assert isinstance(events[0], RunQueued)
        assert isinstance(events[-1], RunEnded)
        [listed] = await harness.subagents.list_subagents(caller=LOCAL)
        assert listed.run_id == again.run_id
        with pytest.raises(UnknownId):
            await harness.subagents.get(first.subagent_id, caller=LOCAL, run_id=RunId("run_x"))


async def test_a_cursor_from_the_run_before_never_hides_the_end_of_the_next() -> None:
    gate = Gate()
    provider = ScriptedProvider(*(calling("wait_here") for _ in range(2)), "long", "short")
    async with open_harness(provider, tools=gate.tools) as harness:
        gate.open.set()
        child = await harness.spawn("work")
        await harness.ended(child.subagent_id)
        first = await harness.subagents.wait([child.subagent_id], caller=LOCAL)
        seen = {child.subagent_id: first.subagents[0].last_seq}
        await harness.subagents.resume(child.subagent_id, "more", caller=LOCAL)
        with anyio.fail_after(5):
            second = await harness.subagents.wait(
                [child.subagent_id], caller=LOCAL, mode="any", seen=seen
            )
        assert second.done
        assert second.subagents[0].outcome is not None
        assert second.subagents[0].outcome.text == "short"
        assert second.subagents[0].last_seq > RUN_STRIDE > seen[child.subagent_id]


async def test_while_a_run_is_under_way_resuming_is_refused_and_says_which() -> None:
    gate = Gate()
    async with open_harness(ScriptedProvider(calling("wait_here")), tools=gate.tools) as harness:
        child = await harness.spawn("work")
        with pytest.raises(RunBusy) as refused:
            await harness.subagents.resume(child.subagent_id, "more", caller=LOCAL)
        assert refused.value.run_id == child.run_id
        assert "steer_subagent" in refused.value.hint


async def test_of_two_that_resume_at_once_one_is_refused_and_says_nothing_to_the_child() -> None:
    gate = Gate()
    provider = ScriptedProvider("first", calling("wait_here"), "second")
    async with open_harness(provider, tools=gate.tools) as harness:
        child = await harness.spawn("work")
        await harness.ended(child.subagent_id)
        refused: list[str] = []

        async def resume(message: str) -> None:
            try:
                await harness.subagents.resume(child.subagent_id, message, caller=LOCAL)
            except RunBusy:
                refused.append(message)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                for message in ("one", "two"):
                    group.start_soon(resume, message)
        gate.open.set()
        await harness.ended(child.subagent_id)
        session = await harness.sessions.load(child.session_id)
        said = {message.text for message in session.messages if message.role == "user"}
        assert len(refused) == 1
        assert {"one", "two"} - said == set(refused)


async def test_one_that_was_cancelled_and_one_that_failed_go_on() -> None:
    gate = Gate()
    provider = ScriptedProvider()
    provider.add(calling("wait_here"), Step(error=Fault(kind="invalid_request")), "at last")
    async with open_harness(provider, tools=gate.tools) as harness:
        child = await harness.spawn("work")
        await harness.until(child.subagent_id, lambda e: isinstance(e, ToolStarted))
        await harness.subagents.cancel(child.subagent_id, caller=LOCAL)
        assert (await harness.ended(child.subagent_id)).status == "cancelled"
        await harness.subagents.resume(child.subagent_id, "again", caller=LOCAL)
        assert (await harness.ended(child.subagent_id)).status == "error"
        await harness.subagents.resume(child.subagent_id, "once more", caller=LOCAL)
        assert (await harness.ended(child.subagent_id)).text == "at last"
        newest = await harness.subagents.get(child.subagent_id, caller=LOCAL)
        statuses = [
            (await harness.subagents.get(child.subagent_id, caller=LOCAL, run_id=one)).status
            for one in newest.earlier_runs
        ]
    assert statuses == ["cancelled", "error"]


async def test_what_a_dead_process_left_goes_on_elsewhere_with_its_open_call_answered(
    tmp_path: Path,
) -> None:
    gate, later = Gate(), Gate()
    one, other = new_owner_id(), new_owner_id()
    living = {one, other}
    dying = ScriptedProvider(calling("wait_here"))
    provider = ScriptedProvider(lambda request: Step(text=request.messages[-1].text))
    async with (
        on_disk(tmp_path, dying, gate, owner=one, living=living) as first,
        on_disk(tmp_path, provider, later, owner=other, living=living) as second,
    ):
        child = await first.spawn("work")
        await first.until(child.subagent_id, lambda e: isinstance(e, ToolStarted))
        steer = await first.subagents.steer(child.subagent_id, "never read", caller=LOCAL)
        with pytest.raises(RunBusy):
            await second.subagents.resume(child.subagent_id, "too early", caller=LOCAL)
        living.discard(one)
        lost = await second.subagents.get(child.subagent_id, caller=LOCAL)
        assert lost.status == "lost"
        await second.subagents.resume(child.subagent_id, "go on", caller=LOCAL)
        assert (await second.ended(child.subagent_id)).text == "go on"
        [request] = provider.requests
        calls = [b.id for m in request.messages for b in m.blocks if isinstance(b, ToolCallBlock)]
        answers = [
            b.call_id for m in request.messages for b in m.blocks if isinstance(b, ToolResultBlock)
        ]
        assert calls == answers != []
        before = await second.subagents.get(child.subagent_id, caller=LOCAL, run_id=child.run_id)
        assert [receipt.steer_id for receipt in before.steers] == [steer.steer_id]
        assert before.steers[0].state == "undelivered"


async def test_a_server_learns_that_another_one_has_resumed_what_ended_here(
    tmp_path: Path,
) -> None:
    here, there = Gate(), Gate()
    one, other = new_owner_id(), new_owner_id()
    living = {one, other}
    async with (
        on_disk(tmp_path, ScriptedProvider("here"), here, owner=one, living=living) as first,
        on_disk(
            tmp_path,
            ScriptedProvider(calling("wait_here"), "there"),
            there,
            owner=other,
            living=living,
        ) as second,
    ):
        child = await first.spawn("work")
        await first.subagents.wait([child.subagent_id], caller=LOCAL)
        again = await second.subagents.resume(child.subagent_id, "go on", caller=LOCAL)
        await second.until(child.subagent_id, lambda e: isinstance(e, ToolStarted))
        seen = await first.subagents.get(child.subagent_id, caller=LOCAL)
        assert (seen.run_id, seen.status) == (again.run_id, "running")
        with pytest.raises(NotOwner):
            await first.subagents.steer(child.subagent_id, "psst", caller=LOCAL)
        with pytest.raises(RunBusy):
            await first.subagents.resume(child.subagent_id, "me too", caller=LOCAL)
        there.open.set()
        with anyio.fail_after(5):
            waited = await first.subagents.wait([child.subagent_id], caller=LOCAL, timeout_s=60)
        assert waited.subagents[0].outcome is not None
        assert waited.subagents[0].outcome.text == "there"


async def test_a_resumed_one_can_be_steered_and_its_steers_are_those_of_the_new_run() -> None:
    gate = Gate()
    provider = ScriptedProvider("first", calling("wait_here"), "second")
    async with open_harness(provider, tools=gate.tools) as harness:
        child = await harness.spawn("work")
        await harness.subagents.steer(child.subagent_id, "early", caller=LOCAL)
        await harness.ended(child.subagent_id)
        await harness.subagents.resume(child.subagent_id, "more", caller=LOCAL)
        await harness.until(child.subagent_id, lambda e: isinstance(e, RoundStarted))
        steer = await harness.subagents.steer(child.subagent_id, "late", caller=LOCAL)
        gate.open.set()
        await harness.ended(child.subagent_id)
        newest = await harness.subagents.get(child.subagent_id, caller=LOCAL)
        assert [one.steer_id for one in newest.steers] == [steer.steer_id]
        assert newest.steers[0].state == "delivered"


async def test_a_resumed_child_is_cancelled_with_the_parent_that_is_at_work() -> None:
    gate = Gate()
    provider = ScriptedProvider()
    provider.respond(
        lambda request: (
            Step(text="quick") if request.messages[-1].text == "quick" else calling("wait_here")
        )
    )
    async with open_harness(provider, tools=gate.tools) as harness:
        parent = await harness.spawn("slow")
        mine = Subject(parent.subagent_id)
        child = await harness.spawn("quick", parent_id=parent.subagent_id, caller=mine, depth=2)
        await harness.subagents.wait([child.subagent_id], caller=mine)
        await harness.subagents.resume(child.subagent_id, "slowly", caller=mine)
        stopped = await harness.subagents.cancel(parent.subagent_id, caller=LOCAL)
        assert {one.subagent_id: one.status for one in stopped} == {
            parent.subagent_id: "cancelled",
            child.subagent_id: "cancelled",
        }


async def test_what_cannot_be_resumed_is_said_and_nothing_is_changed() -> None:
    models = scripted_models(ScriptedProvider("done", "again"), unknown=("gone",))
    async with open_harness(models) as harness:
        child = await harness.spawn("work")
        await harness.ended(child.subagent_id)
        with pytest.raises(InvalidInput, match="empty"):
            await harness.subagents.resume(child.subagent_id, " ", caller=LOCAL)
        with pytest.raises(InvalidInput, match="1000001 characters"):
            await harness.subagents.resume(child.subagent_id, "x" * 1_000_001, caller=LOCAL)
        with pytest.raises(UnknownId):
            await harness.subagents.resume(SubagentId("sub_none"), "more", caller=LOCAL)
        with pytest.raises(UnknownId):
            await harness.subagents.resume(child.subagent_id, "more", caller=Subject("other"))
        same = await harness.subagents.get(child.subagent_id, caller=LOCAL)
        assert (same.run_id, same.status) == (child.run_id, "completed")
        session = await harness.sessions.load(child.session_id)
        assert len(session.messages) == 2


async def test_a_model_that_is_gone_is_said_before_the_subagent_is_touched(tmp_path: Path) -> None:
    one, other = new_owner_id(), new_owner_id()
    living = {one, other}
    gate = Gate()
    async with on_disk(tmp_path, ScriptedProvider("x"), gate, owner=one, living=living) as first:
        child = await first.spawn("work", model="scripted:gone")
        await first.ended(child.subagent_id)
        store, log = first.sessions, first.log
        models = scripted_models(ScriptedProvider("y"), unknown=("gone",))
        async with open_harness(
            models, sessions=store, log=log, owner=other, alive=living.__contains__
        ) as second:
            with pytest.raises(UnknownModel):
                await second.subagents.resume(child.subagent_id, "more", caller=LOCAL)
            same = await second.subagents.get(child.subagent_id, caller=LOCAL)
            assert (same.run_id, same.status) == (child.run_id, "completed")


class FullOnDemand(MemorySessionStore):
    """A store that from some moment on takes no message."""

    full = False

    def open(self, session_id: SessionId):  # type: ignore[no-untyped-def]
        if self.full:
            raise StorageError("no room")
        return super().open(session_id)


async def test_a_message_that_cannot_be_written_ends_the_new_run_and_hides_no_result() -> None:
    store = FullOnDemand()
    async with open_harness(ScriptedProvider("kept", "later"), sessions=store) as harness:
        child = await harness.spawn("work")
        await harness.ended(child.subagent_id)
        store.full = True
        with pytest.raises(StorageError):
            await harness.subagents.resume(child.subagent_id, "more", caller=LOCAL)
        newest = await harness.subagents.get(child.subagent_id, caller=LOCAL)
        assert newest.status == "error"
        [run] = newest.earlier_runs
        before = await harness.subagents.get(child.subagent_id, caller=LOCAL, run_id=run)
        assert before.outcome is not None
        assert before.outcome.text == "kept"
        store.full = False
        await harness.subagents.resume(child.subagent_id, "more", caller=LOCAL)
        assert (await harness.ended(child.subagent_id)).text == "later"
