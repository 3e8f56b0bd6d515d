"""Finding subagents that are not under way here, and who may see which."""

from __future__ import annotations

from bamboo_mcp.domain.errors import NotOwner, UnknownId
from bamboo_mcp.domain.ids import RunId, SubagentId, Subject
from bamboo_mcp.domain.runs import TERMINAL, RunState
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.domain.subagents import SubagentSpec
from bamboo_mcp.ports import SessionStore
from bamboo_mcp.runs.board import RunBoard
from bamboo_mcp.subagents.child import Child
from bamboo_mcp.subagents.lifetimes import Lifetimes
from bamboo_mcp.subagents.views import session_of


class Directory:
    """Subagents by id: the living ones from memory, the others from their sessions and runs."""

    def __init__(self, *, lifetimes: Lifetimes, sessions: SessionStore, board: RunBoard) -> None:
        self._lifetimes = lifetimes
        self._sessions = sessions
        self._board = board

    async def own(self, subagent_id: SubagentId, caller: Subject) -> Child | None:
        """The child if this process owns it, None if it has ended elsewhere or long ago.

        Raises:
            UnknownId, NotOwner
        """
        child = await self.newest(subagent_id, caller)
        if child is not None:
            return child
        meta = await self.stored(subagent_id, caller)
        if (await self.state_of(meta)).status not in TERMINAL:
            raise NotOwner(
                f"subagent {subagent_id!r} runs in another server process",
                hint="steer, answer or cancel it from the client that started it; "
                "get_subagent and await_subagents work from here",
            )
        return None

    async def newest(self, subagent_id: SubagentId, caller: Subject) -> Child | None:
        """The child in memory, unless another process has resumed it since it ended here."""
        child = self._lifetimes.find(subagent_id)
        if child is None or not await self.may_see(child.spec, caller):
            return None
        if child.ended:
            meta = await self._meta(subagent_id)
            if meta is not None and meta.run_id != child.request.run_id:
                self._lifetimes.forget(subagent_id)
                return None
        return child

    async def stored(self, subagent_id: SubagentId, caller: Subject) -> SessionMeta:
        """Raises `UnknownId` when there is none that `caller` may see."""
        meta = await self._meta(subagent_id)
        if meta is None or meta.spec is None or not await self.may_see(meta.spec, caller):
            raise UnknownId(
                f"no subagent {subagent_id!r}", hint="list_subagents shows the ones there are"
            )
        return meta

    async def state_of(self, meta: SessionMeta, run_id: RunId | None = None) -> RunState:
        """Of its newest run, or of another one of its runs."""
        assert meta.run_id is not None
        try:
            return await self._board.state(run_id or meta.run_id)
        except UnknownId:
            # Accepted but not begun: it waits in its owner's queue, or died with it there.
            alive = meta.owner is not None and self._board.alive(meta.owner)
            return RunState(
                run_id=meta.run_id,
                session_id=meta.session_id,
                status="pending" if alive else "lost",
                owner=meta.owner,
                subagent_id=meta.subagent_id,
            )

    async def may_see(self, spec: SubagentSpec, caller: Subject) -> bool:
        """A caller sees what it spawned, and what that spawned in turn."""
        while spec.caller != caller:
            above = await self._spec(spec.parent_id) if spec.parent_id else None
            if above is None:
                return False
            spec = above
        return True

    async def _spec(self, subagent_id: SubagentId) -> SubagentSpec | None:
        child = self._lifetimes.find(subagent_id)
        if child is not None:
            return child.spec
        meta = await self._meta(subagent_id)
        return meta.spec if meta else None

    async def _meta(self, subagent_id: SubagentId) -> SessionMeta | None:
        try:
            return (await self._sessions.load(session_of(subagent_id), limit=0)).meta
        except UnknownId:
            return None
