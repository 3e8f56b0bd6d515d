"""The folders of all sessions, as those see them who keep a cache of what is inside."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from bamboo_mcp.disk.layout import is_plain
from bamboo_mcp.domain.errors import StorageError, UnknownId
from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.sessions.records import MESSAGES, RECORD, read_meta

logger = logging.getLogger(__name__)

DOOMED = ".deleted-"
"""How the name of a folder begins that is being deleted, or was when its process died."""


def session_names(sessions: Path, *, sweep: bool = False) -> Iterator[SessionId]:
    """Of each session's folder, in no order; `sweep` removes what cut-short deletions left."""
    try:
        entries = os.scandir(sessions)
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        for entry in entries:
            if is_plain(entry.name):
                yield SessionId(entry.name)
            elif sweep and entry.name.startswith(DOOMED):
                shutil.rmtree(entry.path, ignore_errors=True)


def count_up_to(sessions: Path, most: int) -> int:
    """How many folders there are, not counting on behind `most`."""
    count = 0
    for _ in session_names(sessions):
        count += 1
        if count > most:
            break
    return count


def read_listed(sessions: Path, session_id: SessionId) -> SessionMeta | None:
    """A record for a list: one session that cannot be read must not hide the others."""
    try:
        return read_meta(sessions / session_id)
    except UnknownId:
        return None
    except StorageError as error:
        logger.warning("session %s is left out of the list: %s", session_id, error)
        return None


def record_mtime(folder: str) -> int:
    """When the record was last edited, in nanoseconds; 0: never since the session was made."""
    try:
        return os.stat(f"{folder}{os.sep}{RECORD}").st_mtime_ns  # noqa: PTH116 (ten thousand times)
    except OSError:
        return 0


def journal_size(folder: str) -> int:
    """Bytes of the messages; -1 when there are none."""
    try:
        return os.stat(f"{folder}{os.sep}{MESSAGES}").st_size  # noqa: PTH116 (as above)
    except OSError:
        return -1
