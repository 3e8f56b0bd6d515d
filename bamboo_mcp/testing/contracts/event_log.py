"""What every `EventLog` promises, as checks to run over an implementation."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import anyio
import anyio.lowlevel

from bamboo_mcp.domain.errors import RunClosed, UnknownId
from bamboo_mcp.domain.events import (
    EventRecord,
    RoundStarted,
    RunEnded,
    RunStarted,
    TextDelta,
    ToolStarted,
)
from bamboo_mcp.domain.ids import CallId, RunId, SessionId, new_run_id
from bamboo_mcp.domain.runs import Outcome
from bamboo_mcp.ports import EventLog
from bamboo_mcp.testing.contracts import raising

_ENDED = RunEnded(outcome=Outcome(status="completed", text="done"))


class EventLogContract:
    """Override `make`. `many` is how many events the long checks write."""

    many = 3000

    def make(self) -> EventLog:
        raise NotImplementedError("return a new, empty event log")

    async def test_numbers_count_from_one_without_gaps_and_run_by_run(self) -> None:
        log, one, other = self.make(), new_run_id(), new_run_id()
        for round in range(1, 6):
            assert log.append(one, RoundStarted(round=round)).seq == round
        assert log.append(other, RoundStarted(round=1)).seq == 1

    async def test_what_was_appended_is_read_back_as_it_was(self) -> None:
        log, run = self.make(), new_run_id()
        events = (
            RunStarted(session_id=SessionId("ses_1"), model="scripted:x"),
            ToolStarted(call_id=CallId("c"), tool="read_file", arguments={"path": "ä\n\x00\u2028"}),
            TextDelta(text="x" * 300_000),
            _ENDED,
        )
        written = [log.append(run, event) for event in events]
        assert list(await log.read(run)) == written
        assert [record.event for record in written] == list(events)
        assert {record.run_id for record in written} == {run}

    async def test_half_a_character_does_not_stop_a_run(self) -> None:
        log, run = self.make(), new_run_id()
        log.append(run, TextDelta(text="file \udcff.txt"))
        log.append(run, TextDelta(text="next"))
        assert [record.seq for record in await log.read(run)] == [1, 2]

    async def test_read_goes_on_behind_a_number_and_stops_at_the_limit(self) -> None:
        log, run = self.make(), new_run_id()
        for round in range(20):
            log.append(run, RoundStarted(round=round))
        assert [r.seq for r in await log.read(run, after=5, limit=3)] == [6, 7, 8]
        assert [r.seq for r in await log.read(run, after=18)] == [19, 20]
        assert list(await log.read(run, after=20)) == []
        assert list(await log.read(run, after=999)) == []
        assert list(await log.read(run, limit=0)) == []

    async def test_nothing_follows_the_end_of_a_run(self) -> None:
        log, run = self.make(), new_run_id()
        log.append(run, _ENDED)
        with raising(RunClosed):
            log.append(run, TextDelta(text="late"))
        with raising(RunClosed):
            log.append(run, _ENDED)
        assert len(await log.read(run)) == 1

    async def test_an_unknown_run_is_said_to_be_unknown(self) -> None:
        log = self.make()
        for run in (new_run_id(), RunId("../../etc/passwd"), RunId("")):
            with raising(UnknownId):
                await log.read(run)
            with raising(UnknownId):
                await anext(log.follow(run))

    async def test_a_follower_gets_the_past_then_the_present_then_ends(self) -> None:
        log, run = self.make(), new_run_id()
        log.append(run, RoundStarted(round=1))
        seen: list[EventRecord] = []
        first = anyio.Event()

        async def watch() -> None:
            async for record in log.follow(run):
                seen.append(record)
                first.set()

        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(watch)
                await first.wait()
                log.append(run, RoundStarted(round=2))
                log.append(run, _ENDED)
        assert [record.seq for record in seen] == [1, 2, 3]
        assert isinstance(seen[-1].event, RunEnded)

    async def test_a_follower_resumes_behind_its_cursor(self) -> None:
        log, run = self.make(), new_run_id()
        for round in range(9):
            log.append(run, RoundStarted(round=round))
        log.append(run, _ENDED)
        with anyio.fail_after(10):
            assert [r.seq async for r in log.follow(run, after=7)] == [8, 9, 10]
            assert [r.seq async for r in log.follow(run, after=10)] == []

    async def test_a_slow_follower_slows_nobody_and_misses_nothing(self) -> None:
        log, run = self.make(), new_run_id()
        log.append(run, RoundStarted(round=0))
        with anyio.fail_after(20):
            # aclosing: the slow one is left in the middle by the first anext below.
            async with aclosing(_generator(log, run)) as slow:
                assert (await anext(slow)).seq == 1
                for round in range(1, self.many):
                    log.append(run, RoundStarted(round=round))
                log.append(run, _ENDED)
                quick = [record.seq async for record in log.follow(run)]
                rest = [record.seq async for record in slow]
        assert quick == list(range(1, self.many + 2))
        assert rest == list(range(2, self.many + 2))

    async def test_many_followers_at_different_places_all_see_the_same(self) -> None:
        log, run = self.make(), new_run_id()
        seen: dict[int, list[int]] = {}
        log.append(run, RoundStarted(round=0))

        async def watch(after: int) -> None:
            seen[after] = [record.seq async for record in log.follow(run, after=after)]

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                for after in range(20):
                    group.start_soon(watch, after)
                for round in range(1, 50):
                    log.append(run, RoundStarted(round=round))
                    await anyio.lowlevel.checkpoint()
                log.append(run, _ENDED)
        assert seen == {after: list(range(after + 1, 52)) for after in range(20)}

    async def test_flush_returns_during_a_run_and_after_it(self) -> None:
        log, run = self.make(), new_run_id()
        with anyio.fail_after(10):
            log.append(run, RoundStarted(round=1))
            await log.flush(run)
            log.append(run, _ENDED)
            await log.flush(run)

    async def test_a_follower_that_is_cancelled_leaves_nothing_behind(self) -> None:
        log, run = self.make(), new_run_id()
        log.append(run, RoundStarted(round=1))
        async with anyio.create_task_group() as group:
            group.start_soon(_drain, log, run)
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        log.append(run, _ENDED)
        assert len(await log.read(run)) == 2


def _generator(log: EventLog, run: RunId) -> Any:
    """The port says iterator; that it can be closed is what `async for` relies on too."""
    return log.follow(run)


async def _drain(log: EventLog, run: RunId) -> None:
    async for _ in log.follow(run):
        pass
