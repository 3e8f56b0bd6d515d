"""Where runs and sessions are kept: the home folder, or the memory of this process."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bamboo_mcp.domain.ids import OwnerId, new_owner_id
from bamboo_mcp.domain.value import Value
from bamboo_mcp.ports import SessionStore
from bamboo_mcp.runs.board import ListenableLog, RunBoard
from bamboo_mcp.settings import Settings


class Storage(Value, frozen=True, kw_only=True):
    """`background` is what must run in a group as long as the storage is used, if anything."""

    home: Path
    owner: OwnerId
    log: ListenableLog
    sessions: SessionStore
    board: RunBoard
    background: Callable[..., Coroutine[Any, Any, None]] | None = None
    in_memory: bool = False


def memory_storage(home: Path) -> Storage:
    from bamboo_mcp.runs.memory_log import MemoryEventLog
    from bamboo_mcp.sessions.memory import MemorySessionStore

    owner = new_owner_id()
    log = MemoryEventLog()
    return Storage(
        home=home,
        owner=owner,
        log=log,
        sessions=MemorySessionStore(),
        board=RunBoard(log, owner, lambda other: False),
        in_memory=True,
    )


def home_storage(settings: Settings, stack: ExitStack) -> Storage:
    """Open the home folder; what is opened is closed by `stack`.

    Raises:
        StorageError: The folder cannot be made or used.
    """
    from bamboo_mcp.disk.journals import Journals
    from bamboo_mcp.disk.locks import hold_owner, owner_alive
    from bamboo_mcp.runs.log import FileEventLog
    from bamboo_mcp.sessions.index import SessionIndex
    from bamboo_mcp.sessions.journal_store import JournalSessionStore

    home = settings.home

    def alive(other: OwnerId) -> bool:
        return owner_alive(home, other)

    owner = stack.enter_context(hold_owner(home))
    journals = stack.enter_context(Journals(settings.storage.durability))
    log = FileEventLog(home, journals, alive=alive)
    index = SessionIndex(home, kind=settings.storage.index)
    return Storage(
        home=home,
        owner=owner,
        log=log,
        sessions=JournalSessionStore(home, journals, index),
        board=RunBoard(log, owner, alive),
        background=index.run,
    )
