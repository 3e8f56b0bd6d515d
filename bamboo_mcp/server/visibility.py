"""What a caller may see of subagents, sessions and runs: its own, and what those started."""

from __future__ import annotations

from bamboo_mcp.domain.errors import UnknownId
from bamboo_mcp.domain.ids import RunId, SessionId, SubagentId, Subject
from bamboo_mcp.domain.runs import RunState
from bamboo_mcp.domain.sessions import Session
from bamboo_mcp.domain.subagents import Subagent
from bamboo_mcp.ports import Runs, SessionStore, SubagentPort


class Visibility:
    """Finds things for a caller.

    All of them raise `UnknownId`, in the same words for what is not there and what is another's:
    nobody learns from a refusal that an id exists.
    """

    def __init__(self, subagents: SubagentPort, sessions: SessionStore, runs: Runs) -> None:
        self._subagents = subagents
        self._sessions = sessions
        self._runs = runs

    async def subagent(self, subagent_id: SubagentId, caller: Subject) -> Subagent:
        return await self._subagents.get(subagent_id, caller=caller)

    async def session(
        self, session_id: SessionId, caller: Subject, *, offset: int = 0, limit: int | None = 0
    ) -> Session:
        unknown = UnknownId(f"there is no session {session_id!r}")
        try:
            session = await self._sessions.load(session_id, offset=offset, limit=limit)
            if session.meta.subagent_id is not None:
                await self._subagents.get(session.meta.subagent_id, caller=caller)
            elif session.meta.caller != caller:
                raise unknown
        except UnknownId:
            raise unknown from None
        return session

    async def run(self, run_id: RunId, caller: Subject) -> RunState:
        unknown = UnknownId(f"there is no run {run_id!r}")
        try:
            state = await self._runs.state(run_id)
            if state.subagent_id is not None:
                await self._subagents.get(state.subagent_id, caller=caller)
            else:
                await self.session(state.session_id, caller)
        except UnknownId:
            raise unknown from None
        return state
