import os
import subprocess
import sys
from pathlib import Path

import pytest

from bamboo_mcp.disk.layout import is_plain, owners_folder
from bamboo_mcp.disk.locks import hold_owner, index_lock, lock, owner_alive, try_lock, unlock
from bamboo_mcp.domain.errors import StorageError
from bamboo_mcp.domain.ids import OwnerId, new_owner_id

HOLDER = """
import sys
from pathlib import Path
from bamboo_mcp.disk.locks import hold_owner
with hold_owner(Path(sys.argv[1])) as owner:
    print(owner, flush=True)
    sys.stdin.read()
"""


def holder(home: Path) -> tuple["subprocess.Popen[str]", OwnerId]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, OwnerId(process.stdout.readline().strip())


def test_our_own_owner_lives_until_its_block_ends(tmp_path: Path) -> None:
    with hold_owner(tmp_path) as owner:
        for _ in range(3):
            assert owner_alive(tmp_path, owner), "looking does not disturb"
    assert not owner_alive(tmp_path, owner)
    assert list(owners_folder(tmp_path).iterdir()) == []


def test_two_owners_live_side_by_side(tmp_path: Path) -> None:
    with hold_owner(tmp_path) as one, hold_owner(tmp_path) as other:
        assert one != other
        assert owner_alive(tmp_path, one)
        assert owner_alive(tmp_path, other)


def test_an_owner_nobody_ever_was_is_dead(tmp_path: Path) -> None:
    assert not owner_alive(tmp_path, new_owner_id())
    assert not owner_alive(tmp_path, OwnerId("../../etc/passwd"))


def test_a_killed_process_is_dead_at_once_and_its_file_is_swept(tmp_path: Path) -> None:
    process, owner = holder(tmp_path)
    with process:
        assert owner_alive(tmp_path, owner)
        with hold_owner(tmp_path):
            assert owner_alive(tmp_path, owner), "a sweep spares the living"
        process.kill()
        process.wait(10)
        assert not owner_alive(tmp_path, owner)
        assert (owners_folder(tmp_path) / f"{owner}.lock").exists()
        with hold_owner(tmp_path) as ours:
            assert [one.stem for one in owners_folder(tmp_path).iterdir()] == [ours]


def test_a_lock_that_stays_taken_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    path = str(tmp_path / "f")
    one = os.open(path, os.O_RDWR | os.O_CREAT)
    other = os.open(path, os.O_RDWR)
    try:
        assert try_lock(one)
        assert not try_lock(other)
        with pytest.raises(StorageError, match=r"has held the lock of .*f' for 0.02 s"):
            lock(other, path, patience_s=0.02)
        unlock(one)
        lock(other, path)
    finally:
        os.close(one)
        os.close(other)


def test_the_index_lock_is_taken_by_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "index.lock"
    with index_lock(path):
        with pytest.raises(StorageError, match="has held"):
            with index_lock(path, patience_s=0.05):
                raise AssertionError("two had it")
    with index_lock(path):
        pass


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a.b", "ä", "a\n", "a" * 81, "\0"])
def test_what_could_leave_its_folder_is_no_id(name: str) -> None:
    assert not is_plain(name)
