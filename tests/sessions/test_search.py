from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import pytest

from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.disk.locks import index_lock
from bamboo_mcp.domain.errors import StorageTooNew
from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.messages import Message, TextBlock, ToolResultBlock, user_message
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.sessions.index import SessionIndex
from bamboo_mcp.sessions.journal_store import JournalSessionStore
from bamboo_mcp.sessions.search import SessionSearch
from bamboo_mcp.sessions.words import excerpt, terms_of


@contextmanager
def opened(home: Path, *, budget_s: float = 10.0) -> Iterator[JournalSessionStore]:
    with Journals("process") as journals:
        search = SessionSearch(home, budget_s=budget_s)
        yield JournalSessionStore(home, journals, SessionIndex(home), search=search)


async def make(store: JournalSessionStore, name: str, *texts: str) -> SessionId:
    meta = SessionMeta(session_id=SessionId(name), created_at=1.0, title=f"title of {name}")
    await store.create(meta, [user_message(text) for text in texts])
    return meta.session_id


async def found(store: JournalSessionStore, query: str) -> set[str]:
    page = await store.search(query, limit=100)
    assert page.unread == 0
    return {hit.meta.session_id for hit in page.hits}


def rows(home: Path) -> int:
    with closing(sqlite3.connect(home / "search.db")) as database:
        count: int = database.execute("SELECT count(*) FROM texts").fetchone()[0]
    return count


