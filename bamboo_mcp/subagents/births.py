"""How a subagent comes into being: admitted, stored so that it cannot be lost, then started.

Once for each idempotency key.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

import anyio

from bamboo_mcp.domain.errors import BambooError, InvalidInput, LimitReached, UnknownId
from bamboo_mcp.domain.events import RunQueued
from bamboo_mcp.domain.ids import OwnerId, SessionId, SubagentId, Subject, new_subagent_id
from bamboo_mcp.domain.messages import Message, user_message
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.domain.subagents import SubagentSpec
from bamboo_mcp.ports import EventLog, SessionStore
from bamboo_mcp.runs.board import RunBoard
from bamboo_mcp.subagents.admission import Admission
from bamboo_mcp.subagents.child import Child
from bamboo_mcp.subagents.directory import Directory
from bamboo_mcp.subagents.forking import forked
from bamboo_mcp.subagents.keys import ASKED, KEPT_S, asked, day_of, keyed_id
from bamboo_mcp.subagents.lifetimes import Lifetimes
from bamboo_mcp.subagents.resuming import Resuming
from bamboo_mcp.subagents.views import session_of

logger = logging.getLogger(__name__)

CLEAN_UP_S = 2.0
"""How long what a failed spawn had stored may take to be removed."""


_TRIES = 10
"""How often a spawn with a key looks again who was first."""


_NO_KEY: Mapping[str, str] = {}  # one for all: a thousand empty ones would take 64 KB


class _Taken(Exception):
    """A subagent with this key is being born elsewhere, or the key means another one by now."""


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
        self._resuming = Resuming(
            admission=admission,
            lifetimes=lifetimes,
            directory=directory,
            sessions=sessions,
            log=log,
            board=board,
            owner=owner,
            clock=clock,
        )

    async def spawn_once(self, spec: SubagentSpec) -> SubagentId:
        """The subagent of the spec's idempotency key: the first one, or else a new one.

        Raises:
            InvalidInput: The first one was asked to be something else.
        """
        for _ in range(_TRIES):
            today = day_of(self._clock())
            for day in (today, today - 1):
                subagent_id = keyed_id(spec, day)
                if await self._is_first(subagent_id, spec):
                    return subagent_id
            try:
                return (await self.spawn(spec, today)).subagent_id
            except _Taken:
                continue
        raise LimitReached(
            f"idempotency_key {spec.idempotency_key!r} is used by many calls at this moment",
            hint="call again",
        )

    async def resume(self, subagent_id: SubagentId, message: str, caller: Subject) -> Child:
        """See `Resuming.resume`."""
        return await self._resuming.resume(subagent_id, message, caller)

    async def _is_first(self, subagent_id: SubagentId, spec: SubagentSpec) -> bool:
        try:
            meta = (await self._sessions.load(session_of(subagent_id), limit=0)).meta
        except UnknownId:
            return False
        if self._clock() - meta.created_at >= KEPT_S:
            return False
        if meta.extra.get(ASKED) != asked(spec):
            raise InvalidInput(
                f"idempotency_key {spec.idempotency_key!r} was used for {subagent_id} "
                "with other arguments",
                hint="take a new key for new work; a key means the same call for 24 hours",
            )
        return True

    async def spawn(self, wanted: SubagentSpec, day: int | None = None) -> Child:
        """Check, complete, store, start.

        With a `day` it is born under its key for that day, or `_Taken` is raised.

        Raises:
            BambooError: It was not born, and nothing is left of it.
        """
        self._admission.check_task(wanted, self._lifetimes.unfinished_count)
        parent = await self._parent(wanted)
        spec = await self._admission.complete(wanted, parent.spec if parent else None)
        past = await self._past(spec, parent) if spec.context == "fork" else ()
        # Completing may have taken a while: look again, then register with no await in between.
        self._admission.check_task(spec, self._lifetimes.unfinished_count)
        if parent is not None and parent.ended:
            raise _has_ended(parent.subagent_id)
        subagent_id = new_subagent_id() if day is None else self._keyed(wanted, day)
        session_id = session_of(subagent_id)
        run_id = self._board.reserve(session_id, subagent_id)
        now = self._now()
        child = Child(spec, self._admission.request(spec, subagent_id, session_id, run_id), now)
        self._lifetimes.register(child)
        messages = (*past, user_message(spec.task, at=now))
        extra = _NO_KEY if day is None else {ASKED: asked(wanted)}
        try:
            await self._sessions.create(self._record(child, extra), messages)
            self._log.append(
                run_id,
                RunQueued(session_id=session_id, owner=self._owner, subagent_id=subagent_id),
            )
        except BaseException as error:
            self._lifetimes.withdraw(child)
            self._board.release(run_id)
            if day is not None and isinstance(error, InvalidInput):
                # Another process was first, and the session there is that of its subagent.
                raise _Taken from error
            await self._leave_no_session(session_id)
            raise
        self._lifetimes.start(child, self._admission.launcher(spec))
        return child

    def _keyed(self, wanted: SubagentSpec, day: int) -> SubagentId:
        """The id of a key's subagent, if it may be born: another call of ours may be ahead."""
        subagent_id = keyed_id(wanted, day)
        self._lifetimes.forget(subagent_id)  # its session is gone, else it had been found
        if day != day_of(self._clock()) or self._lifetimes.find(subagent_id) is not None:
            raise _Taken
        return subagent_id

    async def _past(self, spec: SubagentSpec, parent: Child | None) -> Sequence[Message]:
        """What a fork knows of its parent's conversation."""
        if parent is None:
            raise InvalidInput(
                "context 'fork' needs a conversation to copy",
                hint="name the subagent whose conversation it is in parent_id",
            )
        there = await self._sessions.load(parent.request.session_id, offset=-spec.fork_messages)
        return forked(there.messages, cut=there.offset > 0)

    def _record(self, child: Child, extra: Mapping[str, str]) -> SessionMeta:
        spec, request = child.spec, child.request
        return SessionMeta(
            session_id=request.session_id,
            created_at=child.created_at,
            updated_at=child.created_at,
            title=spec.title or spec.task[:60],
            model=spec.model,
            workspace=spec.workspace,
            caller=spec.caller,
            parent_id=session_of(spec.parent_id) if spec.parent_id else None,
            subagent_id=child.subagent_id,
            spec=spec,
            run_id=request.run_id,
            owner=self._owner,
            extra=extra,
        )

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
        hint="leave parent_id out, name a subagent that is at work, or resume this one",
    )
