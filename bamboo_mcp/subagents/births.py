"""How a subagent comes into being: admitted, stored so that it cannot be lost, then started."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import anyio

from bamboo_mcp.domain.errors import BambooError, InvalidInput, UnknownId
from bamboo_mcp.domain.events import RunQueued
from bamboo_mcp.domain.ids import OwnerId, SessionId, SubagentId, Subject, new_subagent_id
from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.domain.subagents import SubagentSpec
from bamboo_mcp.ports import EventLog, SessionStore
from bamboo_mcp.runs.board import RunBoard
from bamboo_mcp.subagents.admission import Admission
from bamboo_mcp.subagents.child import Child
from bamboo_mcp.subagents.directory import Directory
from bamboo_mcp.subagents.lifetimes import Lifetimes
from bamboo_mcp.subagents.views import session_of

logger = logging.getLogger(__name__)

CLEAN_UP_S = 2.0
"""How long what a failed spawn had stored may take to be removed."""


class Births:
    def __init__(
        self,
        *,
        admission: Admission,
        lifetimes: Lifetimes,
        directory: Directory,
        sessions: SessionStore,
        log: EventLog,
        board: RunBoard,
        owner: OwnerId,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._admission = admission
        self._lifetimes = lifetimes
        self._directory = directory
        self._sessions = sessions
        self._log = log
        self._board = board
        self._owner = owner
        self._clock = clock
        self._last_now = 0.0

    async def spawn(self, spec: SubagentSpec) -> Child:
        """Check, complete, store, start.

        Raises:
            BambooError: It was not born, and nothing is left of it.
        """
        self._admission.check_task(spec, self._lifetimes.unfinished_count)
        parent = await self._parent(spec)
        spec = await self._admission.complete(spec, parent.spec if parent else None)
        # Completing may have taken a while: look again, then register with no await in between.
        self._admission.check_task(spec, self._lifetimes.unfinished_count)
        if parent is not None and parent.ended:
            raise _has_ended(parent.subagent_id)
        subagent_id = new_subagent_id()
        session_id = session_of(subagent_id)
        run_id = self._board.reserve(session_id, subagent_id)
        now = self._now()
        child = Child(spec, self._admission.request(spec, subagent_id, session_id, run_id), now)
        self._lifetimes.register(child)
        try:
            await self._sessions.create(
                SessionMeta(
                    session_id=session_id,
                    created_at=now,
                    updated_at=now,
                    title=spec.title or spec.task[:60],
                    model=spec.model,
                    workspace=spec.workspace,
                    caller=spec.caller,
                    parent_id=session_of(spec.parent_id) if spec.parent_id else None,
                    subagent_id=subagent_id,
                    spec=spec,
                    run_id=run_id,
                    owner=self._owner,
                ),
                (user_message(spec.task, at=now),),
            )
            self._log.append(
                run_id,
                RunQueued(session_id=session_id, owner=self._owner, subagent_id=subagent_id),
            )
        except BaseException:
            self._lifetimes.withdraw(child)
            self._board.release(run_id)
            await self._leave_no_session(session_id)
            raise
        self._lifetimes.start(child, self._admission.launcher(spec))
        return child

    async def _parent(self, spec: SubagentSpec) -> Child | None:
        """The living subagent that `spec` is to be a child of: it lends its rights and its life."""
        if spec.parent_id is None:
            return None
        parent = self._lifetimes.find(spec.parent_id)
        if parent is None and spec.caller != Subject(spec.parent_id):
            parent = await self._directory.own(spec.parent_id, spec.caller)
        if parent is None or parent.ended:
            raise _has_ended(spec.parent_id)
        return parent

    async def _leave_no_session(self, session_id: SessionId) -> None:
        """A spawn failed: what it had stored would be listed as a subagent that never begins."""
        with anyio.move_on_after(CLEAN_UP_S, shield=True):
            try:
                await self._sessions.delete(session_id)
            except UnknownId:
                pass
            except BambooError:
                logger.warning("session %s of a failed spawn could not be removed", session_id)

    def _now(self) -> float:
        """The time, never the same twice: listings are paged by it."""
        self._last_now = max(self._clock(), self._last_now + 1e-6)
        return self._last_now


def _has_ended(subagent_id: SubagentId) -> InvalidInput:
    return InvalidInput(
        f"subagent {subagent_id!r} has ended and can have no children",
        hint="leave parent_id out, or name a subagent that is at work",
    )
