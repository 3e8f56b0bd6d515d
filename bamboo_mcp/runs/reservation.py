"""The place of a session's one run, taken against all the processes on a home folder.

The session's record names its latest run and that run's owner. Whoever wants to begin another one
replaces them under the lock of the record, and only if they are still those it has looked at.
"""

from __future__ import annotations

import logging

import anyio
import msgspec

from bamboo_mcp.domain.errors import BambooError, UnknownId
from bamboo_mcp.domain.events import RunQueued
from bamboo_mcp.domain.ids import OwnerId, RunId, SessionId, SubagentId
from bamboo_mcp.domain.runs import TERMINAL
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.ports import EventLog, SessionStore
from bamboo_mcp.runs.board import RunBoard, busy

logger = logging.getLogger(__name__)

UNDO_S = 2.0
"""How long a reservation that came to nothing may take to be undone."""


class _Moved(Exception):
    """The session's latest run is another one."""


async def reserve_across_processes(
    session_id: SessionId,
    subagent_id: SubagentId | None,
    *,
    board: RunBoard,
    sessions: SessionStore,
    log: EventLog,
    owner: OwnerId,
) -> RunId:
    """See `ports.Reserve`."""
    run_id = board.reserve(session_id, subagent_id)
    seen: SessionMeta | None = None
    claimed = False
    try:
        while not claimed:
            latest = (await sessions.load(session_id, limit=0)).meta
            if latest.run_id is not None and await _under_way(latest, board, owner):
                raise busy(session_id, latest.run_id)
            seen = latest
            claimed = await _claim(seen, run_id, owner, sessions)
        log.append(run_id, RunQueued(session_id=session_id, owner=owner, subagent_id=subagent_id))
    except BaseException:
        board.release(run_id)
        if seen is not None:
            # Also when we were cut off in the middle of a claim: it may have been written.
            await _undo(seen, run_id, sessions)
        raise
    return run_id


async def _under_way(meta: SessionMeta, board: RunBoard, owner: OwnerId) -> bool:
    assert meta.run_id is not None
    try:
        return (await board.state(meta.run_id)).status not in TERMINAL
    except UnknownId:
        # Not begun. One of ours would be on our board, and `board.reserve` have said so.
        return meta.owner is not None and meta.owner != owner and board.alive(meta.owner)


async def _claim(seen: SessionMeta, run_id: RunId, owner: OwnerId, sessions: SessionStore) -> bool:
    """Make `run_id` the session's latest run; False when somebody else has just done so."""

    def claim(latest: SessionMeta) -> SessionMeta:
        if latest.run_id != seen.run_id:
            raise _Moved
        earlier = latest.earlier_runs
        if latest.subagent_id is not None and latest.run_id is not None:
            earlier = (*earlier, latest.run_id)
        return msgspec.structs.replace(latest, run_id=run_id, owner=owner, earlier_runs=earlier)

    try:
        await sessions.edit(seen.session_id, claim)
    except _Moved:
        return False
    return True


async def _undo(before: SessionMeta, run_id: RunId, sessions: SessionStore) -> None:
    """The run will never begin: the session's latest one is that before it."""

    def give_back(latest: SessionMeta) -> SessionMeta:
        if latest.run_id != run_id:
            raise _Moved
        return msgspec.structs.replace(
            latest, run_id=before.run_id, owner=before.owner, earlier_runs=before.earlier_runs
        )

    with anyio.move_on_after(UNDO_S, shield=True):
        try:
            await sessions.edit(before.session_id, give_back)
        except _Moved:
            pass  # it was never written
        except BambooError:
            logger.exception("session %s still names run %s", before.session_id, run_id)
