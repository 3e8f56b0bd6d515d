import re
import sys
from pathlib import Path

import anyio
import pytest

from bamboo_mcp.disk.journal import read_journal
from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.sessions.index import SessionIndex
from bamboo_mcp.sessions.journal_store import JournalSessionStore

WRITER = """
import sys
from pathlib import Path
import anyio, msgspec
from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.sessions.index import SessionIndex
from bamboo_mcp.sessions.journal_store import JournalSessionStore

async def main(home, me):
    index = SessionIndex(home, debounce_s=0.001)
    with Journals("process", open_limit=2) as journals:
        store = JournalSessionStore(home, journals, index)
        own = SessionId(f"own_{me}")
        await store.create(SessionMeta(session_id=own, created_at=2.0))
        shared = [SessionId(f"shared_{n}") for n in range(3)]
        async with anyio.create_task_group() as group:
            await group.start(index.run)
            async with (
                store.open(shared[0]) as a, store.open(shared[1]) as b, store.open(shared[2]) as c,
                store.open(own) as mine,
            ):
                for n in range(500):
                    message = user_message(f"{me}:{n}:" + "x" * (n * 37 % 3000))
                    (a, b, c, mine)[n % 4].append(message)
                    if n % 5 == 0:
                        await store.edit(shared[0], lambda m: msgspec.structs.replace(
                            m, extra={**m.extra, f"{me}{n}": n}))
            group.cancel_scope.cancel()

anyio.run(main, Path(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.timeout(60)
async def test_two_processes_write_the_same_and_other_sessions_and_lose_nothing(
    tmp_path: Path,
) -> None:
    with Journals("process") as journals:
        store = JournalSessionStore(tmp_path, journals, SessionIndex(tmp_path))
        for n in range(3):
            meta = SessionMeta(session_id=SessionId(f"shared_{n}"), created_at=1.0)
            await store.create(meta)

        async def run(name: str) -> None:
            await anyio.run_process(
                [sys.executable, "-c", WRITER, str(tmp_path), name], stderr=None
            )

        async with anyio.create_task_group() as group:
            group.start_soon(run, "p")
            group.start_soon(run, "q")

        found: list[tuple[str, int]] = []
        for name in ("shared_0", "shared_1", "shared_2", "own_p", "own_q"):
            session = await store.load(SessionId(name))
            path = tmp_path / "sessions" / name / "messages.jsonl"
            page = read_journal(str(path), "session")
            assert not page.damage
            assert [record.seq for record in page.records] == list(range(1, page.last_seq + 1))
            here: list[tuple[str, int]] = []
            for message in session.messages:
                match = re.match(r"(\w):(\d+):", message.text)
                assert match is not None
                here.append((match[1], int(match[2])))
            for me in ("p", "q"):
                mine = [n for who, n in here if who == me]
                assert mine == sorted(mine), "each writer's own order is kept"
            found.extend(here)
        assert sorted(found) == [(me, n) for me in ("p", "q") for n in range(500)]

        edited = (await store.load(SessionId("shared_0"))).meta
        assert edited.version == 200
        assert len(edited.extra) == 200
        fresh = JournalSessionStore(tmp_path, journals, SessionIndex(tmp_path))
        names = {meta.session_id for meta in await fresh.list_sessions()}
        assert names == {"shared_0", "shared_1", "shared_2", "own_p", "own_q"}
        assert edited in await fresh.list_sessions()
