from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.workspace.globs import Glob
from bamboo_mcp.workspace.tools import workspace_tools
from tests.workspace.harness import Workspace


def plant(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x", encoding="utf-8")


async def test_a_folder_is_listed_folders_first_with_sizes_and_link_targets(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    plant(workspace.root, "b/deep/x", "b/a", "a", "node_modules/m")
    (workspace.root / "big").write_bytes(b"x" * 5000)
    (workspace.root / "link").symlink_to("../outside")
    os.mkfifo(workspace.root / "fifo")
    assert (await workspace.text("list_directory")).split("\n") == [
        "b/",
        "node_modules/",
        "a  1 B",
        "big  4.9 KiB",
        "fifo  [device, FIFO or socket]",
        "link -> ../outside",
    ]
    deeper = await workspace.text("list_directory", path="b", depth=2)
    assert deeper.split("\n") == ["deep/", "  x  1 B", "a  1 B"]
    assert "  m" not in await workspace.text("list_directory", depth=3)


async def test_a_crowded_folder_is_cut_at_a_line_and_said(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    plant(workspace.root, *(f"{number:04}" for number in range(1100)))
    text = await workspace.text("list_directory")
    assert "0999  1 B\n[the first 1000 names" in text
    assert "\n1000" not in text
    small = Workspace(tmp_path, workspace_tools(max_result_chars=2000))
    text = await small.text("list_directory")
    assert len(text) <= 2000
    assert text.split("\n")[-1].startswith("[the first ")


async def test_an_empty_folder_and_a_missing_one_are_said(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert await workspace.text("list_directory") == "[. is empty]"
    assert "does not exist" in await workspace.failure("list_directory", path="none")
    assert "does not exist" in await workspace.failure("find_files", pattern="*", path="none")
    assert await workspace.text("find_files", pattern="*") == "[no file matches]"


async def test_files_are_found_in_name_order_and_leftovers_skipped(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    plant(workspace.root, "z.py", "a/b/t.py", "a/t.js", ".git/g.py", "a/node_modules/n.py", ".h.py")
    (workspace.root / "linked").symlink_to("a")
    (workspace.root / "out").symlink_to(workspace.outside)
    assert (await workspace.text("find_files", pattern="*.py")).split("\n") == [
        ".h.py",
        "a/b/t.py",
        "z.py",
    ]
    assert await workspace.text("find_files", pattern="b/*", path="a") == "a/b/t.py"
    assert await workspace.text("find_files", pattern="*.py", path="a/node_modules") == (
        "a/node_modules/n.py"
    )
    assert "secret" not in await workspace.text("find_files", pattern="**")


async def test_at_most_a_thousand_files_are_given(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    plant(workspace.root, *(f"{number:04}.c" for number in range(1001)))
    lines = (await workspace.text("find_files", pattern="*.c")).split("\n")
    assert lines[999] == "0999.c"
    assert lines[1000].startswith("[the first 1000 files")


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.py", "a/b.py", True),
        ("*.py", "a.pyc", False),
        ("a/*.py", "a/b.py", True),
        ("a/*.py", "a/b/c.py", False),
        ("a/**/*.py", "a/b.py", True),
        ("a/**/*.py", "a/b/c/d.py", True),
        ("**/x/**", "a/x/b/c", True),
        ("**/x/**", "a/x", False),
        ("**", "a/b", True),
        ("./a/b", "a/b", True),
        ("*.{js,ts{,x}}", "a.tsx", True),
        ("*.{js,ts{,x}}", "a.ts", True),
        ("*.{js,ts{,x}}", "a.tsxx", False),
        ("[!a]?", "bc", True),
        ("[!a]?", "ac", False),
        ("A", "a", False),
        ("{a}", "{a}", True),
    ],
)
def test_globs_match_as_people_expect(pattern: str, path: str, matches: bool) -> None:
    assert Glob(pattern).matches(path) is matches


@pytest.mark.parametrize("pattern", ["../*", "/etc/*", "a/../b", "{a,b}" * 12, "a/" * 40, "/"])
def test_globs_that_lead_out_or_explode_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidInput):
        Glob(pattern)


async def test_a_hostile_glob_is_fast(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    plant(workspace.root, "a" * 200)
    with anyio.fail_after(5):
        await workspace.text("find_files", pattern="*a" * 100 + "b")
        await workspace.text("find_files", pattern="**/" * 30 + "b")


async def test_a_deep_tree_does_not_overflow(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    place = workspace.root
    for _ in range(150):
        place = place / "d"
    place.mkdir(parents=True)
    assert "no file matches" in await workspace.text("find_files", pattern="*")


async def test_files_can_be_ranked_by_size_or_by_time_and_are_counted(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for name, size, moment in (("a.py", 10, 300), ("b.py", 5000, 100), ("c.py", 200, 200)):
        (workspace.root / name).write_bytes(b"x" * size)
        os.utime(workspace.root / name, (moment, moment))
    largest = (await workspace.text("find_files", pattern="*.py", order="largest")).split("\n")
    assert [line.split()[-1] for line in largest[:3]] == ["b.py", "c.py", "a.py"]
    assert largest[0].startswith("   4.9 KiB")
    assert largest[3] == "[3 files, 5.1 KiB in all]"
    newest = (await workspace.text("find_files", pattern="*.py", order="newest")).split("\n")
    assert [line.split()[-1] for line in newest[:3]] == ["a.py", "c.py", "b.py"]
    assert "1970-01-01 00:05" in newest[0]
    assert await workspace.text("find_files", pattern="*.rs", order="newest") == "[no file matches]"
