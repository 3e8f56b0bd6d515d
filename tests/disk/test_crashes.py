import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.domain.errors import UnknownId
from bamboo_mcp.domain.events import TextDelta
from bamboo_mcp.domain.ids import RunId, SessionId
from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.runs.log import FileEventLog
from bamboo_mcp.sessions.index import SessionIndex
from bamboo_mcp.sessions.journal_store import JournalSessionStore

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the crashing child forks")


def crashed(scenario: str, folder: Path) -> list[Path]:
    """One home folder for each call at which a process was killed."""
    command = [sys.executable, "-m", "tests.disk.crash_child", scenario, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return sorted(folder.iterdir())


def acked(home: Path) -> list[str]:
    return (home / "acked").read_text(encoding="utf-8").split("\n")[:-1]


async def messages(store: JournalSessionStore, name: str) -> list[str] | None:
    try:
        return [message.text for message in (await store.load(SessionId(name))).messages]
    except UnknownId:
        return None


async def test_a_kill_at_any_write_loses_no_acknowledged_message(tmp_path: Path) -> None:
    homes = crashed("sessions", tmp_path)
    assert len(homes) > 60
    for home in homes:
        told = acked(home)
        with Journals("turn") as journals:
            index = SessionIndex(home)
            store = JournalSessionStore(home, journals, index)
            listed = {meta.session_id: meta for meta in await store.list_sessions()}
            for name in ("a", "b"):
                found = await messages(store, name)
                wanted = [one for one in told if one[0] == name]
                assert (found is not None) == (name in listed), home.name
                if "deleted b" in told and name == "b":
                    assert found is None
                    continue
                if not wanted:
                    continue
                if found is None:
                    # Killed in the middle of the deletion, before it was told of.
                    assert name == "b" and "title two" in told, home.name
                    continue
                assert found[: len(wanted)] == wanted, home.name
                assert len(found) <= len(wanted) + 1, home.name
                async with store.open(SessionId(name)) as writer:
                    writer.append(user_message("after the crash"))
                again = await messages(store, name)
                assert again == [*found, "after the crash"], home.name
            titles = [one.removeprefix("title ") for one in told if one.startswith("title ")]
            if titles:
                title = listed[SessionId("a")].title
                assert title in (titles[-1], "two"), home.name
            await store.create(SessionMeta(session_id=SessionId("c"), created_at=9.0))
            await index.flush()
            left = {one.name for one in home.iterdir()}
            assert not [one for one in left if one.endswith(".tmp")], home.name


async def test_a_kill_at_any_write_loses_no_acknowledged_event(tmp_path: Path) -> None:
    homes = crashed("events", tmp_path)
    assert len(homes) > 15
    for home in homes:
        told = [int(one) for one in acked(home)]
        with Journals("turn") as journals:
            log = FileEventLog(home, journals)
            run = RunId("run_1")
            if not told:
                continue
            found = [record.seq for record in await log.read(run)]
            assert found[: len(told)] == told, home.name
            assert len(found) <= len(told) + 1, home.name
            if len(found) < 6:
                assert log.append(run, TextDelta(text="on")).seq >= len(found) + 1, home.name


def test_a_kill_at_any_step_leaves_the_old_document_or_the_new(tmp_path: Path) -> None:
    homes = crashed("document", tmp_path)
    assert len(homes) > 15
    for home in homes:
        told = [int(one) for one in acked(home)]
        last = told[-1] if told else -1
        document = home / "document"
        if last == -1 and not document.exists():
            continue
        assert document.read_bytes() in (b"%d" % last * 1000, b"%d" % (last + 1) * 1000)


ENDLESS = """
import sys
from pathlib import Path
from bamboo_mcp.disk.journals import Journals
path = Path(sys.argv[1])
with Journals("process") as journals:
    journal = journals.create(path, "test", b"{}")
    while True:
        sys.stdout.write(f"{journal.append(b'x' * 50_000)}\\n")
        sys.stdout.flush()
"""


def test_a_kill_at_a_random_moment_loses_no_acknowledged_record(tmp_path: Path) -> None:
    chance = random.Random(7)
    for round in range(5):
        path = tmp_path / f"{round}"
        with subprocess.Popen(
            [sys.executable, "-c", ENDLESS, str(path)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            for _ in range(chance.randrange(1, 400)):
                child.stdout.readline()
            os.kill(child.pid, signal.SIGKILL)
            told = [line for line in child.stdout.read().split("\n")[:-1] if line]
        with Journals("process") as journals:
            journal = journals.open(path, "test")
            assert journal.last_seq >= int(told[-1] if told else 1)
            assert journal.append(b"{}") == journal.last_seq
