from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bamboo_mcp.domain.errors import WorkspaceError

if sys.platform == "win32":
    pytest.skip("directory descriptors are POSIX's", allow_module_level=True)

from bamboo_mcp.workspace.beneath import (
    FOLDER,
    OpenBeneath,
    best_way,
    open_by_components,
    open_by_kernel,
)
from bamboo_mcp.workspace.descriptor_door import DescriptorDoor

WAYS = [
    pytest.param(
        open_by_kernel,
        id="openat2",
        marks=pytest.mark.skipif(best_way() is not open_by_kernel, reason="no openat2 here"),
    ),
    pytest.param(open_by_components, id="components"),
]
both_ways = pytest.mark.parametrize("way", WAYS)

TRIES = 1000
SWAPPER = """
import os
print("swapping", flush=True)
while True:
    os.rename("d", "real")
    os.symlink("../outside", "d")
    os.unlink("d")
    os.rename("real", "d")
"""


@contextmanager
def door_of(tmp_path: Path, way: OpenBeneath) -> Iterator[DescriptorDoor]:
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True, exist_ok=True)
    (root / "d" / "secret").write_text("inside", encoding="utf-8")
    (tmp_path / "outside").mkdir(exist_ok=True)
    (tmp_path / "outside" / "secret").write_text("outside", encoding="utf-8")
    descriptor = os.open(root, FOLDER)
    try:
        yield DescriptorDoor(root, descriptor, way)
    finally:
        os.close(descriptor)


def content(door: DescriptorDoor, path: str) -> bytes:
    file, _ = door.open_file(path)
    with file:
        return file.read()


def let(before: os.stat_result | None) -> None:
    """Anything may be written."""


@both_ways
def test_links_that_stay_inside_are_followed(tmp_path: Path, way: OpenBeneath) -> None:
    with door_of(tmp_path, way) as door:
        root = tmp_path / "root"
        (root / "e" / "f").mkdir(parents=True)
        (root / "file").symlink_to("d/secret")
        (root / "folder").symlink_to("d/./")
        (root / "e" / "f" / "up").symlink_to("../../d/../file")
        for path in ("d/secret", "file", "folder/secret", "e/f/up"):
            assert content(door, path) == b"inside"
        assert stat.S_ISREG(door.look("file").st_mode)
        assert {entry.name for entry in door.entries("folder")} == {"secret"}


@both_ways
@pytest.mark.parametrize(
    "target",
    [
        "../outside/secret",
        "/etc/passwd",
        "/proc/self/root/etc/passwd",
        "d/../../outside/secret",
        "me",
    ],
)
def test_links_that_lead_out_or_in_a_circle_are_refused(
    tmp_path: Path, way: OpenBeneath, target: str
) -> None:
    with door_of(tmp_path, way) as door:
        (tmp_path / "root" / "me").symlink_to(target)
        for refused in (door.open_file, door.look, door.entries):
            with pytest.raises(WorkspaceError, match="'me'"):
                refused("me")


@both_ways
def test_a_link_to_a_folder_outside_lets_nothing_through(tmp_path: Path, way: OpenBeneath) -> None:
    with door_of(tmp_path, way) as door:
        (tmp_path / "root" / "out").symlink_to("../outside")
        (tmp_path / "root" / "out2").symlink_to(tmp_path / "outside")
        for folder in ("out", "out2"):
            with pytest.raises(WorkspaceError, match="leads out"):
                door.open_file(f"{folder}/secret")
            with pytest.raises(WorkspaceError):
                door.entries(folder)
            with pytest.raises(WorkspaceError):
                door.replace(f"{folder}/new/file", b"x", let)
            with pytest.raises(WorkspaceError), door.folder_for_child(folder):
                pass
        assert os.listdir(tmp_path / "outside") == ["secret"]  # noqa: PTH208


@both_ways
def test_a_magic_link_of_proc_is_not_followed(way: OpenBeneath) -> None:
    if sys.platform != "linux":
        return
    descriptor = os.open("/proc", FOLDER)
    try:
        for path in ("self/root/etc/passwd", "self/cwd", "self/fd/0"):
            with pytest.raises(OSError):
                os.close(way(descriptor, path, os.O_RDONLY))
    finally:
        os.close(descriptor)


@both_ways
def test_a_swapped_link_never_leads_out(tmp_path: Path, way: OpenBeneath) -> None:
    with door_of(tmp_path, way) as door:
        swapper = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", SWAPPER],
            cwd=tmp_path / "root",
            stdout=subprocess.PIPE,
        )
        seen: set[bytes] = set()
        try:
            assert swapper.stdout is not None
            assert swapper.stdout.readline() == b"swapping\n"
            for _ in range(TRIES):
                for attempt in attempts(door):
                    try:
                        found = attempt()
                    except WorkspaceError:
                        found = b"refused"
                    seen.add(found)
        finally:
            swapper.kill()
            swapper.communicate()
    # Whether a try finds the folder, the link or nothing is the race; what it may not do is fixed.
    assert seen <= {b"inside", b"written", b"refused"}
    assert (tmp_path / "outside" / "secret").read_text(encoding="utf-8") == "outside"
    assert os.listdir(tmp_path / "outside") == ["secret"]  # noqa: PTH208


