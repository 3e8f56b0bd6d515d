from collections.abc import Iterator
from pathlib import Path

import pytest

from bamboo_mcp.disk.journals import Durability, Journals
from bamboo_mcp.ports import EventLog
from bamboo_mcp.runs.log import FileEventLog
from bamboo_mcp.runs.memory_log import MemoryEventLog
from bamboo_mcp.testing.contracts.event_log import EventLogContract


class TestMemoryEventLog(EventLogContract):
    def make(self) -> EventLog:
        return MemoryEventLog()


class TestFileEventLog(EventLogContract):
    durability: Durability = "turn"

    @pytest.fixture(autouse=True)
    def _disk(self, tmp_path: Path) -> Iterator[None]:
        self.home = tmp_path
        with Journals(self.durability) as self.journals:
            yield

    def make(self) -> EventLog:
        return FileEventLog(self.home, self.journals)


class TestFileEventLogSyncingEachEvent(TestFileEventLog):
    durability: Durability = "always"
    many = 1200
