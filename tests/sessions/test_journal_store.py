import errno
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import msgspec
import pytest

from bamboo_mcp.disk.journals import Durability, Journals
from bamboo_mcp.disk.lines import frame
from bamboo_mcp.domain.errors import (
    InvalidInput,
    StorageError,
    StorageFull,
    StorageTooNew,
    UnknownId,
)
from bamboo_mcp.domain.ids import SessionId, new_session_id
from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.domain.sessions import Session, SessionMeta
from bamboo_mcp.sessions.index import SessionIndex
from bamboo_mcp.sessions.journal_store import JournalSessionStore
from tests.disk.failing_calls import CountedCalls, FullDisk


@contextmanager
def opened(
    home: Path, *, calls: CountedCalls | None = None, durability: Durability = "process"
) -> Iterator[JournalSessionStore]:
    calls = calls or CountedCalls()
    with Journals(durability, calls=calls) as journals:
        yield JournalSessionStore(home, journals, SessionIndex(home, calls=calls))


def born(title: str = "") -> SessionMeta:
    return SessionMeta(session_id=new_session_id(), created_at=1.0, title=title)


def texts(session: Session) -> list[str]:
    return [message.text for message in session.messages]


def names_in(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def folder_of(home: Path, meta: SessionMeta) -> Path:
    return home / "sessions" / meta.session_id


async def test_creating_a_session_is_one_folder_one_open_and_one_write(tmp_path: Path) -> None:
    calls = CountedCalls()
    (tmp_path / "sessions").mkdir()
    with opened(tmp_path, calls=calls) as store:
        meta = born()
        await store.create(meta, [user_message("a"), user_message("b")])
        assert calls.names == ["make_folder", "open", "write"]
        assert [one.name for one in folder_of(tmp_path, meta).iterdir()] == ["messages.jsonl"]


async def test_files_and_folders_are_for_their_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with opened(home) as store:
        meta = born()
        await store.create(meta)
        await store.edit(meta.session_id, lambda latest: latest)
        for path in (home, *home.rglob("*")):
            assert path.stat().st_mode & 0o077 == 0, path


async def test_an_edit_survives_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    meta = born("old")
    with opened(tmp_path, durability="turn") as store:
        await store.create(meta, [user_message("a")])
        (folder_of(tmp_path, meta) / ".session.json.00ff.tmp").write_bytes(b"left by a crash")
        await store.edit(meta.session_id, lambda m: msgspec.structs.replace(m, title="new"))
    with opened(tmp_path) as store:
        loaded = await store.load(meta.session_id)
        assert (loaded.meta.title, loaded.meta.version) == ("new", 1)
        assert loaded.meta.updated_at > 0
        assert texts(loaded) == ["a"]
    names = {one.name for one in folder_of(tmp_path, meta).iterdir()}
    assert names == {"messages.jsonl", "session.json", "lock"}


async def test_a_corrupt_message_is_reported_and_all_others_are_given(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    meta = born()
    with opened(tmp_path) as store:
        await store.create(meta, [user_message(f"message {n}") for n in range(6)])
        path = folder_of(tmp_path, meta) / "messages.jsonl"
        path.write_bytes(path.read_bytes().replace(b"message 2", b"massage 2"))
        with caplog.at_level(logging.WARNING):
            loaded = await store.load(meta.session_id)
        assert texts(loaded) == [f"message {n}" for n in (0, 1, 3, 4, 5)]
        assert loaded.total == 6
        assert "messages.jsonl' line 4: the checksum does not match" in caplog.text
        assert texts(await store.load(meta.session_id, offset=2, limit=2)) == ["message 3"]
        assert texts(await store.load(meta.session_id, offset=-2)) == ["message 4", "message 5"]
        async with store.open(meta.session_id) as writer:
            writer.append(user_message("message 6"))
            assert len(writer.messages) == 6
        assert [damage.line for damage in await store.check(meta.session_id)] == [4]
        assert (await store.load(meta.session_id)).total == 7


async def test_a_message_of_a_kind_from_the_future_is_left_out(tmp_path: Path) -> None:
    meta = born()
    with opened(tmp_path) as store:
        await store.create(meta, [user_message("a")])
        path = folder_of(tmp_path, meta) / "messages.jsonl"
        with path.open("ab") as file:
            file.write(frame(2, b'{"role":"user","blocks":[{"kind":"hologram"}]}'))
        async with store.open(meta.session_id) as writer:
            writer.append(user_message("b"))
        assert texts(await store.load(meta.session_id)) == ["a", "b"]


async def test_damaged_records_cost_a_title_and_no_message(tmp_path: Path) -> None:
    meta = born("title")
    with opened(tmp_path) as store:
        await store.create(meta, [user_message("a")])
        await store.edit(meta.session_id, lambda m: msgspec.structs.replace(m, title="edited"))
        record = folder_of(tmp_path, meta) / "session.json"
        record.write_bytes(b'{"format":1,"session":{"tit')
        assert (await store.load(meta.session_id)).meta == meta, "the one it was born with"
        path = folder_of(tmp_path, meta) / "messages.jsonl"
        path.write_bytes(b"#" + path.read_bytes()[1:])
        loaded = await store.load(meta.session_id)
        assert texts(loaded) == ["a"]
        assert loaded.meta.session_id == meta.session_id
        await store.edit(meta.session_id, lambda m: msgspec.structs.replace(m, title="again"))
        assert (await store.load(meta.session_id)).meta.title == "again"
        assert record.with_name("session.json.bak").exists()
        async with store.open(meta.session_id) as writer:
            writer.append(user_message("b"))


async def test_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    meta, other = born(), born()
    with opened(tmp_path) as store:
        await store.create(meta)
        await store.create(other)
        record = folder_of(tmp_path, meta) / "session.json"
        record.write_bytes(b'{"format":7,"session":"unknown"}')
        for attempt in (store.load(meta.session_id), store.edit(meta.session_id, lambda m: m)):
            with pytest.raises(StorageTooNew, match=r"session\.json' has format 7") as refusal:
                await attempt
            assert str(tmp_path) not in refusal.value.message  # clients read it
        record.unlink()
        path = folder_of(tmp_path, meta) / "messages.jsonl"
        path.write_bytes(frame(0, b'{"format":7,"kind":"session"}'))
        with pytest.raises(StorageTooNew, match=r"messages\.jsonl' has format 7"):
            await store.load(meta.session_id)
        with pytest.raises(StorageTooNew):
            async with store.open(meta.session_id):
                raise AssertionError("it opened")
    with opened(tmp_path) as store:
        assert list(await store.list_sessions()) == [other], "one such session hides no other"


async def test_a_session_whose_making_was_cut_short_was_never_made(tmp_path: Path) -> None:
    meta = born()
    with opened(tmp_path) as store:
        await store.create(meta)
        path = folder_of(tmp_path, meta) / "messages.jsonl"
        whole = path.read_bytes()
        for cut in (0, 1, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:cut])
            with pytest.raises(UnknownId):
                await store.load(meta.session_id)
            with opened(tmp_path) as fresh:
                assert list(await fresh.list_sessions()) == []


@pytest.mark.parametrize("bad", ["", "..", "a/b", "a\x00b", "x" * 300])
async def test_an_id_that_is_a_path_is_refused(tmp_path: Path, bad: str) -> None:
    with opened(tmp_path / "home") as store:
        with pytest.raises(InvalidInput):
            await store.create(SessionMeta(session_id=SessionId(bad), created_at=0.0))
        with pytest.raises(UnknownId):
            await store.delete(SessionId(bad))
    assert names_in(tmp_path) == []


async def test_a_full_disk_stops_writing_and_not_reading(tmp_path: Path) -> None:
    calls = FullDisk(10_000)
    with opened(tmp_path, calls=calls) as store:
        meta = born("old")
        await store.create(meta, [user_message("a")])
        async with store.open(meta.session_id) as writer:
            writer.append(user_message("b"))
            calls.full_at, calls.room = 0, 30
            with pytest.raises(StorageFull):
                writer.append(user_message("c"))
            with pytest.raises(StorageFull):
                await store.create(born())
            with pytest.raises(StorageFull):
                await store.edit(meta.session_id, lambda m: m)
            assert [message.text for message in writer.messages] == ["a", "b"]
            assert texts(await store.load(meta.session_id)) == ["a", "b"]
            assert list(await store.list_sessions()) == [meta]
            calls.full_at = 10_000
            writer.append(user_message("d"))
        assert texts(await store.load(meta.session_id)) == ["a", "b", "d"]


async def test_a_disk_error_is_not_said_to_be_a_full_disk(tmp_path: Path) -> None:
    calls = FullDisk(10_000, error=errno.EIO)
    with opened(tmp_path, calls=calls) as store:
        meta = born()
        await store.create(meta)
        async with store.open(meta.session_id) as writer:
            calls.full_at = 0
            with pytest.raises(StorageError, match="Input/output error") as caught:
                writer.append(user_message("x"))
            assert not isinstance(caught.value, StorageFull)


LIMITED = """
import anyio, resource, sys
from pathlib import Path
from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.domain.errors import StorageFull
from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.sessions.index import SessionIndex
from bamboo_mcp.sessions.journal_store import JournalSessionStore

async def main(home):
    with Journals("turn") as journals:
        store = JournalSessionStore(home, journals, SessionIndex(home))
        await store.create(SessionMeta(session_id=SessionId("s"), created_at=1.0))
        async with store.open(SessionId("s")) as writer:
            for count in range(10_000):
                try:
                    writer.append(user_message("x" * 700))
                except StorageFull:
                    print(count)
                    return

resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
anyio.run(main, Path(sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limit there")
async def test_a_file_size_limit_of_the_system_is_a_full_disk(tmp_path: Path) -> None:
    done = await anyio.run_process([sys.executable, "-c", LIMITED, str(tmp_path)])
    count = int(done.stdout)
    assert 50 < count < 80
    with opened(tmp_path) as store:
        loaded = await store.load(SessionId("s"))
        assert len(loaded.messages) == count
        async with store.open(SessionId("s")) as writer:
            writer.append(user_message("room again"))
        assert (await store.load(SessionId("s"))).total == count + 1


async def test_a_deleted_session_leaves_no_file(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        meta = born()
        await store.create(meta, [user_message("a")])
        await store.edit(meta.session_id, lambda m: m)
        await store.delete(meta.session_id)
        assert list((tmp_path / "sessions").iterdir()) == []


async def test_an_append_costs_the_same_bytes_at_ten_and_at_ten_thousand(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        meta = born()
        await store.create(meta)
        path = folder_of(tmp_path, meta) / "messages.jsonl"
        grown: list[int] = []
        async with store.open(meta.session_id) as writer:
            for count in range(10_001):
                before = path.stat().st_size if count in (10, 10_000) else 0
                writer.append(user_message("x" * 690, at=1.0))
                if before:
                    grown.append(path.stat().st_size - before)
        assert grown[1] - grown[0] == len("10001") - len("11")
        tail = await store.load(meta.session_id, offset=-50)
        assert (len(tail.messages), tail.offset, tail.total) == (50, 9951, 10_001)


async def test_two_stores_edit_one_session_and_lose_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as one, opened(tmp_path) as other:
        meta = born()
        await one.create(meta)

        async def edit(store: JournalSessionStore, n: int) -> None:
            await store.edit(
                meta.session_id,
                lambda latest: msgspec.structs.replace(latest, extra={**latest.extra, str(n): 1}),
            )

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                for n in range(100):
                    group.start_soon(edit, (one, other)[n % 2], n)
        latest = (await other.load(meta.session_id)).meta
        assert (latest.version, len(latest.extra)) == (100, 100)


def test_importing_the_store_does_not_import_tinydb_or_filelock() -> None:
    code = (
        "import sys, bamboo_mcp.sessions.journal_store, bamboo_mcp.runs.board;"
        "print([name for name in ('tinydb', 'filelock', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "[]"
