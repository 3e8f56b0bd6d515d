from __future__ import annotations

import os
import stat
from pathlib import Path

import anyio
import pytest

from bamboo_mcp.domain.tools import ToolCall
from bamboo_mcp.workspace.tools import workspace_tools
from tests.workspace.harness import Workspace, context_of


async def test_lines_come_numbered_and_a_long_file_page_by_page(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    lines = [f"line {number}" for number in range(1, 101)]
    (workspace.root / "long").write_text("\n".join(lines) + "\n", encoding="utf-8")
    first = await workspace.text("read_file", path="long", limit=60)
    assert first.startswith("     1\tline 1\n     2\tline 2\n")
    assert first.endswith("[lines 1-60 of 100; go on with offset 61]")
    rest = await workspace.text("read_file", path="long", offset=61)
    assert rest.startswith("    61\tline 61\n")
    assert rest.endswith("   100\tline 100\n[end of file, 100 lines]")


async def test_every_page_of_a_big_file_fits_and_together_they_are_the_file(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, workspace_tools(max_result_chars=5000, ripgrep=None))
    lines = [f"{number} " + "x" * (number % 300) for number in range(2000)]
    (workspace.root / "big").write_text("\n".join(lines), encoding="utf-8")
    read: list[str] = []
    while len(read) < len(lines):
        page = await workspace.text("read_file", path="big", offset=len(read) + 1)
        assert len(page) <= 5000
        body = [line for line in page.split("\n") if "\t" in line]
        assert body
        read += [line.split("\t", 1)[1] for line in body]
    assert read == lines


async def test_a_huge_line_is_cut_and_said(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    (workspace.root / "min.js").write_text("x" * 1_000_000 + "\nlast", encoding="utf-8")
    text = await workspace.text("read_file", path="min.js")
    assert "[line cut, 1000000 characters]" in text
    assert text.endswith("     2\tlast")
    assert len(text) < 3000


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"", "[file is empty]"),
        (b"a", "     1\ta"),
        (b"a\n\n", "     1\ta\n     2\t"),
        (b"\xef\xbb\xbfa\r\nb\r\n", "     1\ta\n     2\tb\n[lines end with CRLF]"),
        ("grün ✓ 🎍\u2028x\n".encode(), "     1\tgrün ✓ 🎍\u2028x"),
        (b"caf\xe9\n", "     1\tcaf\ufffd\n[some bytes are not UTF-8 and shown as \ufffd]"),
    ],
)
async def test_whatever_text_is_in_a_file_is_shown(tmp_path: Path, data: bytes, shown: str) -> None:
    workspace = Workspace(tmp_path)
    (workspace.root / "file").write_bytes(data)
    assert await workspace.text("read_file", path="file") == shown


async def test_what_cannot_be_read_is_refused_with_what_to_do(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, workspace_tools(max_read_bytes=1000, ripgrep=None))
    (workspace.root / "binary").write_bytes(b"\x7fELF\0\0")
    (workspace.root / "large").write_bytes(b"x" * 1001)
    (workspace.root / "config.yaml").write_text("a: 1\n", encoding="utf-8")
    os.mkfifo(workspace.root / "fifo")
    with anyio.fail_after(5):
        assert "binary" in await workspace.failure("read_file", path="binary")
        assert "search_files" in await workspace.failure("read_file", path="large")
        assert "config.yaml" in await workspace.failure("read_file", path="config.yml")
        assert "no folder 'nowhere'" in await workspace.failure("read_file", path="nowhere/x")
        assert "list_directory" in await workspace.failure("read_file", path=".")
        assert "FIFO" in await workspace.failure("read_file", path="fifo")
        assert "1 lines" in await workspace.failure("read_file", path="config.yaml", offset=2)


