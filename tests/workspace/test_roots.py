from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bamboo_mcp.domain.errors import WorkspaceError, WorkspaceNotSet
from bamboo_mcp.workspace.roots import checked_root, relative_path, root_of
from tests.workspace.harness import context_of


def test_an_existing_folder_is_accepted_and_resolved(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert checked_root(tmp_path / "link") == (tmp_path / "real").resolve()


@pytest.mark.parametrize("path", ["/", "//", "/..", "", "/no/such/folder", "a\0b", "~", "~nobody9"])
def test_a_workspace_that_cannot_or_must_not_be_is_refused_by_name(path: str) -> None:
    with pytest.raises(WorkspaceError) as caught:
        checked_root(path)
    assert repr(path) in caught.value.message
    assert caught.value.hint


def test_a_file_and_the_home_folder_are_no_workspaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match="not a folder"):
        checked_root(tmp_path / "file")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(WorkspaceError, match="home folder"):
        checked_root(tmp_path)


def test_without_a_workspace_the_flag_to_add_is_said() -> None:
    with pytest.raises(WorkspaceNotSet) as caught:
        root_of(context_of(None))
    assert "--workspace PATH" in caught.value.hint


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        (".", "."),
        ("", "."),
        ("a/b", "a/b"),
        ("./a//b/", "a/b"),
        ("a/../b", "b"),
        ("a/b/../..", "."),
        ("~/x", "~/x"),
    ],
)
def test_a_relative_path_is_tidied_by_the_letter(path: str, inside: str, tmp_path: Path) -> None:
    assert relative_path(tmp_path, path) == inside


def test_an_absolute_path_inside_is_taken_also_through_a_link_to_the_root(tmp_path: Path) -> None:
    root = tmp_path / "real"
    root.mkdir()
    (tmp_path / "link").symlink_to("real")
    assert relative_path(root, str(root / "a" / "b")) == "a/b"
    assert relative_path(root, str(root)) == "."
    assert relative_path(root, str(tmp_path / "link" / "a")) == "a"


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../x",
        "a/../../x",
        "/etc/passwd",
        "/proc/self/root/etc/passwd",
        "a\0b",
        "\ud800",
        "x" * 5000,
    ],
)
def test_a_path_that_leads_out_or_is_none_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError):
        relative_path(tmp_path, path)


def test_a_folder_whose_name_begins_like_the_root_is_outside(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError):
        relative_path(tmp_path / "root", str(tmp_path / "root-other" / "x"))


@given(st.text(alphabet="ab./~\\ \u2024\uff0e", max_size=30))
def test_no_path_comes_out_with_a_way_up(path: str) -> None:
    root = Path("/work/space")
    try:
        inside = relative_path(root, path)
    except WorkspaceError:
        return
    assert not inside.startswith("/")
    assert ".." not in inside.split("/")
    assert os.path.normpath(root / inside).startswith("/work/space")
