import errno
from pathlib import Path
from threading import Event

import anyio
import anyio.lowlevel
import pytest

from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.domain.errors import StorageError
from tests.disk.failing_calls import CountedCalls


class SlowSync(CountedCalls):
    """Holds the first sync until `go` is set, and says that it is there."""

    def __init__(self) -> None:
        super().__init__()
        self.there = Event()
        self.go = Event()

    def sync(self, fd: int) -> None:
        super().sync(fd)
        self.there.set()
        assert self.go.wait(10)


class BrokenSync(CountedCalls):
    broken = True

    def sync(self, fd: int) -> None:
        if self.broken:
            raise OSError(errno.EIO, "the disk is gone")
        super().sync(fd)


async def test_durability_process_never_waits_for_the_disk(tmp_path: Path) -> None:
    calls = CountedCalls()
    with Journals("process", calls=calls) as journals:
        journal = journals.create(tmp_path / "f", "test", b"{}")
        journal.append(b"{}")
        await journals.flush(journal)
        await journals.flush_file(tmp_path / "f")
    assert "sync" not in calls.names


async def test_durability_turn_syncs_the_file_and_its_new_folders_once(tmp_path: Path) -> None:
    calls = CountedCalls()
    with Journals("turn", calls=calls) as journals:
        journal = journals.create(tmp_path / "new" / "f", "test", b"{}")
        journal.append(b"{}")
        assert "sync" not in calls.names
        await journals.flush(journal)
        assert calls.names.count("sync") == 1
        assert calls.names.count("sync_folder") == 2
        await journals.flush(journal)
        assert calls.names.count("sync") == 1, "nothing new, nothing to sync"
        journal.append(b"{}")
        await journals.flush(journal)
        assert calls.names.count("sync") == 2
        assert calls.names.count("sync_folder") == 2


def test_durability_always_syncs_before_an_append_returns(tmp_path: Path) -> None:
    calls = CountedCalls()
    with Journals("always", calls=calls) as journals:
        journal = journals.create(tmp_path / "f", "test", b"{}")
        for n in range(3):
            before = calls.names.count("sync")
            journal.append(b"%d" % n)
            assert calls.names.count("sync") == before + 1


async def test_all_who_flush_at_the_same_time_share_the_syncs(tmp_path: Path) -> None:
    calls = SlowSync()
    with Journals("turn", calls=calls) as journals:
        first = journals.create(tmp_path / "first", "test", b"{}")
        other = journals.create(tmp_path / "other", "test", b"{}")
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(journals.flush, first)
                while not calls.there.is_set():
                    await anyio.lowlevel.checkpoint()
                for _ in range(20):
                    group.start_soon(journals.flush, other)
                await anyio.lowlevel.checkpoint()
                calls.go.set()
        assert calls.names.count("sync") == 2


async def test_a_cancelled_flush_leaves_at_once_and_the_others_still_get_theirs(
    tmp_path: Path,
) -> None:
    calls = SlowSync()
    done = False

    async def wait(journals: Journals) -> None:
        nonlocal done
        await journals.flush(journal)
        done = True

    with Journals("turn", calls=calls) as journals:
        journal = journals.create(tmp_path / "f", "test", b"{}")
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                with anyio.CancelScope() as leader:
                    async with anyio.create_task_group() as inner:
                        inner.start_soon(journals.flush, journal)
                        while not calls.there.is_set():
                            await anyio.lowlevel.checkpoint()
                        group.start_soon(wait, journals)
                        await anyio.lowlevel.checkpoint()
                        leader.cancel()
                assert not done
                calls.go.set()
    assert done


async def test_a_flush_cancelled_before_it_began_blocks_nobody(tmp_path: Path) -> None:
    with Journals("turn") as journals:
        journal = journals.create(tmp_path / "f", "test", b"{}")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await journals.flush(journal)
        with anyio.fail_after(5):
            await journals.flush(journal)


async def test_a_sync_that_failed_once_is_not_believed_later(tmp_path: Path) -> None:
    calls = BrokenSync()
    with Journals("turn", calls=calls) as journals:
        bad = journals.create(tmp_path / "bad", "test", b"{}")
        with pytest.raises(StorageError, match="bad': the disk is gone"):
            await journals.flush(bad)
        calls.broken = False
        bad.append(b"{}")
        with pytest.raises(StorageError, match="the disk is gone"):
            await journals.flush(bad)
        good = journals.create(tmp_path / "good", "test", b"{}")
        await journals.flush(good)


async def test_a_deleted_journal_has_nothing_to_flush(tmp_path: Path) -> None:
    with Journals("turn") as journals:
        journal = journals.create(tmp_path / "f", "test", b"{}")
        (tmp_path / "f").unlink()
        with anyio.fail_after(5):
            await journals.flush(journal)
            await journals.flush_file(tmp_path / "f")