@pytest.mark.parametrize(
    "path", ["../outside/secret", "/etc/passwd", "a\0b", "link", "out/secret", "/proc/self/environ"]
)
async def test_no_tool_lets_a_path_lead_out(tmp_path: Path, path: str) -> None:
    workspace = Workspace(tmp_path)
    (workspace.root / "link").symlink_to("../outside/secret")
    (workspace.root / "out").symlink_to("../outside")
    for tool, rest in [
        ("read_file", {}),
        ("write_file", {"content": "x"}),
        ("edit_file", {"old_text": "outside", "new_text": "x"}),
        ("list_directory", {}),
        ("find_files", {"pattern": "*"}),
        ("search_files", {"pattern": "outside"}),
    ]:
        failure = await workspace.failure(tool, path=path, **rest)
        assert str(tmp_path) not in failure
    await workspace.failure("run_command", command="true", workdir=path)
    assert (workspace.outside / "secret").read_text(encoding="utf-8") == "outside"


async def test_without_a_workspace_every_tool_says_which_flag_to_add(tmp_path: Path) -> None:
    executor = workspace_tools()
    calls = {
        "read_file": {"path": "x"},
        "write_file": {"path": "x", "content": ""},
        "edit_file": {"path": "x", "old_text": "a", "new_text": "b"},
        "list_directory": {},
        "find_files": {"pattern": "*"},
        "search_files": {"pattern": "x"},
        "run_command": {"command": "true"},
    }
    assert {spec.name for spec in await executor.list_tools()} == set(calls)
    for name, arguments in calls.items():
        call = ToolCall(id="1", name=name, arguments=arguments)
        result = await executor.call_tool(call, context_of(None))
        assert result.error_code == "workspace_not_set"
        assert "--workspace PATH" in result.text


