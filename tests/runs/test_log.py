import logging
from pathlib import Path

import anyio
import pytest

from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.domain.errors import RunClosed, StorageFull
from bamboo_mcp.domain.events import EventRecord, RoundStarted, RunEnded, RunStarted, TextDelta
from bamboo_mcp.domain.ids import OwnerId, RunId, SessionId, new_run_id
from bamboo_mcp.domain.runs import Outcome
from bamboo_mcp.ports import EventLog
from bamboo_mcp.runs.listeners import until_it_raises
from bamboo_mcp.runs.log import FileEventLog
from bamboo_mcp.runs.memory_log import MemoryEventLog
from tests.disk.failing_calls import FullDisk

OURS, THEIRS = OwnerId("own_ours"), OwnerId("own_theirs")
ENDED = RunEnded(outcome=Outcome(status="completed", text="done"))


def started(owner: OwnerId = OURS) -> RunStarted:
    return RunStarted(session_id=SessionId("ses_1"), owner=owner)


def events_file(home: Path, run: RunId) -> Path:
    return home / "runs" / run / "events.jsonl"


async def test_another_process_reads_a_run_while_it_goes_on(tmp_path: Path) -> None:
    with Journals("process") as journals:
        writer = FileEventLog(tmp_path, journals)
        reader = FileEventLog(tmp_path, journals, alive=lambda owner: True, poll_s=0.005)
        run, seen, first = new_run_id(), list[int](), anyio.Event()
        writer.append(run, started())

        async def watch() -> None:
            async for record in reader.follow(run):
                seen.append(record.seq)
                first.set()

        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(watch)
                await first.wait()
                for round in range(5000):
                    writer.append(run, RoundStarted(round=round))
                writer.append(run, ENDED)
        assert seen == list(range(1, 5003))


async def test_following_a_run_ends_when_its_process_is_gone(tmp_path: Path) -> None:
    living = {THEIRS}
    with Journals("process") as journals:
        writer = FileEventLog(tmp_path, journals)
        reader = FileEventLog(tmp_path, journals, alive=living.__contains__, poll_s=0.005)
        run = new_run_id()
        writer.append(run, started(THEIRS))
        seen: list[int] = []
        with anyio.fail_after(5):
            async for record in reader.follow(run):
                seen.append(record.seq)
                if record.seq == 1:
                    writer.append(run, TextDelta(text="my last words"))
                    living.clear()
        assert seen == [1, 2]


async def test_a_run_left_unfinished_by_another_process_can_be_ended(tmp_path: Path) -> None:
    run = new_run_id()
    with Journals("process") as journals:
        FileEventLog(tmp_path, journals).append(run, started(THEIRS))
        with events_file(tmp_path, run).open("ab") as file:
            file.write(b"00000000 2 {torn")
        log = FileEventLog(tmp_path, journals)
        assert log.append(run, ENDED).seq == 2
        assert [record.seq for record in await log.read(run)] == [1, 2]
        with pytest.raises(RunClosed):
            FileEventLog(tmp_path, journals).append(run, TextDelta(text="late"))


async def test_older_events_than_memory_holds_come_from_disk(tmp_path: Path) -> None:
    with Journals("process") as journals:
        log, run = FileEventLog(tmp_path, journals), new_run_id()
        for round in range(3000):
            log.append(run, RoundStarted(round=round))
        assert [r.seq for r in await log.read(run, after=10, limit=5)] == [11, 12, 13, 14, 15]
        assert [r.seq for r in await log.read(run, after=2998)] == [2999, 3000]


async def test_runs_that_ended_are_forgotten_and_still_told(tmp_path: Path) -> None:
    with Journals("turn") as journals:
        log = FileEventLog(tmp_path, journals)
        runs = [new_run_id() for _ in range(100)]
        for run in runs:
            log.append(run, started())
            log.append(run, ENDED)
        assert len(log._open) == 0
        assert len(log._ended) < 50
        assert set(await log.runs()) == set(runs)
        for run in runs:
            assert log.exists(run)
            assert [record.seq async for record in log.follow(run)] == [1, 2]
            await log.flush(run)
            with pytest.raises(RunClosed):
                log.append(run, TextDelta(text="late"))


async def test_a_full_disk_is_said_and_the_events_before_are_there(tmp_path: Path) -> None:
    calls = FullDisk(99)
    with Journals("process", calls=calls) as journals:
        log, run = FileEventLog(tmp_path, journals), new_run_id()
        log.append(run, started())
        calls.full_at = 0
        with pytest.raises(StorageFull):
            log.append(run, TextDelta(text="x"))
        assert [record.seq for record in await log.read(run)] == [1]
        calls.full_at = 10_000
        assert log.append(run, ENDED).seq == 2
    with Journals("process") as journals:
        assert len(await FileEventLog(tmp_path, journals).read(run)) == 2


async def test_damaged_and_unknown_events_are_stepped_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = new_run_id()
    with Journals("process") as journals:
        log = FileEventLog(tmp_path, journals)
        log.append(run, started())
        log.append(run, TextDelta(text="ruined"))
        log._open[run].journal.append(b'{"at":1.0,"event":{"kind":"from_the_future"}}')
        log.append(run, ENDED)
        path = events_file(tmp_path, run)
        path.write_bytes(path.read_bytes().replace(b"ruined", b"rained"))
        with caplog.at_level(logging.WARNING), anyio.fail_after(5):
            fresh = FileEventLog(tmp_path, journals)
            assert [record.seq for record in await fresh.read(run)] == [1, 4]
            assert [record.seq async for record in fresh.follow(run)] == [1, 4]
    assert "line 3: the checksum does not match" in caplog.text
    assert "event 3 stepped over" in caplog.text


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_listeners_hear_everything_in_order_and_one_that_raises_stops_nobody(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Journals("process") as journals:
        log = MemoryEventLog() if kind == "memory" else FileEventLog(tmp_path, journals)
        one, other = new_run_id(), new_run_id()
        heard: list[tuple[RunId, int]] = []

        def bad(record: EventRecord) -> None:
            raise ZeroDivisionError

        def gives_up(record: EventRecord) -> None:
            raise SystemExit(3)

        def causes_another(record: EventRecord) -> None:
            if record.run_id == one:
                log.append(other, TextDelta(text="because of it"))

        log.listen(bad)
        until_it_raises(log.listen, gives_up)
        log.listen(causes_another)
        remove = log.listen(lambda record: heard.append((record.run_id, record.seq)))
        log.append(one, RoundStarted(round=1))
        log.append(one, RoundStarted(round=2))
        remove()
        log.append(one, RoundStarted(round=3))
        assert heard == [(one, 1), (other, 1), (one, 2), (other, 2)]
        assert caplog.text.count("bad at 0x") == len(heard) + 2, "the core's is kept"
        assert caplog.text.count("raised and is dropped") == 1, "a plugin's is not"


def test_both_logs_are_event_logs(tmp_path: Path) -> None:
    with Journals("process") as journals:
        logs: list[EventLog] = [MemoryEventLog(), FileEventLog(tmp_path, journals)]
        assert len(logs) == 2