def attempts(door: DescriptorDoor) -> list[Callable[[], bytes]]:
    def write() -> bytes:
        door.replace("d/written", b"x", let)
        return b"written"

    def read() -> bytes:
        return content(door, "d/secret")

    return [read, read, read, read, write]


@both_ways
@pytest.mark.timeout(5)
def test_fifos_sockets_and_devices_are_refused_at_once(tmp_path: Path, way: OpenBeneath) -> None:
    with door_of(tmp_path, way) as door:
        root = tmp_path / "root"
        os.mkfifo(root / "fifo")
        with pytest.raises(WorkspaceError, match="FIFO"):
            door.open_file("fifo")
        with pytest.raises(WorkspaceError, match="FIFO"):
            door.replace("fifo", b"x", let)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(os.path.relpath(root / "socket"))
            with pytest.raises(WorkspaceError, match="socket"):
                door.open_file("socket")
        try:
            os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        except PermissionError:
            return
        with pytest.raises(WorkspaceError, match="device"):
            door.open_file("null")
        with pytest.raises(WorkspaceError, match="device"):
            door.replace("null", b"x", let)


@both_ways
def test_a_replaced_file_keeps_its_mode_and_a_new_one_follows_the_umask(
    tmp_path: Path, way: OpenBeneath
) -> None:
    with door_of(tmp_path, way) as door:
        script = tmp_path / "root" / "script"
        script.write_text("old", encoding="utf-8")
        script.chmod(0o750)
        door.replace("script", b"new", let)
        assert script.read_bytes() == b"new"
        assert stat.S_IMODE(script.stat().st_mode) == 0o750
        umask = os.umask(0o022)
        try:
            door.replace("deep/er/new", b"x", let)
        finally:
            os.umask(umask)
        new = tmp_path / "root" / "deep" / "er" / "new"
        assert stat.S_IMODE(new.stat().st_mode) == 0o644
        assert new.stat().st_nlink == 1


@both_ways
def test_a_refused_write_leaves_nothing_behind(tmp_path: Path, way: OpenBeneath) -> None:
    class Refused(Exception):
        pass

    looks = 0

    def refuse_late(before: os.stat_result | None) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            raise Refused

    with door_of(tmp_path, way) as door:
        with pytest.raises(Refused):
            door.replace("d/secret", b"new", refuse_late)
        assert {entry.name for entry in door.entries("d")} == {"secret"}
        assert content(door, "d/secret") == b"inside"


@both_ways
def test_a_file_that_appears_while_a_new_one_is_written_is_not_overwritten(
    tmp_path: Path, way: OpenBeneath
) -> None:
    looks = 0

    def appear(before: os.stat_result | None) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            assert before is None
            (tmp_path / "root" / "new").write_text("somebody else", encoding="utf-8")

    with door_of(tmp_path, way) as door:
        with pytest.raises(WorkspaceError):
            door.replace("new", b"mine", appear)
        assert content(door, "new") == b"somebody else"
        assert {entry.name for entry in door.entries(".")} == {"d", "new"}


@both_ways
def test_a_write_through_a_link_is_refused_naming_its_target(
    tmp_path: Path, way: OpenBeneath
) -> None:
    with door_of(tmp_path, way) as door:
        (tmp_path / "root" / "link").symlink_to("d/secret")
        with pytest.raises(WorkspaceError, match="d/secret"):
            door.replace("link", b"x", let)
        assert content(door, "d/secret") == b"inside"


@both_ways
def test_a_hard_link_is_replaced_and_what_it_shared_stays(tmp_path: Path, way: OpenBeneath) -> None:
    with door_of(tmp_path, way) as door:
        os.link(tmp_path / "outside" / "secret", tmp_path / "root" / "hard")
        door.replace("hard", b"changed", let)
        assert (tmp_path / "outside" / "secret").read_text(encoding="utf-8") == "outside"


@both_ways
def test_missing_files_and_files_used_as_folders_are_said(tmp_path: Path, way: OpenBeneath) -> None:
    with door_of(tmp_path, way) as door:
        with pytest.raises(WorkspaceError, match="'d/none' does not exist"):
            door.open_file("d/none")
        with pytest.raises(WorkspaceError, match="not a folder"):
            door.open_file("d/secret/x")
        with pytest.raises(WorkspaceError, match="is a folder"):
            door.open_file("d")
        with pytest.raises(WorkspaceError, match="not a folder"):
            door.entries("d/secret")
        with pytest.raises(WorkspaceError, match="is a folder"):
            door.replace(".", b"x", let)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@both_ways
def test_no_descriptor_is_left_open(tmp_path: Path, way: OpenBeneath) -> None:
    if sys.platform != "linux":
        return
    with door_of(tmp_path, way) as door:
        (tmp_path / "root" / "out").symlink_to("../outside")
        before = descriptors()
        content(door, "d/secret")
        door.look("d")
        door.entries("d", details=True)
        door.replace("d/new/file", b"x", let)
        for path in ("out/secret", "none/x", "d", "d/secret/x"):
            with pytest.raises(WorkspaceError):
                door.open_file(path)
        with door.folder_for_child("d"):
            pass
        assert descriptors() == before