async def test_nothing_is_written_for_the_search_before_somebody_searches(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        one = await make(store, "one", "alpha")
        async with store.open(one) as writer:
            writer.append(user_message("beta"))
        assert not (tmp_path / "search.db").exists()
        assert await found(store, "beta") == {"one"}
        assert (tmp_path / "search.db").stat().st_mode & 0o077 == 0


async def test_a_session_is_read_once_and_then_only_what_is_new(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        one = await make(store, "one", *(f"word{n}" for n in range(50)))
        assert await found(store, "word49") == {"one"}
        path = tmp_path / "sessions" / "one" / "messages.jsonl"
        data = path.read_bytes()
        # What was read already is not looked at again: a damaged line in it is not found missing.
        path.write_bytes(data.replace(b"word7", b"w0rd7"))
        async with store.open(one) as writer:
            writer.append(user_message("late"))
        assert await found(store, "late") == {"one"}
        assert await found(store, "word7") == {"one"}
        assert rows(tmp_path) == 52


@pytest.mark.parametrize("damage", ["garbage", "empty", "cut", "middle", "other tables"])
async def test_a_damaged_search_is_made_anew(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path) as store:
        for n in range(30):
            await make(store, f"s{n}", f"needle {'x' * 500} {n}")
        assert len(await found(store, "needle")) == 30
        path = tmp_path / "search.db"
        data = path.read_bytes()
        match damage:
            case "garbage":
                path.write_bytes(b"this is no database, whatever its name says" * 50)
            case "empty":
                path.write_bytes(b"")
            case "cut":
                path.write_bytes(data[: len(data) // 2])
            case "middle":
                path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
            case "other tables":
                path.unlink()
                with closing(sqlite3.connect(path)) as database:
                    database.execute("CREATE TABLE mine (x)")
                    database.execute("PRAGMA user_version = 1")
                    database.commit()
        assert len(await found(store, "needle")) == 30
    if damage != "empty":
        assert "rebuilt from the sessions" in caplog.text


async def test_a_missing_search_is_made_anew(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await make(store, "one", "alpha")
        assert await found(store, "alpha") == {"one"}
        (tmp_path / "search.db").unlink()
        assert await found(store, "alpha") == {"one"}


async def test_a_search_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "search.db")) as database:
        database.execute("PRAGMA user_version = 9")
    with opened(tmp_path) as store:
        await make(store, "one", "alpha")
        with pytest.raises(StorageTooNew, match=r"search\.db' has format 9"):
            await store.search("alpha")
    with closing(sqlite3.connect(tmp_path / "search.db")) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (9,)


async def test_the_words_of_a_deleted_session_are_not_left_in_the_file(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        one = await make(store, "one", "the code is xylophone77")
        await make(store, "two", "something else")
        assert await found(store, "xylophone77") == {"one"}
        await store.delete(one)
        # Not at the next search: now.
        assert b"xylophone77" not in (tmp_path / "search.db").read_bytes()
        assert await found(store, "xylophone77") == set()
        assert await found(store, "else") == {"two"}


async def test_what_there_is_no_time_for_is_said_and_read_by_the_next_search(
    tmp_path: Path,
) -> None:
    with opened(tmp_path, budget_s=0.0) as store:
        for n in range(5):
            await make(store, f"s{n}", "needle")
        unread: list[int] = []
        with anyio.fail_after(5):
            while not unread or unread[-1]:
                unread.append((await store.search("needle")).unread)
        assert unread == [4, 3, 2, 1, 0]
        assert len(await found(store, "needle")) == 5


async def test_while_another_process_reads_on_the_search_gives_what_there_is(
    tmp_path: Path,
) -> None:
    with opened(tmp_path) as store:
        await make(store, "one", "needle")
        assert await found(store, "needle") == {"one"}
        await make(store, "two", "needle")
        with index_lock(tmp_path / "search.lock"):
            page = await store.search("needle")
        assert [hit.meta.session_id for hit in page.hits] == ["one"]
        assert page.unread == 1
        assert await found(store, "needle") == {"one", "two"}


SEARCHER = """
import sys
from pathlib import Path
import anyio
from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.sessions.index import SessionIndex
from bamboo_mcp.sessions.journal_store import JournalSessionStore

async def main(home, me):
    with Journals("process") as journals:
        store = JournalSessionStore(home, journals, SessionIndex(home))
        for n in range(20):
            name = SessionId(f"{me}{n}")
            await store.create(
                SessionMeta(session_id=name, created_at=1.0), [user_message(f"needle {me} {n}")]
            )
            mine = await store.search(f"needle {me}", limit=100)
            assert mine.unread or len(mine.hits) == n + 1, (me, n, len(mine.hits))
            if n == 10 and me == "p":
                (home / "search.db").write_bytes(b"broken by somebody" * 100)

anyio.run(main, Path(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.timeout(60)
async def test_two_processes_share_one_search_even_when_it_breaks_meanwhile(tmp_path: Path) -> None:
    async def run(name: str) -> None:
        await anyio.run_process([sys.executable, "-c", SEARCHER, str(tmp_path), name], stderr=None)

    async with anyio.create_task_group() as group:
        group.start_soon(run, "p")
        group.start_soon(run, "q")
    with opened(tmp_path) as store:
        assert len(await found(store, "needle")) == 40


async def test_a_damaged_message_and_an_unreadable_session_hide_no_other(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await make(store, "one", "alpha", "beta", "gamma")
        await make(store, "two", "alpha")
        path = tmp_path / "sessions" / "one" / "messages.jsonl"
        path.write_bytes(path.read_bytes().replace(b"beta", b"bEta"))
        (tmp_path / "sessions" / "two" / "messages.jsonl").write_bytes(b"not a journal\n")
        assert await found(store, "gamma") == {"one"}
        assert await found(store, "alpha") == {"one"}
        assert await found(store, "beta") == set()


async def test_what_tools_answered_is_found_but_not_the_end_of_a_long_file(tmp_path: Path) -> None:
    answer = "beginning " + "x " * 10_000 + "ending"
    block = ToolResultBlock(call_id="1", content=(TextBlock(text=answer),))
    with opened(tmp_path) as store:
        meta = SessionMeta(session_id=SessionId("one"), created_at=1.0)
        await store.create(meta, [Message(role="user", blocks=(block,))])
        assert await found(store, "beginning") == {"one"}
        assert await found(store, "ending") == set()


def test_importing_the_store_imports_no_sqlite() -> None:
    code = (
        "import sys, bamboo_mcp.sessions.journal_store;"
        "print([name for name in ('sqlite3', '_sqlite3') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "[]"


def test_a_query_is_cut_into_words_and_phrases() -> None:
    assert terms_of('one "two three" one -four') == ["one", "two three", "-four"]
    assert terms_of('"open end') == ['"open', "end"]
    assert len(terms_of(" ".join(map(str, range(50))))) == 12


def test_an_excerpt_is_one_line_around_the_first_word() -> None:
    text = "start\n" + "filler " * 50 + "the Needle is here " + "filler " * 50
    cut = excerpt(text, ["needle"])
    assert cut.startswith("… ")
    assert cut.endswith(" …")
    assert "the Needle is here" in cut
    assert "\n" not in cut
    assert excerpt("short", ["absent"]) == "short"
