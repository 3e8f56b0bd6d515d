from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
import msgspec
import pytest

from bamboo_mcp.disk.calls import DiskCalls
from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.domain.errors import StorageTooNew
from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.sessions.index import IndexKind, SessionIndex
from bamboo_mcp.sessions.journal_store import JournalSessionStore
from tests.disk.failing_calls import CountedCalls, FullDisk


@asynccontextmanager
async def opened(
    home: Path,
    *,
    kind: IndexKind = "sqlite",
    many: int = 1000,
    calls: DiskCalls | None = None,
) -> AsyncIterator[tuple[JournalSessionStore, SessionIndex]]:
    """A store whose index is written in the background, as in the app."""
    index = SessionIndex(
        home, kind=kind, many=many, calls=calls or CountedCalls(), debounce_s=0.001
    )
    with Journals("process") as journals:
        async with anyio.create_task_group() as group:
            await group.start(index.run)
            yield JournalSessionStore(home, journals, index), index
            group.cancel_scope.cancel()


def born(n: int) -> SessionMeta:
    return SessionMeta(session_id=SessionId(f"ses_{n:05}"), created_at=float(n))


def on_disk(home: Path) -> set[str]:
    with closing(sqlite3.connect(home / "index.db")) as database:
        return {row[0] for row in database.execute("SELECT session_id FROM sessions")}


async def listed(home: Path, kind: IndexKind = "sqlite") -> list[SessionMeta]:
    async with opened(home, kind=kind) as (store, _):
        return list(await store.list_sessions(limit=10_000))


async def test_what_is_noted_is_written_when_the_server_stops(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, _):
        for n in range(3):
            await store.create(born(n))
    assert on_disk(tmp_path) == {"ses_00000", "ses_00001", "ses_00002"}
    assert await listed(tmp_path) == [born(2), born(1), born(0)]
    assert not (tmp_path / "index.json").exists()
    assert (tmp_path / "index.db").stat().st_mode & 0o077 == 0


async def test_sqlite_takes_over_when_there_are_many_and_nothing_is_missing(tmp_path: Path) -> None:
    async with opened(tmp_path, kind="auto", many=10) as (store, index):
        for n in range(10):
            await store.create(born(n))
        await index.flush()
        assert (tmp_path / "index.json").exists()
        assert not (tmp_path / "index.db").exists()
        await store.create(born(10))
        await index.flush()
        assert len(await store.list_sessions(limit=50)) == 11
        await store.create(born(11))
        assert len(await store.list_sessions(limit=50)) == 12
    assert len(on_disk(tmp_path)) == 12
    assert not (tmp_path / "index.json").exists()
    assert await listed(tmp_path, "auto") == [born(n) for n in reversed(range(12))]


async def test_a_home_that_has_many_from_the_start_is_never_read_into_tinydb(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path, kind="tinydb") as (store, _):
        for n in range(12):
            await store.create(born(n))
    (tmp_path / "index.json").unlink()
    async with opened(tmp_path, kind="auto", many=10) as (store, _):
        assert len(await store.list_sessions()) == 12
        assert not (tmp_path / "index.json").exists()


async def test_a_server_with_the_small_index_follows_one_that_went_over(tmp_path: Path) -> None:
    async with (
        opened(tmp_path, kind="auto", many=10) as (small, small_index),
        opened(tmp_path, kind="auto", many=2) as (large, large_index),
    ):
        await small.create(born(0))
        await small_index.flush()
        for n in (1, 2, 3):
            await large.create(born(n))
            await large_index.flush()
        assert (tmp_path / "index.db").exists()
        assert len(await small.list_sessions()) == 4
        await small.create(born(4))
        await small_index.flush()
        assert [meta.created_at for meta in await large.list_sessions()] == [4, 3, 2, 1, 0]


@pytest.mark.parametrize("damage", [b"", b"no database at all, only words" * 100])
async def test_a_damaged_index_is_rebuilt(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path) as (store, _):
        for n in range(3):
            await store.create(born(n))
        edited = await store.edit(
            SessionId("ses_00001"), lambda meta: msgspec.structs.replace(meta, title="edited")
        )
    (tmp_path / "index.db").write_bytes(damage)
    assert await listed(tmp_path) == [born(2), edited, born(0)]
    assert on_disk(tmp_path) == {"ses_00000", "ses_00001", "ses_00002"}
    if damage:
        assert "rebuilt from the sessions" in caplog.text


async def test_an_index_broken_or_removed_under_a_running_server_is_made_whole(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as (store, index):
        for n in range(3):
            await store.create(born(n))
        await index.flush()
        (tmp_path / "index.db").unlink()
        assert len(await store.list_sessions()) == 3
        (tmp_path / "index.db").write_bytes(b"x" * 5000)
        await store.create(born(3))
        await index.flush()
        assert len(await store.list_sessions()) == 4


async def test_what_a_killed_server_did_not_write_is_found_by_the_next(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, index):
        for n in range(3):
            await store.create(born(n))
        await index.flush()
        with Journals("process") as journals:
            # Its index is never written: it stands for the killed one.
            killed = JournalSessionStore(tmp_path, journals, SessionIndex(tmp_path, kind="sqlite"))
            await killed.create(born(3))
            await killed.delete(SessionId("ses_00000"))
            edited = await killed.edit(
                SessionId("ses_00001"), lambda meta: msgspec.structs.replace(meta, pinned=True)
            )
    assert await listed(tmp_path) == [born(3), born(2), edited]


async def test_a_later_version_in_the_index_is_not_overwritten_by_an_older_note(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as (store, index):
        await store.create(born(1))
        later = await store.edit(SessionId("ses_00001"), lambda meta: meta)
        await index.flush()
        slow = SessionIndex(tmp_path, kind="sqlite")
        slow.put(born(1))
        assert list(await slow.page(limit=5, before=None, subagents_only=False)) == [later]
        await slow.flush()
        assert list(await store.list_sessions()) == [later]


async def test_changes_that_are_noted_and_not_written_neither_shorten_a_page_nor_lengthen_it(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as (store, index):
        for n in range(20):
            await store.create(born(n))
        await index.flush()
    with Journals("process") as journals:
        quiet = JournalSessionStore(tmp_path, journals, SessionIndex(tmp_path, kind="sqlite"))
        for n in (19, 18, 16):
            await quiet.delete(SessionId(f"ses_{n:05}"))
        await quiet.create(born(30))
        page = await quiet.list_sessions(limit=3)
        assert [meta.created_at for meta in page] == [30, 17, 15]
        page = await quiet.list_sessions(limit=2, before=17.0)
        assert [meta.created_at for meta in page] == [15, 14]


async def test_a_newer_index_is_refused_by_name(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "index.db")) as database:
        database.execute("PRAGMA user_version = 9")
    async with opened(tmp_path) as (store, _):
        await store.create(born(1))
        with pytest.raises(StorageTooNew, match=r"index\.db' has format 9"):
            await store.list_sessions()


async def test_a_full_disk_costs_the_index_and_not_the_list(tmp_path: Path) -> None:
    with Journals("process") as journals:
        index = SessionIndex(tmp_path, kind="sqlite", calls=FullDisk(0))
        store = JournalSessionStore(tmp_path, journals, index)
        (tmp_path / "index.db").mkdir()  # nothing can be opened there
        for n in range(3):
            await store.create(born(n))
        assert list(await store.list_sessions(limit=2)) == [born(2), born(1)]
        fresh = JournalSessionStore(tmp_path, journals, SessionIndex(tmp_path, kind="sqlite"))
        assert list(await fresh.list_sessions(limit=2)) == [born(2), born(1)]
