from __future__ import annotations

import os
from pathlib import Path

import pytest

from bamboo_mcp.domain.errors import WorkspaceError
from bamboo_mcp.workspace.resolving_door import ResolvingDoor


def let(before: os.stat_result | None) -> None:
    """Anything may be written."""


def door_of(tmp_path: Path) -> ResolvingDoor:
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    (root / "d" / "file").write_text("inside", encoding="utf-8")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("outside", encoding="utf-8")
    return ResolvingDoor(root)


def test_files_are_read_listed_and_replaced(tmp_path: Path) -> None:
    door = door_of(tmp_path)
    file, status = door.open_file("d/file")
    with file:
        assert file.read() == b"inside"
    assert status.st_size == 6
    door.replace("d/file", b"new", let)
    door.replace("e/f/made", b"x", let)
    assert door.look("d/file").st_size == 3
    assert {entry.name: entry.kind for entry in door.entries(".")} == {"d": "folder", "e": "folder"}
    assert [entry.name for entry in door.entries("e/f")] == ["made"]
    with door.folder_for_child("d") as folder:
        assert folder == str(tmp_path / "root" / "d")


def test_links_that_lead_out_devices_and_special_files_are_refused(tmp_path: Path) -> None:
    door = door_of(tmp_path)
    (tmp_path / "root" / "out").symlink_to("../outside")
    (tmp_path / "root" / "link").symlink_to("d/file")
    os.mkfifo(tmp_path / "root" / "fifo")
    for path in ("out/secret", "nul", "d/COM1.txt", "aux ", "fifo", "d"):
        with pytest.raises(WorkspaceError):
            door.open_file(path)
        with pytest.raises(WorkspaceError):
            door.replace(path, b"x", let)
    with pytest.raises(WorkspaceError):
        door.entries("out")
    with pytest.raises(WorkspaceError, match="symbolic link"):
        door.replace("link", b"x", let)
    with pytest.raises(WorkspaceError), door.folder_for_child("d/file"):
        pass
    assert (tmp_path / "outside" / "secret").read_text(encoding="utf-8") == "outside"
