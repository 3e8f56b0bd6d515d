"""Appending to short and long sessions, and reading the end of a long one."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path

import anyio
import msgspec

from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.domain.ids import SessionId, new_session_id
from bamboo_mcp.domain.messages import Message, user_message
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.sessions.index import SessionIndex
from bamboo_mcp.sessions.journal_store import JournalSessionStore
from tests.benchmarks.pairing import Row, row, take_turns

MESSAGE_BYTES = 760
SHORT, LONG = 10, 10_000
APPENDS = 100
TAIL = 50


def message_of(size: int) -> Message:
    """A message whose JSON has `size` bytes."""
    empty = len(msgspec.json.encode(user_message("", at=1.0)))
    return user_message("m" * (size - empty), at=1.0)


def bytes_written() -> int:
    """What this process has handed to the system to write; 0 where that cannot be told."""
    try:
        lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


class Sessions:
    """A home folder with sessions of given lengths, made anew for each measurement."""

    def __init__(self, folder: Path, journals: Journals) -> None:
        self.store = JournalSessionStore(folder, journals, SessionIndex(folder))
        self.message = message_of(MESSAGE_BYTES)
        self.bytes_each: dict[int, float] = {}

    async def make(self, length: int) -> SessionId:
        session_id = new_session_id()
        meta = SessionMeta(session_id=session_id, created_at=1.0)
        await self.store.create(meta, [self.message] * length)
        return session_id

    async def append(self, length: int) -> float:
        """Seconds an append takes to a session of `length` messages."""
        async with self.store.open(await self.make(length)) as session:
            written, began = bytes_written(), time.perf_counter()
            for _ in range(APPENDS):
                session.append(self.message)
            took = time.perf_counter() - began
            self.bytes_each[length] = (bytes_written() - written) / APPENDS
        return took / APPENDS

    async def load(self, session_id: SessionId, offset: int) -> float:
        began = time.perf_counter()
        session = await self.store.load(session_id, offset=offset)
        took = time.perf_counter() - began
        assert len(session.messages) == (TAIL if offset else LONG)
        return took


def measure(rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder, Journals("turn") as journals:
        sessions = Sessions(Path(folder), journals)
        appended = take_turns(
            {
                "long": partial(anyio.run, sessions.append, LONG),
                "short": partial(anyio.run, sessions.append, SHORT),
            },
            rounds,
        )
        kept = anyio.run(sessions.make, LONG)
        loaded = take_turns(
            {
                "tail": partial(anyio.run, sessions.load, kept, -TAIL),
                "all": partial(anyio.run, sessions.load, kept, 0),
            },
            rounds,
        )
    rows = [
        row(
            f"append {MESSAGE_BYTES} B: at {LONG} against at {SHORT}",
            appended["long"],
            appended["short"],
            unit="us",
            scale=1e6,
            target=1.2,
        ),
        row(
            f"load the last {TAIL} of {LONG} against all",
            loaded["tail"],
            loaded["all"],
            unit="ms",
            scale=1e3,
            target=0.1,
        ),
    ]
    if written := sessions.bytes_each.get(LONG):
        rows.insert(
            1,
            row(
                f"bytes written an append at {LONG} against the message",
                [written],
                [MESSAGE_BYTES],
                unit="B",
                target=1.2,
            ),
        )
    return rows
