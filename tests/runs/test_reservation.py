"""One unfinished run a session, over all processes: who is second learns the run that is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import pytest

from bamboo_mcp.agent.inbox import SteeringInbox
from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.domain.errors import RunBusy, StorageFull, UnknownId
from bamboo_mcp.domain.events import EventRecord, RunEvent
from bamboo_mcp.domain.ids import OwnerId, RunId, SessionId
from bamboo_mcp.domain.runs import Outcome, RunRequest
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.ports import Conversation, Emit, Inbox, Reserve
from bamboo_mcp.runs.board import RunBoard
from bamboo_mcp.runs.execution import RunExecution
from bamboo_mcp.runs.log import FileEventLog
from bamboo_mcp.sessions.index import SessionIndex
from bamboo_mcp.sessions.journal_store import JournalSessionStore

SESSION = SessionId("ses_1")
ONE, OTHER = OwnerId("own_one"), OwnerId("own_other")
DONE = Outcome(status="completed", text="done")


class FillsUp(FileEventLog):
    full = False

    def append(self, run_id: RunId, event: RunEvent) -> EventRecord:
        if self.full:
            raise StorageFull("no room is left")
        return super().append(run_id, event)


class CutOff(JournalSessionStore):
    """Once an edit is written calls `on_written`, and lets a cancellation arrive."""

    on_written: Callable[[], None] | None = None

    async def edit(
        self, session_id: SessionId, change: Callable[[SessionMeta], SessionMeta]
    ) -> SessionMeta:
        meta = await super().edit(session_id, change)
        if self.on_written is not None:
            self.on_written()
        await anyio.lowlevel.checkpoint()
        return meta


class Process:
    """One server process on a home folder, as far as runs are concerned."""

    def __init__(self, home: Path, journals: Journals, owner: OwnerId, living: set[OwnerId]):
        self.log = FillsUp(home, journals, alive=living.__contains__)
        self.sessions = CutOff(home, journals, SessionIndex(home))
        self.board = RunBoard(self.log, owner, living.__contains__)
        self.execution = RunExecution(
            log=self.log, sessions=self.sessions, owner=owner, board=self.board
        )

    async def create(self) -> None:
        await self.sessions.create(SessionMeta(session_id=SESSION, created_at=1.0))

    async def run(self, run_id: RunId) -> Outcome:
        request = RunRequest(run_id=run_id, session_id=SESSION)
        return await self.execution.execute(request, Finished(), SteeringInbox())


class Finished:
    async def run(
        self, request: RunRequest, conversation: Conversation, inbox: Inbox, emit: Emit
    ) -> Outcome:
        return DONE


@contextmanager
def two_processes(home: Path) -> Iterator[tuple[Process, Process, set[OwnerId]]]:
    living = {ONE, OTHER}
    with ExitStack() as stack:
        processes = [
            Process(home, stack.enter_context(Journals("process")), owner, living)
            for owner in (ONE, OTHER)
        ]
        yield processes[0], processes[1], living


async def test_a_second_request_learns_the_run_that_is_there_in_this_process_and_another(
    tmp_path: Path,
) -> None:
    with two_processes(tmp_path) as (one, other, _):
        await one.create()
        reserve: Reserve = one.execution.reserve
        run_id = await reserve(SESSION)
        for process in (one, other):
            with pytest.raises(RunBusy) as busy:
                await process.execution.reserve(SESSION)
            assert busy.value.run_id == run_id
            state = await process.board.state(run_id)
            assert (state.status, state.session_id, state.owner) == ("pending", SESSION, ONE)


async def test_each_reservation_is_a_run_of_its_own_and_frees_the_session_at_its_end(
    tmp_path: Path,
) -> None:
    with two_processes(tmp_path) as (one, other, _):
        await one.create()
        runs: list[RunId] = []
        for process in (one, other, one, other):
            run_id = await process.execution.reserve(SESSION)
            assert await process.run(run_id) == DONE
            runs.append(run_id)
            stored = (await process.sessions.load(SESSION, limit=0)).meta
            assert stored.run_id == run_id
        assert len(set(runs)) == 4
        for run_id in runs:
            assert [type(r.event).__name__ for r in await one.log.read(run_id)] == [
                "RunQueued",
                "RunStarted",
                "RunEnded",
            ]


async def test_of_many_at_once_in_two_processes_one_gets_the_session(tmp_path: Path) -> None:
    with two_processes(tmp_path) as (one, other, _):
        await one.create()
        won: list[RunId] = []
        lost: list[str] = []

        async def try_it(process: Process) -> None:
            try:
                won.append(await process.execution.reserve(SESSION))
            except RunBusy as busy:
                lost.append(busy.run_id)

        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(try_it, one)
                    group.start_soon(try_it, other)
        assert len(won) == 1
        assert len(lost) == 39
        stored = (await one.sessions.load(SESSION, limit=0)).meta
        assert stored.run_id == won[0]


async def test_the_session_of_a_dead_process_is_free_and_its_run_stays_lost(tmp_path: Path) -> None:
    with two_processes(tmp_path) as (one, other, living):
        await one.create()
        first = await one.execution.reserve(SESSION)
        with pytest.raises(RunBusy):
            await other.execution.reserve(SESSION)
        living.discard(ONE)
        second = await other.execution.reserve(SESSION)
        assert (await other.board.state(first)).status == "lost"
        assert (await other.board.state(second)).status == "pending"


async def test_a_late_end_of_an_older_run_does_not_end_the_newer_one(tmp_path: Path) -> None:
    with two_processes(tmp_path) as (one, other, living):
        await one.create()
        older = await one.execution.reserve(SESSION)
        living.discard(ONE)  # it only looked dead
        newer = await other.execution.reserve(SESSION)
        living.add(ONE)
        assert await one.run(older) == DONE
        assert (await other.board.state(newer)).status == "pending"
        with pytest.raises(RunBusy) as busy:
            await one.execution.reserve(SESSION)
        assert busy.value.run_id == newer
        assert (await one.sessions.load(SESSION, limit=0)).meta.run_id == newer


async def test_a_run_that_is_reserved_and_never_begins_is_ended_and_frees_the_session(
    tmp_path: Path,
) -> None:
    with two_processes(tmp_path) as (one, other, _):
        await one.create()
        run_id = await one.execution.reserve(SESSION)
        refused = Outcome(status="cancelled", error_code="cancelled", error="changed my mind")
        one.execution.end_unstarted(RunRequest(run_id=run_id, session_id=SESSION), refused)
        assert (await other.board.state(run_id)).status == "cancelled"
        assert await other.execution.reserve(SESSION) != run_id


async def test_an_unknown_session_cannot_be_reserved_and_nothing_stays_busy(tmp_path: Path) -> None:
    with two_processes(tmp_path) as (one, _, _):
        for _ in range(2):
            with pytest.raises(UnknownId):
                await one.execution.reserve(SESSION)
        await one.create()
        assert await one.execution.reserve(SESSION)


async def test_a_reservation_that_cannot_be_written_gives_the_session_back(tmp_path: Path) -> None:
    with two_processes(tmp_path) as (one, other, _):
        await one.create()
        first = await one.execution.reserve(SESSION)
        await one.run(first)
        one.log.full = True
        with pytest.raises(StorageFull):
            await one.execution.reserve(SESSION)
        stored = (await one.sessions.load(SESSION, limit=0)).meta
        assert (stored.run_id, stored.owner) == (first, ONE)
        assert await other.execution.reserve(SESSION)


async def test_a_reservation_that_is_cut_off_in_the_middle_gives_the_session_back(
    tmp_path: Path,
) -> None:
    with two_processes(tmp_path) as (one, other, _):
        await one.create()
        first = await one.execution.reserve(SESSION)
        await one.run(first)
        with anyio.CancelScope() as scope:
            one.sessions.on_written = scope.cancel
            await one.execution.reserve(SESSION)
        one.sessions.on_written = None
        assert scope.cancelled_caught
        stored = (await one.sessions.load(SESSION, limit=0)).meta
        assert (stored.run_id, stored.owner) == (first, ONE)
        for process in (other, one):
            await process.run(await process.execution.reserve(SESSION))
