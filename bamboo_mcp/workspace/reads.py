"""Which version of which file a session has read, so that nothing unseen is overwritten."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path

from bamboo_mcp.domain.errors import WorkspaceError
from bamboo_mcp.ports import ToolContext

_MAX_MARKS = 20_000

Mark = tuple[int, int, int]
"""Modification time in nanoseconds, size and inode."""


def mark_of(status: os.stat_result) -> Mark:
    return status.st_mtime_ns, status.st_size, status.st_ino


class ReadMarks:
    """Marks per session (or caller, when there is none), the least recently used forgotten first.

    Used from worker threads.
    """

    def __init__(self, limit: int = _MAX_MARKS) -> None:
        self._limit = limit
        self._marks: OrderedDict[tuple[str, str, str], Mark] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, context: ToolContext, root: Path, path: str, status: os.stat_result) -> None:
        key = _key(context, root, path)
        with self._lock:
            self._marks[key] = mark_of(status)
            self._marks.move_to_end(key)
            while len(self._marks) > self._limit:
                self._marks.popitem(last=False)

    def require(
        self, context: ToolContext, root: Path, path: str, status: os.stat_result | None
    ) -> None:
        """Let a new file through, and an old one that is as this session last saw it.

        Raises:
            WorkspaceError: It was never read, or has changed since.
        """
        if status is None:
            return
        key = _key(context, root, path)
        with self._lock:
            mark = self._marks.get(key)
            if mark is not None:
                self._marks.move_to_end(key)
        if mark is None:
            raise WorkspaceError(
                f"{path!r} exists and has not been read in this session; nothing was written",
                hint="Read it with read_file first, then write.",
            )
        if mark != mark_of(status):
            raise WorkspaceError(
                f"{path!r} has changed since it was read; nothing was written",
                hint="Read it again with read_file and redo the change on what is there now.",
            )


def _key(context: ToolContext, root: Path, path: str) -> tuple[str, str, str]:
    return str(context.session_id or context.caller), os.fspath(root), path