async def test_a_new_file_is_created_with_its_folders(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    said = await workspace.text("write_file", path="a/b/c.txt", content="grün\n")
    assert said == "created a/b/c.txt: 6 bytes"
    assert (workspace.root / "a/b/c.txt").read_bytes() == "grün\n".encode()
    again = await workspace.text("write_file", path="a/b/c.txt", content="")
    assert again == "wrote a/b/c.txt: 0 bytes"


async def test_an_existing_file_must_have_been_read_in_this_session(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    (workspace.root / "file").write_text("old", encoding="utf-8")
    refused = await workspace.failure("write_file", path="file", content="new")
    assert "has not been read in this session" in refused
    assert "read_file" in refused
    await workspace.failure("edit_file", path="file", old_text="old", new_text="new")
    await workspace.in_session("ses_two").text("read_file", path="file")
    await workspace.failure("write_file", path="file", content="new")
    await workspace.text("read_file", path="file")
    await workspace.text("write_file", path="file", content="new")
    assert (workspace.root / "file").read_text(encoding="utf-8") == "new"


async def test_a_file_that_changed_since_it_was_read_is_not_overwritten(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    file = workspace.root / "file"
    file.write_text("old", encoding="utf-8")
    await workspace.text("read_file", path="file")
    file.write_text("somebody else's", encoding="utf-8")
    for tool, arguments in [
        ("write_file", {"content": "mine"}),
        ("edit_file", {"old_text": "else", "new_text": "mine"}),
    ]:
        refused = await workspace.failure(tool, path="file", **arguments)
        assert "has changed since it was read" in refused
    assert file.read_text(encoding="utf-8") == "somebody else's"
    await workspace.text("read_file", path="file")
    await workspace.text("edit_file", path="file", old_text="else", new_text="mine")
    assert file.read_text(encoding="utf-8") == "somebody mine's"


async def test_another_sessions_write_counts_as_a_change(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    other = workspace.in_session("ses_two")
    (workspace.root / "file").write_text("old", encoding="utf-8")
    await workspace.text("read_file", path="file")
    await other.text("read_file", path="file")
    await workspace.text("write_file", path="file", content="one")
    assert "changed" in await other.failure("write_file", path="file", content="two")


async def test_edits_of_one_round_to_one_file_all_land(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    names = [f"<name{number}>" for number in range(12)]
    (workspace.root / "file").write_text("\n".join(names), encoding="utf-8")
    await workspace.text("read_file", path="file")

    async def edit(name: str) -> None:
        await workspace.text("edit_file", path="file", old_text=name, new_text=name.upper())

    async with anyio.create_task_group() as group:
        for name in names:
            group.start_soon(edit, name)
    expected = "\n".join(name.upper() for name in names)
    assert (workspace.root / "file").read_text(encoding="utf-8") == expected


async def test_an_edit_must_hit_exactly_once_or_everywhere(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    file = workspace.root / "file"
    file.write_text("a = 1\nb = 1\na = 1\n", encoding="utf-8")
    await workspace.text("read_file", path="file")
    ambiguous = await workspace.failure("edit_file", path="file", old_text="a = 1", new_text="c")
    assert "2 times" in ambiguous
    assert "lines 1, 3" in ambiguous
    missing = await workspace.failure("edit_file", path="file", old_text="z", new_text="c")
    assert "does not occur" in missing
    same = await workspace.failure("edit_file", path="file", old_text="b", new_text="b")
    assert "nothing to change" in same
    said = await workspace.text(
        "edit_file", path="file", old_text="a = 1", new_text="c", replace_all=True
    )
    assert "2 replaced, at line 1, 3" in said
    assert file.read_text(encoding="utf-8") == "c\nb = 1\nc\n"


@pytest.mark.parametrize(
    ("data", "old", "new", "result"),
    [
        (b"a\r\nb\r\nc\r\n", "a\nb", "x\ny", b"x\r\ny\r\nc\r\n"),
        (b"a\r\nb\r\n", "b", "x\ny", b"a\r\nx\r\ny\r\n"),
        (b"a\nb\n", "a\r\nb", "x\r\ny", b"x\ny\n"),
        (b"a\r\nb\nc\n", "b\nc", "x\ny", b"a\r\nx\ny\n"),
        (b"\xef\xbb\xbfa\n", "a", "b", b"\xef\xbb\xbfb\n"),
        (b"caf\xe9 a\n", "a\n", "b\n", b"caf\xe9 b\n"),
        ("日本\n".encode(), "本", "🎍", "日🎍\n".encode()),
    ],
)
async def test_an_edit_keeps_line_endings_and_bytes_that_are_no_text(
    tmp_path: Path, data: bytes, old: str, new: str, result: bytes
) -> None:
    workspace = Workspace(tmp_path)
    (workspace.root / "file").write_bytes(data)
    await workspace.text("read_file", path="file")
    await workspace.text("edit_file", path="file", old_text=old, new_text=new)
    assert (workspace.root / "file").read_bytes() == result


async def test_a_rewrite_keeps_crlf_byte_order_mark_and_mode(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    file = workspace.root / "file"
    file.write_bytes(b"\xef\xbb\xbfa\r\nb\r\n")
    file.chmod(0o600)
    await workspace.text("read_file", path="file")
    said = await workspace.text("write_file", path="file", content="x\ny\n")
    assert "CRLF" in said
    assert file.read_bytes() == b"\xef\xbb\xbfx\r\ny\r\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_too_much_and_half_characters_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    workspace = Workspace(tmp_path, workspace_tools(max_write_bytes=100, ripgrep=None))
    assert "100 B" in await workspace.failure("write_file", path="new/a", content="x" * 101)
    assert "half a character" in await workspace.failure("write_file", path="a", content="\ud800")
    assert "half a character" in await workspace.failure("write_file", path="\ud800", content="x")
    assert list(workspace.root.iterdir()) == []


async def test_a_file_name_that_is_no_text_does_not_break_an_answer(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    odd = os.fsdecode(b"caf\xe9\n\x1b[31m.txt")
    (workspace.root / odd).write_text("needle", encoding="utf-8")
    for tool, arguments in [
        ("list_directory", {}),
        ("find_files", {"pattern": "*.txt"}),
        ("search_files", {"pattern": "needle"}),
        ("read_file", {"path": odd}),
        ("write_file", {"path": odd, "content": "x"}),
    ]:
        text = await workspace.text(tool, **arguments)
        text.encode()
        assert "\x1b" not in text
