"""A home folder opened without an agent: for looking at sessions, checking and repairing them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from bamboo_mcp.app.storage import Storage, home_storage

if TYPE_CHECKING:
    from bamboo_mcp.disk.checking import Finding
    from bamboo_mcp.settings import Settings


@asynccontextmanager
async def open_storage(settings: Settings) -> AsyncIterator[Storage]:
    """The sessions and runs of the home folder, beside the servers that may be using it.

    Raises:
        StorageError: The folder cannot be made or used.
    """
    with ExitStack() as files:
        storage = home_storage(settings, files)
        async with anyio.create_task_group() as group:
            if storage.background is not None:
                await group.start(storage.background)
            try:
                yield storage
            finally:
                group.cancel_scope.cancel()


def check_home(home: Path) -> Sequence[Finding]:
    """Everything that is wrong in a home folder. Repairs nothing."""
    from bamboo_mcp.runs.checking import check_runs
    from bamboo_mcp.sessions.checking import check_caches, check_sessions

    # The caches first: what is edited meanwhile then makes them look older, never newer.
    caches = check_caches(home)
    return [*check_sessions(home), *check_runs(home), *caches]


def repair(home: Path, finding: Finding) -> None:
    """Do what `finding.repair_words` says.

    Raises:
        StorageError: It could not be done.
    """
    from bamboo_mcp.disk.checking import cut_torn_end, remove
    from bamboo_mcp.runs.checking import EVENTS, cut_run
    from bamboo_mcp.sessions.checking import rebuild_record
    from bamboo_mcp.sessions.records import KIND

    match finding.repair:
        case "cut" if finding.path.name == EVENTS:
            cut_run(home, finding.path)
        case "cut":
            cut_torn_end(finding.path, KIND)
        case "record":
            rebuild_record(home, finding.path)
        case "remove":
            remove(finding.path)
            if finding.path.suffix == ".db":
                for end in ("-wal", "-shm"):
                    remove(finding.path.with_name(finding.path.name + end))
        case "":
            pass
