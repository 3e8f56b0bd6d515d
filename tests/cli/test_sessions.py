from __future__ import annotations

import stat
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from click.testing import Result

from bamboo_mcp.cli.session_export import fenced, moment
from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.disk.locks import hold_owner, owner_alive
from bamboo_mcp.domain.events import RunStarted
from bamboo_mcp.domain.ids import RunId, SessionId
from bamboo_mcp.domain.messages import (
    Message,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
    user_message,
)
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.runs.log import FileEventLog
from bamboo_mcp.sessions.index import SessionIndex
from bamboo_mcp.sessions.journal_store import JournalSessionStore
from tests.cli.small_app import command

DAY = 86_400.0


def make(home: Path, name: str, *said: Message | str, days: float = 0.0, **meta: Any) -> str:
    """A session that old, with these messages."""
    at = time.time() - days * DAY
    messages = [one if isinstance(one, Message) else user_message(one, at=at) for one in said]
    known = {"session_id": SessionId(f"ses_{name}"), "created_at": at, "title": name, **meta}

    async def create() -> None:
        with Journals("process") as journals:
            store = JournalSessionStore(home, journals, SessionIndex(home))
            await store.create(SessionMeta(**known), messages)

    anyio.run(create)
    return f"ses_{name}"


def sessions(home: Path, *arguments: str, typed: str | None = None) -> Result:
    return command("sessions", *arguments, "--home", str(home), typed=typed)


def left(home: Path) -> set[str]:
    return {path.name for path in (home / "sessions").iterdir()}


def test_the_list_is_a_line_a_session_newest_first(tmp_path: Path) -> None:
    make(tmp_path, "old", "a", "b", days=2, pinned=True)
    make(tmp_path, "new", days=1)
    result = sessions(tmp_path, "list")
    assert result.exit_code == 0, result.stderr
    newer, older = result.stdout.splitlines()
    assert newer.startswith("ses_new   ")
    assert older.startswith("ses_old * ")
    assert older.split()[-2:] == ["2", "old"]
    (line,) = sessions(tmp_path, "list", "--limit", "1", "--json").stdout.splitlines()
    one = msgspec.json.decode(line)
    assert (one["session_id"], one["messages"], one["pinned"]) == ("ses_new", 0, False)


def test_an_empty_home_has_no_sessions_and_that_is_no_error(tmp_path: Path) -> None:
    for arguments in (("list",), ("search", "word"), ("prune", "--older-than", "1")):
        result = sessions(tmp_path / "home", *arguments)
        assert result.exit_code == 0
        assert "no sessions" in result.stderr or "nothing to prune" in result.stdout


def test_a_search_shows_where_the_words_are(tmp_path: Path) -> None:
    make(tmp_path, "cake", "two eggs and flour")
    make(tmp_path, "bread", "flour and water")
    result = sessions(tmp_path, "search", "flour", "eggs")
    assert result.exit_code == 0
    assert "ses_cake" in result.stdout
    assert "two eggs and flour" in result.stdout
    assert "ses_bread" not in result.stdout
    refused = sessions(tmp_path, "search", "***")
    assert refused.exit_code == 2
    assert "no word in '***'" in refused.stderr


def conversation() -> list[Message]:
    call = ToolCallBlock(id="1", name="read_file", arguments_json='{"path": "a.md"}')
    answer = ToolResultBlock(call_id="1", name="read_file", content=(TextBlock(text="```py\n```"),))
    return [
        user_message("look at a.md", at=5.0),
        Message(role="assistant", blocks=(TextBlock(text="I will"), call), origin="p:m"),
        Message(role="user", blocks=(answer,)),
        Message(role="assistant", blocks=(TextBlock(text="\x1b[31mdone"),), origin="p:m"),
    ]


def test_a_session_is_shown_with_nothing_the_terminal_would_act_on(tmp_path: Path) -> None:
    one = make(tmp_path, "one", *conversation())
    shown = sessions(tmp_path, "show", one).stdout
    assert "# one" in shown
    assert "look at a.md" in shown
    assert "## p:m" in shown
    assert "## tools" in shown
    assert "````\n```py\n```\n````" in shown
    assert "\x1b" not in shown
    assert "\\x1b[31mdone" in shown
    end = sessions(tmp_path, "show", one, "--offset", "-1").stdout
    assert "done" in end
    assert "look at" not in end
    part = sessions(tmp_path, "show", one, "--limit", "1")
    assert "more: --offset 1" in part.stderr
    missing = sessions(tmp_path, "show", "ses_none")
    assert missing.exit_code == 2
    assert "there is no session 'ses_none'" in missing.stderr


