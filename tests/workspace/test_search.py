from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from bamboo_mcp.tools.function import FunctionExecutor, tools_of
from bamboo_mcp.workspace.bounds import Bounds
from bamboo_mcp.workspace.search import SearchTools
from bamboo_mcp.workspace.tools import workspace_tools
from tests.workspace.harness import Workspace

# Beside the interpreter is where the test requirements put one.
RIPGREP = shutil.which("rg") or shutil.which("rg", path=str(Path(sys.executable).parent))

ENGINES = [
    pytest.param(None, id="python"),
    pytest.param(
        RIPGREP, id="ripgrep", marks=pytest.mark.skipif(RIPGREP is None, reason="no ripgrep here")
    ),
]
both_engines = pytest.mark.parametrize("ripgrep", ENGINES)


def searched(tmp_path: Path, ripgrep: str | None) -> Workspace:
    workspace = Workspace(tmp_path, workspace_tools(ripgrep=ripgrep))
    files: dict[str, bytes] = {
        "a.py": b"import os\n\ndef main() -> None:\n    pass  # Needle\n",
        "sub/b.py": b"needle\nnothing\nneedle needle\n",
        "sub/crlf.txt": b"one needle\r\ntwo\r\n",
        "sub/bom.txt": b"\xef\xbb\xbfneedle first\n",
        ".hidden": b"needle\n",
        "binary": b"needle\0\n",
        "late-binary": b"needle\n" + b"x" * 100_000 + b"\0",
        "large": b"needle\n" + b"x" * (2 * 1024 * 1024),
        "latin": b"caf\xe9 needle\n",
        "node_modules/m.js": b"needle\n",
        ".git/config": b"needle\n",
        "sub-z/c.py": b"needle\n",
        ".gitignore": b"sub/\n",
        "umlaut": "grün Nadel\n".encode(),
    }
    for path, data in files.items():
        (workspace.root / path).parent.mkdir(exist_ok=True)
        (workspace.root / path).write_bytes(data)
    (workspace.outside / "x.py").write_text("needle", encoding="utf-8")
    (workspace.root / "out").symlink_to("../outside")
    (workspace.root / "out.py").symlink_to("../outside/x.py")
    (workspace.root / "in.py").symlink_to("a.py")
    os.mkfifo(workspace.root / "fifo")
    return workspace


@both_engines
async def test_the_files_with_a_match_are_listed(tmp_path: Path, ripgrep: str | None) -> None:
    workspace = searched(tmp_path, ripgrep)
    assert (await workspace.text("search_files", pattern="needle")).split("\n") == [
        ".hidden",
        "latin",
        "sub/b.py",
        "sub/bom.txt",
        "sub/crlf.txt",
        "sub-z/c.py",
    ]


@both_engines
async def test_counts_are_of_lines(tmp_path: Path, ripgrep: str | None) -> None:
    workspace = searched(tmp_path, ripgrep)
    text = await workspace.text(
        "search_files", pattern="NEEDLE", ignore_case=True, output="count", glob="*.py"
    )
    assert sorted(text.split("\n")) == ["a.py: 1", "sub-z/c.py: 1", "sub/b.py: 2"]


@both_engines
async def test_content_shows_numbers_and_context(tmp_path: Path, ripgrep: str | None) -> None:
    workspace = searched(tmp_path, ripgrep)
    text = await workspace.text(
        "search_files", pattern="needle$", output="content", path="sub", context=1
    )
    assert text.split("\n") == [
        "sub/b.py",
        "     1: needle",
        "     2- nothing",
        "     3: needle needle",
        "",
        "sub/crlf.txt",
        "     1: one needle",
        "     2- two",
    ]
    text = await workspace.text("search_files", pattern="^needle first", output="content")
    assert text == "sub/bom.txt\n     1: needle first"
    text = await workspace.text("search_files", pattern="gr.n Nadel", output="content")
    assert text == "umlaut\n     1: grün Nadel"


