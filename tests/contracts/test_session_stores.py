from collections.abc import Iterator
from pathlib import Path

import pytest

from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.ports import SessionStore
from bamboo_mcp.sessions.index import IndexKind, SessionIndex
from bamboo_mcp.sessions.journal_store import JournalSessionStore
from bamboo_mcp.sessions.memory import MemorySessionStore
from bamboo_mcp.testing.contracts.session_store import SessionStoreContract


class TestMemorySessionStore(SessionStoreContract):
    def make(self) -> SessionStore:
        return MemorySessionStore()


class TestJournalSessionStore(SessionStoreContract):
    kind: IndexKind = "tinydb"
    many = 1000

    def journals(self) -> Journals:
        return Journals("process")

    @pytest.fixture(autouse=True)
    def _disk(self, tmp_path: Path) -> Iterator[None]:
        self.home = tmp_path
        with self.journals() as self.open_journals:
            yield

    def make(self) -> SessionStore:
        index = SessionIndex(self.home, kind=self.kind, many=self.many)
        return JournalSessionStore(self.home, self.open_journals, index)


class TestJournalSessionStoreWithOneOpenFile(TestJournalSessionStore):
    """Every append finds its file closed and opens it again."""

    def journals(self) -> Journals:
        return Journals("turn", open_limit=1)


class TestJournalSessionStoreListedInSqlite(TestJournalSessionStore):
    kind = "sqlite"


class TestJournalSessionStoreThatGoesOverToSqlite(TestJournalSessionStore):
    """After the second session."""

    kind = "auto"
    many = 2
