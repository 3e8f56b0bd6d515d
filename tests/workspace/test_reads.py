from __future__ import annotations

from pathlib import Path

import pytest

from bamboo_mcp.domain.errors import WorkspaceError
from bamboo_mcp.workspace.reads import ReadMarks
from tests.workspace.harness import context_of


def test_marks_are_bounded_and_the_least_used_goes_first(tmp_path: Path) -> None:
    marks = ReadMarks(limit=2)
    context = context_of(tmp_path)
    status = tmp_path.stat()
    marks.note(context, tmp_path, "a", status)
    marks.note(context, tmp_path, "b", status)
    marks.require(context, tmp_path, "a", status)
    marks.note(context, tmp_path, "c", status)
    marks.require(context, tmp_path, "a", status)
    with pytest.raises(WorkspaceError, match="'b' exists and has not been read"):
        marks.require(context, tmp_path, "b", status)


def test_the_same_path_in_another_workspace_is_another_file(tmp_path: Path) -> None:
    marks = ReadMarks()
    context = context_of(tmp_path)
    marks.note(context, tmp_path, "a", tmp_path.stat())
    with pytest.raises(WorkspaceError):
        marks.require(context, tmp_path / "other", "a", tmp_path.stat())


def test_a_new_file_needs_no_mark(tmp_path: Path) -> None:
    ReadMarks().require(context_of(tmp_path), tmp_path, "a", None)
