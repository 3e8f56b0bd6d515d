from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import anyio
import msgspec
import pytest
from click.testing import Result

from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.disk.lines import frame
from bamboo_mcp.disk.locks import hold_owner
from bamboo_mcp.domain.events import RunEnded, RunStarted, TextDelta
from bamboo_mcp.domain.ids import RunId, SessionId
from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.domain.runs import Outcome
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.runs.log import FileEventLog
from bamboo_mcp.sessions.index import IndexKind, SessionIndex
from bamboo_mcp.sessions.journal_store import JournalSessionStore
from tests.cli.small_app import command

MESSAGES = Path("sessions/ses_1/messages.jsonl")
RECORD = Path("sessions/ses_1/session.json")
EVENTS = Path("runs/run_1/events.jsonl")


async def fill(home: Path, kind: IndexKind) -> None:
    index = SessionIndex(home, kind=kind)
    with Journals("process") as journals:
        store = JournalSessionStore(home, journals, index)
        for n in range(3):
            session_id = SessionId(f"ses_{n}")
            meta = SessionMeta(session_id=session_id, created_at=float(n), title=f"title {n}")
            await store.create(meta, [user_message(f"message {n} {m}") for m in range(5)])
        await store.edit(SessionId("ses_1"), lambda meta: meta.retitled("edited"))
        await store.search("message")
        await index.flush()
        log = FileEventLog(home, journals)
        run = RunId("run_1")
        log.append(run, RunStarted(session_id=SessionId("ses_1"), owner=None))
        for _ in range(4):
            log.append(run, TextDelta(text="x"))
        log.append(run, RunEnded(outcome=Outcome(status="completed", text="done")))


