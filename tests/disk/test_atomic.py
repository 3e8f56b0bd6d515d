import errno
from pathlib import Path

import pytest

from bamboo_mcp.disk.atomic import remove_leftovers, replace_file
from bamboo_mcp.domain.errors import StorageError, StorageFull
from tests.disk.failing_calls import CountedCalls, FullDisk, SmallBites


class FailingAt(CountedCalls):
    def __init__(self, fail_at: int) -> None:
        super().__init__()
        self._fail_at = fail_at

    def at(self, name: str) -> None:
        super().at(name)
        if self.count == self._fail_at:
            raise OSError(errno.EIO, "injected")


def test_the_steps_are_in_the_order_that_survives_power_loss(tmp_path: Path) -> None:
    calls = CountedCalls()
    replace_file(tmp_path / "f", b"new", calls=calls)
    assert calls.names == ["open", "write", "sync", "replace", "sync_folder"]


def test_without_durability_nothing_waits_for_the_disk(tmp_path: Path) -> None:
    calls = CountedCalls()
    replace_file(tmp_path / "f", b"new", durable=False, calls=calls)
    assert calls.names == ["open", "write", "replace"]


def test_a_failure_at_any_step_leaves_the_old_or_the_new_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for step in range(1, 6):
        path.write_bytes(b"old")
        with pytest.raises(StorageError, match="f': injected"):
            replace_file(path, b"new", calls=FailingAt(step))
        # Only the last step, the sync of the folder, comes after the new one is in place.
        assert path.read_bytes() == (b"new" if step == 5 else b"old")
        assert [one.name for one in tmp_path.iterdir()] == ["f"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with pytest.raises(StorageFull, match="no room"):
        replace_file(path, b"n" * 100, calls=FullDisk(room=50))
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["f"]


def test_short_writes_are_completed(tmp_path: Path) -> None:
    replace_file(tmp_path / "f", b"0123456789", calls=SmallBites(3))
    assert (tmp_path / "f").read_bytes() == b"0123456789"


def test_a_replaced_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    replace_file(tmp_path / "f", b"secret")
    assert (tmp_path / "f").stat().st_mode & 0o077 == 0


def test_leftovers_of_this_file_alone_are_removed(tmp_path: Path) -> None:
    for name in ("f", ".f.0123.tmp", ".g.0123.tmp", "f.tmp"):
        (tmp_path / name).write_bytes(b"")
    remove_leftovers(tmp_path / "f")
    assert {one.name for one in tmp_path.iterdir()} == {"f", ".g.0123.tmp", "f.tmp"}