@both_engines
async def test_matches_far_apart_are_set_apart(tmp_path: Path, ripgrep: str | None) -> None:
    workspace = Workspace(tmp_path, workspace_tools(ripgrep=ripgrep))
    lines = [str(number) for number in range(1, 31)]
    (workspace.root / "n").write_text("\n".join(lines), encoding="utf-8")
    text = await workspace.text("search_files", pattern="^(5|20)$", output="content", context=1)
    assert text.split("\n") == [
        "n",
        "     4- 4",
        "     5: 5",
        "     6- 6",
        "  --",
        "    19- 19",
        "    20: 20",
        "    21- 21",
    ]


@both_engines
async def test_one_file_can_be_searched(tmp_path: Path, ripgrep: str | None) -> None:
    workspace = searched(tmp_path, ripgrep)
    text = await workspace.text("search_files", pattern="needle", path="sub/b.py", output="count")
    assert text == "sub/b.py: 2"
    with anyio.fail_after(5):
        assert "FIFO" in await workspace.failure("search_files", pattern="x", path="fifo")


@both_engines
async def test_hits_are_limited_and_said(tmp_path: Path, ripgrep: str | None) -> None:
    workspace = Workspace(tmp_path, workspace_tools(ripgrep=ripgrep, max_result_chars=3000))
    for number in range(20):
        (workspace.root / f"{number:02}").write_text("hit\n" * 30, encoding="utf-8")
    text = await workspace.text("search_files", pattern="hit", output="content", limit=40)
    assert text.count(": hit") == 40
    assert text.endswith("[the first 40 matching lines; narrow the pattern, path or glob]")
    text = await workspace.text("search_files", pattern="hit", limit=5)
    assert text.split("\n")[:5] == ["00", "01", "02", "03", "04"]
    assert text.endswith("[the first 5 files; narrow the pattern, path or glob]")
    text = await workspace.text("search_files", pattern="hit", limit=20)
    assert text.split("\n")[-1] == "19"
    text = await workspace.text("search_files", pattern="hit", output="content", limit=600)
    assert len(text) <= 3000
    assert "cut" in text.split("\n")[-1]


@both_engines
async def test_nothing_found_and_bad_patterns_are_said(tmp_path: Path, ripgrep: str | None) -> None:
    workspace = searched(tmp_path, ripgrep)
    assert await workspace.text("search_files", pattern="haystack") == "[no match]"
    assert "no regular expression" in await workspace.failure("search_files", pattern="(")
    assert "line by line" in await workspace.failure("search_files", pattern="a\nb")
    assert "leads out" in await workspace.failure("search_files", pattern="a", glob="../*")
    dashed = await workspace.text("search_files", pattern="-> None", output="count")
    assert dashed == "a.py: 1"
    dashed = await workspace.text("search_files", pattern="--pre=sh", output="count")
    assert dashed == "[no match]"


@both_engines
async def test_what_only_python_knows_works_with_either(
    tmp_path: Path, ripgrep: str | None
) -> None:
    workspace = searched(tmp_path, ripgrep)
    text = await workspace.text("search_files", pattern="(?<=def )main", output="content")
    assert text == "a.py\n     3: def main() -> None:"


@pytest.mark.timeout(20)
async def test_a_hostile_pattern_is_stopped_in_time_and_the_server_goes_on(tmp_path: Path) -> None:
    search = SearchTools(Bounds(), ripgrep=None, timeout_s=0.5)
    workspace = Workspace(tmp_path, FunctionExecutor(tools_of(search)))
    (workspace.root / "a").write_text("a" * 60 + "!\n", encoding="utf-8")
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.lowlevel.checkpoint()
            ticks += 1

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(tick)
            failure = await workspace.failure("search_files", pattern=r"(a|a|a|aa)+$")
            group.cancel_scope.cancel()
    assert "was stopped" in failure
    assert ticks > 5


async def test_a_cancelled_search_ends_at_once(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    (workspace.root / "a").write_text("a" * 60 + "!\n", encoding="utf-8")
    with anyio.fail_after(5):
        with anyio.move_on_after(0.2) as scope:
            await workspace.call("search_files", pattern=r"(a|a|a|aa)+$")
    assert scope.cancelled_caught


async def test_a_named_file_that_is_too_large_to_search_is_said(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    (workspace.root / "big.txt").write_bytes(b"y" * (3 * 1024 * 1024))
    text = await workspace.text("search_files", pattern="y", path="big.txt")
    assert "big.txt is larger than" in text