@pytest.fixture(params=["tinydb", "sqlite"])
def home(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    anyio.run(fill, tmp_path, request.param)
    return tmp_path


def fsck(home: Path, *arguments: str, typed: str | None = None) -> Result:
    return command("fsck", "--home", str(home), *arguments, typed=typed)


def contents(home: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in sorted(home.rglob("*"))
        if path.is_file() and not path.name.endswith((".lock", "-wal", "-shm"))
    }


def test_a_whole_home_is_said_to_be_well(home: Path) -> None:
    before = contents(home)
    result = fsck(home)
    assert (result.exit_code, result.stdout) == (0, "all is well\n")
    assert contents(home) == before


def test_no_home_at_all_is_no_damage(tmp_path: Path) -> None:
    result = fsck(tmp_path / "nowhere")
    assert result.exit_code == 0
    assert "there is no home folder" in result.stdout
    assert not (tmp_path / "nowhere").exists()


def changed(pattern: bytes, by: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(pattern, by, 1)


@pytest.mark.parametrize(
    ("file", "damage", "said"),
    [
        (MESSAGES, changed(b"message 1 2", b"massage 1 2"), ":4: the checksum does not match"),
        (MESSAGES, lambda data: b"#" + data[1:], ":1: the checksum does not match"),
        (MESSAGES, lambda data: data[:-7], ":6: "),
        (MESSAGES, lambda data: data + b"half a li", ":7: 9 bytes at the end are no whole line"),
        (MESSAGES, lambda data: b"\n".join(data.split(b"\n")[:3] + data.split(b"\n")[4:]), ":4: "),
        (MESSAGES, lambda data: data[: data.rindex(b"\n", 0, -1) + 1], "message 5 was read once"),
        (MESSAGES, lambda data: b"", "sessions/ses_1/messages.jsonl"),
        (EVENTS, changed(b'"x"', b'"y"'), ":3: the checksum does not match"),
        (EVENTS, lambda data: data + frame(7, data.split(b" ", 2)[2][:0] + b"{}"), ":8: "),
        (EVENTS, lambda data: data[:-1], ":7: "),
        (RECORD, changed(b"edited", b"edired"), ":1: the checksum does not match"),
        (RECORD, lambda data: data[:-20], ":1: it cannot be read"),
        (RECORD, lambda data: b"", ":1: it cannot be read"),
    ],
)
def test_each_damage_is_said_with_its_file_and_line_and_nothing_is_touched(
    home: Path, file: Path, damage: Callable[[bytes], bytes], said: str
) -> None:
    path = home / file
    path.write_bytes(damage(path.read_bytes()))
    before = contents(home)
    result = fsck(home)
    assert result.exit_code == 1, result.stdout
    assert said in result.stdout
    assert str(file.as_posix()) in result.stdout
    assert contents(home) == before


def test_fifty_flipped_bits_are_all_reported(home: Path) -> None:
    chance = random.Random(7)
    index = "index.json" if (home / "index.json").exists() else "search.db"
    for number in range(50):
        file = home / chance.choice([str(MESSAGES), str(EVENTS), str(RECORD)])
        if number % 10 == 0 and index == "index.json":
            file = home / index
        data = file.read_bytes()
        at = chance.randrange(len(data))
        flipped = bytearray(data)
        flipped[at] ^= 1 << chance.randrange(8)
        file.write_bytes(bytes(flipped))
        result = fsck(home)
        assert result.exit_code == 1, (number, file, at, bytes(flipped)[at - 20 : at + 20])
        file.write_bytes(data)
    assert fsck(home).exit_code == 0


@pytest.mark.parametrize("damage", [b"", b"nothing like it", b"{}", b'{"about": 7}'])
def test_a_damaged_cache_is_said_and_thrown_away_when_asked(home: Path, damage: bytes) -> None:
    caches = [
        path for path in home.iterdir() if path.name in ("index.json", "index.db", "search.db")
    ]
    assert len(caches) == 2
    for path in caches:
        path.write_bytes(damage)
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
    result = fsck(home)
    assert result.exit_code == 1
    for path in caches:
        assert re.search(rf"^{path.name}.*\n    --repair would remove it", result.stdout, re.M)
        assert path.read_bytes() == damage
    repaired = fsck(home, "--repair", "--yes")
    assert repaired.exit_code == 1, "there was damage"
    assert fsck(home).exit_code == 0
    assert "ses_0" in command("sessions", "search", "message", "--home", str(home)).stdout


def test_a_repair_is_shown_and_asked_for_first(home: Path) -> None:
    torn = home / MESSAGES
    torn.write_bytes(torn.read_bytes() + b"half a li")
    before = contents(home)
    for typed in ("n\n", ""):
        refused = fsck(home, "--repair", typed=typed)
        assert refused.exit_code == 1
        assert "messages.jsonl:7: cut them off" in refused.stderr
        assert "Do these 1?" in refused.stderr
        assert contents(home) == before
    done = fsck(home, "--repair", typed="y\n")
    assert "done: cut them off" in done.stderr
    assert (torn.with_name("messages.jsonl.torn")).read_bytes() == b"half a li"
    after = fsck(home)
    assert after.exit_code == 0
    assert "kept aside" in after.stdout


@pytest.mark.parametrize("with_index", [True, False])
def test_a_damaged_record_is_written_anew_from_the_best_there_is(
    home: Path, with_index: bool
) -> None:
    (home / RECORD).write_bytes(b'{"format":1,"session":{"tit')
    if not with_index:
        for name in ("index.json", "index.db"):
            (home / name).unlink(missing_ok=True)
    assert fsck(home, "--repair", "--yes").exit_code == 1
    assert (home / RECORD).with_name("session.json.bak").exists()
    assert fsck(home).exit_code == 0
    stored = msgspec.json.decode((home / RECORD).read_bytes())
    assert stored["session"]["title"] == ("edited" if with_index else "title 1")


def test_what_cannot_be_repaired_is_said_to_be_so_and_left(home: Path) -> None:
    path = home / MESSAGES
    path.write_bytes(path.read_bytes().replace(b"message 1 2", b"massage 1 2"))
    before = path.read_bytes()
    assert "cannot be repaired" in fsck(home).stdout
    result = fsck(home, "--repair")
    assert result.exit_code == 1
    assert "nothing to repair" in result.stderr
    assert path.read_bytes() == before


def test_leftovers_are_told_and_are_no_damage(home: Path) -> None:
    (home / "sessions/ses_1/.session.json.00ff.tmp").write_bytes(b"")
    (home / "sessions/.deleted-ses_9-ab").mkdir()
    (home / "sessions/ses_empty").mkdir()
    (home / "sessions/notes.txt").write_text("mine")
    result = fsck(home)
    assert result.exit_code == 0
    assert "0 damaged, 4 left over" in result.stdout
    assert fsck(home, "--repair", "--yes").exit_code == 0
    assert "0 damaged, 1 left over" in fsck(home).stdout
    assert (home / "sessions/notes.txt").exists(), "what is not ours is not removed"


def test_findings_as_json_lines_are_for_programs(home: Path) -> None:
    (home / RECORD).write_bytes(b"{")
    (line,) = fsck(home, "--json").stdout.splitlines()
    found = msgspec.json.decode(line)
    assert found["path"] == str(home / RECORD)
    assert (found["line"], found["damage"]) == (1, True)
    assert found["repair"].startswith("write it anew")


def test_a_file_of_a_newer_version_is_no_damage(home: Path) -> None:
    (home / RECORD).write_bytes(b'{"format":7,"session":"unknown"}')
    (home / EVENTS).write_bytes(frame(0, b'{"format":7,"kind":"run"}'))
    result = fsck(home)
    assert result.exit_code == 0
    assert result.stdout.count("has format 7") == 2


def test_the_log_of_a_run_under_way_is_not_repaired(home: Path) -> None:
    run = RunId("run_2")
    with hold_owner(home) as owner, Journals("process") as journals:
        log = FileEventLog(home, journals)
        log.append(run, RunStarted(session_id=SessionId("ses_2"), owner=owner))
        path = home / "runs/run_2/events.jsonl"
        path.write_bytes(path.read_bytes() + b"half")
        result = fsck(home, "--repair", "--yes")
        assert "is still alive" in result.stderr
        assert path.read_bytes().endswith(b"half")
    assert "done: cut them off" in fsck(home, "--repair", "--yes").stderr
    assert fsck(home).exit_code == 0


def test_an_emptied_session_is_damage_and_one_never_made_is_a_leftover(home: Path) -> None:
    (home / "sessions/ses_2/messages.jsonl").write_bytes(b"")
    result = fsck(home)
    assert result.exit_code == 1
    assert "sessions/ses_2/messages.jsonl:1: the first line is no header" in result.stdout
    (home / "sessions/ses_2/messages.jsonl").unlink()
    assert "messages.jsonl: the messages are gone" in fsck(home).stdout
    (home / "sessions/ses_2").rename(home / "sessions/ses_new")
    assert fsck(home).exit_code == 0


def test_a_session_in_the_wrong_folder_is_said_to_be_so(home: Path) -> None:
    for name in ("ses_0", "ses_1"):
        (home / "sessions" / name).rename(home / "sessions" / f"{name}_moved")
    result = fsck(home)
    assert result.exit_code == 1
    assert "ses_0_moved/messages.jsonl:1: is of another session: 'ses_0'" in result.stdout
    assert "ses_1_moved/session.json:1: it is the record of another session" in result.stdout
