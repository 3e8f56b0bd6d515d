"""What a server serves beside tools, handed on in one piece: subagents, sessions, runs, events."""

from __future__ import annotations

from bamboo_mcp.domain.value import Value
from bamboo_mcp.ports import EventLog, Runs, SessionStore, SubagentPort
from bamboo_mcp.server.changes import Changes
from bamboo_mcp.server.resources import Listen, Resources
from bamboo_mcp.server.visibility import Visibility


class Backing(Value, frozen=True, kw_only=True):
    """What there is to serve beside tools."""

    subagents: SubagentPort
    sessions: SessionStore
    runs: Runs
    log: EventLog
    listen: Listen

    def resources(self, changes: Changes) -> Resources:
        return Resources(
            visibility=self.visibility(),
            subagents=self.subagents,
            runs=self.runs,
            log=self.log,
            listen=self.listen,
            changes=changes,
        )

    def visibility(self) -> Visibility:
        return Visibility(self.subagents, self.sessions, self.runs)
