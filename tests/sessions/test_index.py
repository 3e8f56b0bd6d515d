import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import msgspec
import pytest

from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.disk.lines import frame
from bamboo_mcp.domain.errors import StorageError, StorageTooNew
from bamboo_mcp.domain.ids import SessionId, new_session_id
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.domain.subagents import SubagentSpec
from bamboo_mcp.sessions.index import SessionIndex
from bamboo_mcp.sessions.journal_store import JournalSessionStore
from tests.disk.failing_calls import CountedCalls, FullDisk


@asynccontextmanager
async def opened(
    home: Path, calls: CountedCalls | None = None
) -> AsyncIterator[tuple[JournalSessionStore, SessionIndex]]:
    """A store whose index is written in the background, as in the app."""
    index = SessionIndex(home, calls=calls or CountedCalls(), debounce_s=0.001)
    with Journals("process") as journals:
        async with anyio.create_task_group() as group:
            await group.start(index.run)
            yield JournalSessionStore(home, journals, index), index
            group.cancel_scope.cancel()


def born(n: int) -> SessionMeta:
    return SessionMeta(session_id=SessionId(f"ses_{n:05}"), created_at=float(n))


async def listed(home: Path) -> list[SessionMeta]:
    async with opened(home) as (store, _):
        return list(await store.list_sessions(limit=10_000))


def on_disk(home: Path) -> set[str]:
    return set(msgspec.json.decode((home / "index.json").read_bytes())["sessions"])


async def test_what_is_noted_is_written_when_the_server_stops(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, _):
        for n in range(3):
            await store.create(born(n))
    assert on_disk(tmp_path) == {"ses_00000", "ses_00001", "ses_00002"}
    assert await listed(tmp_path) == [born(2), born(1), born(0)]


async def test_a_thousand_sessions_are_a_few_writes_of_the_index(tmp_path: Path) -> None:
    calls = CountedCalls()
    async with opened(tmp_path, calls) as (store, index):
        for n in range(1000):
            await store.create(born(n))
        await index.flush()
    assert calls.names.count("replace") <= 3
    assert len(on_disk(tmp_path)) == 1000
    newest = await listed(tmp_path)
    assert [meta.created_at for meta in newest] == [float(n) for n in reversed(range(1000))]


async def test_sessions_just_made_here_are_not_read_back_when_the_index_is_first_opened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path) as (store, _):
        await store.create(born(1))
        # Reading it would say so in the log, and find less than is known here.
        newer = frame(0, b'{"format":99,"kind":"session"}')
        (tmp_path / "sessions" / "ses_00001" / "messages.jsonl").write_bytes(newer)
        assert await store.list_sessions() == [born(1)]
    assert on_disk(tmp_path) == {"ses_00001"}
    assert caplog.records == []


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b"\x00" * 100, b'{"sessions":{"a":1}}', b'{"about":{"1":{}}}']
)
async def test_a_damaged_index_is_kept_aside_and_rebuilt(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path) as (store, _):
        for n in range(3):
            await store.create(born(n))
        edited = await store.edit(
            SessionId("ses_00001"), lambda meta: msgspec.structs.replace(meta, title="edited")
        )
    (tmp_path / "index.json").write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        assert await listed(tmp_path) == [born(2), edited, born(0)]
    assert "is damaged; it is rebuilt" in caplog.text
    assert (tmp_path / "index.json.bak").read_bytes() == damage
    assert on_disk(tmp_path) == {"ses_00000", "ses_00001", "ses_00002"}


async def test_a_missing_index_is_rebuilt_also_while_the_server_runs(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, index):
        for n in range(3):
            await store.create(born(n))
        await index.flush()
        (tmp_path / "index.json").unlink()
        assert len(await store.list_sessions()) == 3
    (tmp_path / "index.json").unlink()
    assert len(await listed(tmp_path)) == 3


async def test_what_a_killed_server_did_not_write_is_found_by_the_next(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, index):
        for n in range(3):
            await store.create(born(n))
        await index.flush()
        # A second store on the same home whose index is never written stands for the killed one.
        with Journals("process") as journals:
            killed = JournalSessionStore(tmp_path, journals, SessionIndex(tmp_path))
            await killed.create(born(3))
            await killed.delete(SessionId("ses_00000"))
            edited = await killed.edit(
                SessionId("ses_00001"), lambda meta: msgspec.structs.replace(meta, pinned=True)
            )
    (tmp_path / "sessions" / ".deleted-ses_00000-0f0f").mkdir()
    assert await listed(tmp_path) == [born(3), born(2), edited]
    assert not (tmp_path / "sessions" / ".deleted-ses_00000-0f0f").exists()


async def test_two_servers_see_each_others_sessions(tmp_path: Path) -> None:
    async with opened(tmp_path) as (one, one_index), opened(tmp_path) as (other, other_index):
        await one.create(born(1))
        await other.create(born(2))
        await one_index.flush()
        await other_index.flush()
        for store in (one, other):
            assert list(await store.list_sessions()) == [born(2), born(1)]
        await one.delete(SessionId("ses_00001"))
        await one_index.flush()
        assert list(await other.list_sessions()) == [born(2)]


async def test_a_later_version_in_the_index_is_not_overwritten_by_an_older_note(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as (store, index):
        await store.create(born(1))
        later = await store.edit(SessionId("ses_00001"), lambda meta: meta)
        await index.flush()
        slow = SessionIndex(tmp_path)
        slow.put(born(1))
        assert list(await slow.page(limit=5, before=None, subagents_only=False)) == [later]
        await slow.flush()
        assert list(await store.list_sessions()) == [later]


async def test_the_index_stays_small_and_gives_long_records_whole(tmp_path: Path) -> None:
    meta = SessionMeta(
        session_id=new_session_id(),
        created_at=1.0,
        title="t" * 5000,
        spec=SubagentSpec(task="x" * 1_000_000, system_prompt="y" * 100_000),
        extra={"big": "z" * 100_000},
    )
    async with opened(tmp_path) as (store, _):
        await store.create(meta)
    assert (tmp_path / "index.json").stat().st_size < 5000
    assert await listed(tmp_path) == [meta]


async def test_a_newer_index_is_refused_by_name(tmp_path: Path) -> None:
    newer = b'{"about":{"1":{"format":9}},"sessions":{}}'
    (tmp_path / "index.json").write_bytes(newer)
    async with opened(tmp_path) as (store, _):
        await store.create(born(1))
        with pytest.raises(StorageTooNew, match=r"index\.json' has format 9"):
            await store.list_sessions()
        assert (await store.load(SessionId("ses_00001"))).meta == born(1)
    assert (tmp_path / "index.json").read_bytes() == newer


async def test_an_index_that_cannot_be_written_keeps_its_notes(tmp_path: Path) -> None:
    calls = FullDisk(0)
    index = SessionIndex(tmp_path, calls=calls)
    index.put(born(1))
    for _ in range(2):
        with pytest.raises(StorageError):
            await index.flush()
    assert list(await index.page(limit=5, before=None, subagents_only=False)) == [born(1)]
    calls.full_at = 10_000
    await index.flush()
    assert on_disk(tmp_path) == {"ses_00001"}


async def test_a_disk_that_is_full_does_not_end_the_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path, FullDisk(0)) as (store, _):
        with Journals("process") as journals:
            await JournalSessionStore(tmp_path, journals, SessionIndex(tmp_path)).create(born(1))
        with anyio.fail_after(5):
            await store.edit(SessionId("ses_00001"), lambda meta: meta)
            while "could not be written" not in caplog.text:
                await anyio.lowlevel.checkpoint()
        assert len(await store.list_sessions()) == 1
