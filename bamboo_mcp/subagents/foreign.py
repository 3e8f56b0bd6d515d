"""Subagents of other server processes, followed through their logs while somebody here waits."""

from __future__ import annotations

import logging

import anyio

from bamboo_mcp.domain.errors import BambooError, UnknownId
from bamboo_mcp.domain.events import RunEnded
from bamboo_mcp.domain.runs import TERMINAL, RunRequest
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.domain.subagents import SubagentSpec
from bamboo_mcp.ports import EventLog, SessionStore
from bamboo_mcp.subagents.child import Child
from bamboo_mcp.subagents.directory import Directory
from bamboo_mcp.subagents.views import LOST

logger = logging.getLogger(__name__)

POLL_S = 0.1


class StandIn(Child):
    """A `Child` that is not ours."""

    __slots__ = ()
    own = False


class ForeignRuns:
    """Stand-ins, for as long as one wait lasts."""

    def __init__(self, *, directory: Directory, sessions: SessionStore, log: EventLog) -> None:
        self._directory = directory
        self._sessions = sessions
        self._log = log

    async def stand_in(self, meta: SessionMeta) -> Child:
        state = await self._directory.state_of(meta)
        request = RunRequest(
            run_id=state.run_id, session_id=meta.session_id, subagent_id=meta.subagent_id
        )
        spec = meta.spec or SubagentSpec(task=meta.title)
        child = StandIn(spec, request, meta.created_at, meta.earlier_runs)
        child.changed_at(state.last_seq)
        if state.status in TERMINAL:
            child.end(state.outcome or LOST)
        return child

    async def follow(self, child: Child) -> None:
        """Keep a stand-in up to date until its run is over; raises nothing of its own."""
        try:
            meta = (await self._sessions.load(child.request.session_id, limit=0)).meta
            while not child.ended:
                await self._follow_log(child)
                state = await self._directory.state_of(meta)
                if not child.ended and state.status in TERMINAL:
                    # Its process died: no event tells of that.
                    child.changed_seq += 1
                    child.end(state.outcome or LOST)
        except BambooError:
            logger.exception("the run %s of another server is not followed", child.request.run_id)

    async def _follow_log(self, child: Child) -> None:
        try:
            async for record in self._log.follow(child.request.run_id):
                if child.record.observe(record.event):
                    child.changed_at(record.seq)
                    child.changed()
                if isinstance(record.event, RunEnded):
                    child.changed_at(record.seq)
                    child.end(record.event.outcome)
        except UnknownId:
            await anyio.sleep(POLL_S)  # accepted over there, and its log not begun
