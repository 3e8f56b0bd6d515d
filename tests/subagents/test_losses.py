"""What is not lost: results on a full disk, messages of a dead process, waits across processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from bamboo_mcp.disk.calls import DiskCalls
from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.domain.errors import StorageError
from bamboo_mcp.domain.events import EventRecord, RoundStarted, RunEnded, RunEvent
from bamboo_mcp.domain.ids import LOCAL, OwnerId, RunId, new_owner_id
from bamboo_mcp.domain.runs import Outcome, RunRequest
from bamboo_mcp.domain.subagents import SubagentSpec
from bamboo_mcp.ports import SubagentLink
from bamboo_mcp.runs.log import FileEventLog
from bamboo_mcp.runs.memory_log import MemoryEventLog
from bamboo_mcp.sessions.index import SessionIndex
from bamboo_mcp.sessions.journal_store import JournalSessionStore
from bamboo_mcp.subagents.admission import SubagentRules
from bamboo_mcp.subagents.child import Child
from bamboo_mcp.subagents.waiting import Wait
from bamboo_mcp.testing.harness import Harness, open_harness
from bamboo_mcp.testing.scripted import ScriptedProvider
from tests.subagents.gate import Gate, calling


@asynccontextmanager
async def on_disk(
    home: Path,
    provider: ScriptedProvider,
    gate: Gate,
    *,
    owner: OwnerId,
    living: set[OwnerId],
    rules: SubagentRules | None = None,
) -> AsyncIterator[Harness]:
    """One server process on a home folder, as far as storage is concerned."""
    with Journals("process") as journals:
        index = SessionIndex(home)
        async with anyio.create_task_group() as group:
            await group.start(index.run)
            async with open_harness(
                provider,
                tools=gate.tools,
                log=FileEventLog(home, journals, alive=living.__contains__, poll_s=0.01),
                sessions=JournalSessionStore(home, journals, index),
                owner=owner,
                alive=living.__contains__,
                rules=rules,
            ) as harness:
                yield harness
            group.cancel_scope.cancel()


async def test_a_subagent_of_another_process_wakes_who_waits_for_it(tmp_path: Path) -> None:
    gate = Gate()
    one, other = new_owner_id(), new_owner_id()
    living = {one, other}
    provider = ScriptedProvider(calling("wait_here"), "there it is")
    async with (
        on_disk(tmp_path, provider, gate, owner=one, living=living) as first,
        on_disk(tmp_path, provider, gate, owner=other, living=living) as second,
    ):
        child = await first.spawn("work")
        await first.until(child.subagent_id, lambda e: isinstance(e, RoundStarted))
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                results = []

                async def wait() -> None:
                    results.append(
                        await second.subagents.wait([child.subagent_id], caller=LOCAL, timeout_s=60)
                    )

                group.start_soon(wait)
                await anyio.lowlevel.checkpoint()
                gate.open.set()
        assert results[0].done
        outcome = results[0].subagents[0].outcome
        assert outcome is not None
        assert outcome.text == "there it is"


async def test_a_wait_ends_when_the_other_process_dies_and_says_lost(tmp_path: Path) -> None:
    gate = Gate()
    one, other = new_owner_id(), new_owner_id()
    living = {one, other}
    provider = ScriptedProvider(calling("wait_here"))
    async with (
        on_disk(tmp_path, provider, gate, owner=one, living=living) as first,
        on_disk(tmp_path, provider, gate, owner=other, living=living) as second,
    ):
        child = await first.spawn("work")
        await first.subagents.steer(child.subagent_id, "keep me", caller=LOCAL)
        await first.until(child.subagent_id, lambda e: isinstance(e, RoundStarted))
        late = await first.subagents.steer(child.subagent_id, "never read", caller=LOCAL)
        living.discard(one)
        with anyio.fail_after(5):
            waited = await second.subagents.wait([child.subagent_id], caller=LOCAL, timeout_s=60)
        [seen] = waited.subagents
        assert waited.done
        assert seen.status == "lost"
        assert seen.outcome is not None
        assert [steer.text for steer in seen.outcome.undelivered] == ["never read"]
        states = {receipt.steer_id: receipt.state for receipt in seen.steers}
        assert states[late.steer_id] == "undelivered"


async def test_a_server_that_stops_ends_its_waiting_runs_too(tmp_path: Path) -> None:
    gate = Gate()
    owner = new_owner_id()
    provider = ScriptedProvider(calling("wait_here"))
    rules = SubagentRules(max_concurrent=1)
    async with on_disk(
        tmp_path, provider, gate, owner=owner, living={owner}, rules=rules
    ) as harness:
        await harness.spawn("runs")
        waiting = await harness.spawn("waits")
        await harness.subagents.steer(waiting.subagent_id, "keep me", caller=LOCAL)
    again = new_owner_id()
    async with on_disk(tmp_path, provider, gate, owner=again, living={again}) as harness:
        seen = await harness.subagents.get(waiting.subagent_id, caller=LOCAL)
        events = [r.event for r in await harness.log.read(seen.run_id)]
    assert seen.status == "lost"
    assert seen.outcome is not None
    assert [steer.text for steer in seen.outcome.undelivered] == ["keep me"]
    assert isinstance(events[-1], RunEnded)


class FullAtTheEnd(MemoryEventLog):
    """A log whose disk is full when a run wants to write its end."""

    def append(self, run_id: RunId, event: RunEvent) -> EventRecord:
        if isinstance(event, RunEnded):
            raise StorageError("no room")
        return super().append(run_id, event)


async def test_a_result_is_told_even_when_its_end_cannot_be_written() -> None:
    async with open_harness(ScriptedProvider("the answer"), log=FullAtTheEnd()) as harness:
        child = await harness.spawn("work")
        with anyio.fail_after(5):
            waited = await harness.subagents.wait([child.subagent_id], caller=LOCAL)
        [seen] = waited.subagents
        assert (seen.status, waited.done) == ("completed", True)
        assert seen.outcome is not None
        assert seen.outcome.text == "the answer"
        assert harness.board.reserve(child.session_id)


class SilentLauncher:
    """A launcher that ends its child without writing so."""

    name = "silent"

    @asynccontextmanager
    async def launch(self, spec: SubagentSpec, request: RunRequest) -> AsyncIterator[SubagentLink]:
        yield SilentLink()


class SilentLink:
    async def result(self) -> Outcome:
        return Outcome(status="completed", text="quietly")

    def steer(self, steer: object) -> None: ...
    def cancel(self, reason: str) -> None: ...


async def test_every_run_has_its_terminal_event_whatever_its_launcher_forgets() -> None:
    launchers = {"silent": SilentLauncher()}
    async with open_harness(ScriptedProvider(), launchers=launchers) as harness:
        child = await harness.spawn("work", isolation="silent")
        assert (await harness.ended(child.subagent_id)).text == "quietly"
        events = await harness.events(child.subagent_id)
    assert sum(isinstance(event, RunEnded) for event in events) == 1


class FullDisk(DiskCalls):
    """A disk with no room for what `fails` names."""

    def __init__(self, fails: Callable[[str], bool]) -> None:
        self._fails = fails

    def open(self, path: str, flags: int) -> int:
        if self._fails(path):
            raise OSError(28, "No space left on device", path)
        return super().open(path, flags)


async def test_a_spawn_that_fails_leaves_no_subagent_behind(tmp_path: Path) -> None:
    calls = FullDisk(lambda path: path.endswith("events.jsonl"))
    with Journals("process", calls=calls) as journals:
        log = FileEventLog(tmp_path, journals, alive=lambda owner: True)
        store = JournalSessionStore(tmp_path, journals, SessionIndex(tmp_path))
        async with open_harness(ScriptedProvider("x"), log=log, sessions=store) as harness:
            with pytest.raises(StorageError):
                await harness.spawn("work")
            assert await harness.subagents.list_subagents(caller=LOCAL) == []


async def test_a_wait_that_is_resumed_sees_what_ended_in_between() -> None:
    spec = SubagentSpec(task="x")
    request = RunRequest(run_id=RunId("run_x"), session_id="ses_x", subagent_id="sub_x")  # type: ignore[arg-type]
    child = Child(spec, request, 0.0)
    wait = Wait([child], "all", None)
    assert not await wait.until_satisfied(0.001)
    child.end(Outcome(status="completed"))
    assert await wait.until_satisfied(0)
