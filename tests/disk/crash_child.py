"""A program that kills copies of itself at every write call of a scenario, for `test_crashes`.

`python -m tests.disk.crash_child SCENARIO FOLDER`: each copy works in its own home folder and notes
what was acknowledged to it in `acked`, one line each, before it goes on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import msgspec

import bamboo_mcp.sessions.tinydb_file  # noqa: F401  (imported once, before the copies)
from bamboo_mcp.disk.atomic import replace_file
from bamboo_mcp.disk.calls import DiskCalls
from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.domain.events import RoundStarted, RunEnded
from bamboo_mcp.domain.ids import RunId, SessionId
from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.domain.runs import Outcome
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.runs.log import FileEventLog
from bamboo_mcp.sessions.index import SessionIndex
from bamboo_mcp.sessions.journal_store import JournalSessionStore
from tests.disk.failing_calls import KillingCalls

Ack = Callable[[str], None]
Scenario = Callable[[Path, DiskCalls, Ack], Awaitable[None]]


async def sessions(home: Path, calls: DiskCalls, ack: Ack) -> None:
    index = SessionIndex(home, calls=calls)
    with Journals("turn", calls=calls) as journals:
        store = JournalSessionStore(home, journals, index)
        for name in ("a", "b"):
            meta = SessionMeta(session_id=SessionId(name), created_at=1.0)
            await store.create(meta, [user_message(f"{name}0")])
            ack(f"{name}0")
        async with store.open(SessionId("a")) as writer:
            for n in range(1, 4):
                writer.append(user_message(f"a{n}"))
                ack(f"a{n}")
            await writer.flush()
        for title in ("one", "two"):

            def retitle(latest: SessionMeta, title: str = title) -> SessionMeta:
                return msgspec.structs.replace(latest, title=title)

            await store.edit(SessionId("a"), retitle)
            ack(f"title {title}")
        await index.flush()
        await store.delete(SessionId("b"))
        ack("deleted b")
        await index.flush()


async def events(home: Path, calls: DiskCalls, ack: Ack) -> None:
    with Journals("turn", calls=calls) as journals:
        log, run = FileEventLog(home, journals), RunId("run_1")
        for round in range(5):
            log.append(run, RoundStarted(round=round))
            ack(str(round + 1))
        log.append(run, RunEnded(outcome=Outcome(status="completed")))
        await log.flush(run)
        ack("6")


async def document(home: Path, calls: DiskCalls, ack: Ack) -> None:
    for n in range(3):
        replace_file(home / "document", b"%d" % n * 1000, calls=calls)
        ack(str(n))


SCENARIOS: dict[str, Scenario] = {"sessions": sessions, "events": events, "document": document}


def play(scenario: Scenario, home: Path, calls: DiskCalls) -> None:
    acked = os.open(home / "acked", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def ack(what: str) -> None:
        os.write(acked, what.encode() + b"\n")

    anyio.run(scenario, home, calls, ack)


def main(name: str, folder: Path) -> None:
    for torn in (False, True):
        for kill_at in range(1, 1000):
            home = folder / f"{'torn' if torn else 'kill'}{kill_at:03}"
            home.mkdir(mode=0o700)
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    play(SCENARIOS[name], home, KillingCalls(kill_at, torn=torn))
                    code = 0
                finally:
                    os._exit(code)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if status == 0:
                break
            if status > 0:
                raise SystemExit(f"{home.name} failed by itself with {status}")
        else:
            raise SystemExit("it never came to an end")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