def test_an_export_as_json_lines_has_all_of_it_to_the_letter(tmp_path: Path) -> None:
    said = conversation()
    one = make(tmp_path, "one", *said)
    lines = sessions(tmp_path, "export", one).stdout.splitlines()
    assert msgspec.json.decode(lines[0])["session"]["title"] == "one"
    decoded = [msgspec.json.decode(line)["message"] for line in lines[1:]]
    assert [msgspec.convert(message, Message) for message in decoded] == said


def test_an_export_makes_a_new_file_of_its_owners_alone(tmp_path: Path) -> None:
    one = make(tmp_path, "one", *conversation())
    file = tmp_path / "one.md"
    result = sessions(tmp_path, "export", one, "-o", str(file))
    assert result.exit_code == 0, result.stderr
    assert "4 messages" in result.stderr
    assert file.read_text(encoding="utf-8").startswith("# one\n")
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = sessions(tmp_path, "export", one, "-o", str(file))
    assert again.exit_code == 2
    assert "cannot be made" in again.stderr
    there = sessions(tmp_path, "export", one, "--format", "jsonl", "-o", str(tmp_path / "x.md"))
    assert there.exit_code == 0
    assert (tmp_path / "x.md").read_text(encoding="utf-8").startswith('{"session"')


def test_prune_shows_what_would_go_and_asks(tmp_path: Path) -> None:
    make(tmp_path, "old", "a", days=40)
    make(tmp_path, "spoken", user_message("lately", at=time.time()), days=40)
    make(tmp_path, "pinned", days=40, pinned=True)
    make(tmp_path, "new", days=1)
    asked = sessions(tmp_path, "prune", "--older-than", "30", typed="n\n")
    assert asked.exit_code == 1
    assert "ses_old" in asked.stdout
    assert "Delete these 1 sessions?" in asked.stderr
    assert len(left(tmp_path)) == 4
    done = sessions(tmp_path, "prune", "--older-than", "30", "--yes")
    assert done.exit_code == 0, done.stderr
    assert "1 sessions deleted" in done.stdout
    assert left(tmp_path) == {"ses_spoken", "ses_pinned", "ses_new"}
    assert "ses_old" not in sessions(tmp_path, "list").stdout
    assert "nothing to prune" in sessions(tmp_path, "prune", "--older-than", "30").stdout


def test_prune_asks_nobody_when_nobody_is_there(tmp_path: Path) -> None:
    make(tmp_path, "old", days=40)
    result = sessions(tmp_path, "prune", "--older-than", "30", typed="")
    assert result.exit_code == 1
    assert left(tmp_path) == {"ses_old"}


def test_prune_leaves_a_session_with_a_run_under_way(tmp_path: Path) -> None:
    run_id = RunId("run_x")
    make(tmp_path, "busy", days=40, run_id=run_id)
    with hold_owner(tmp_path) as owner, Journals("process") as journals:
        log = FileEventLog(tmp_path, journals, alive=lambda one: owner_alive(tmp_path, one))
        log.append(run_id, RunStarted(session_id=SessionId("ses_busy"), owner=owner))
        assert "nothing to prune" in sessions(tmp_path, "prune", "--older-than", "30").stdout
    gone = sessions(tmp_path, "prune", "--older-than", "30", "--yes")
    assert "1 sessions deleted" in gone.stdout, "its process is gone, and with it the run"


@pytest.mark.parametrize(
    ("text", "fence"), [("a", "```"), ("```", "````"), ("x`````y", "``````"), ("", "```")]
)
def test_no_text_ends_its_own_code_block(text: str, fence: str) -> None:
    assert fenced(text) == f"{fence}\n{text}\n{fence}"


def test_a_time_that_is_none_is_left_out() -> None:
    assert moment(0.0) == moment(1e300) == moment(float("nan")) == ""
