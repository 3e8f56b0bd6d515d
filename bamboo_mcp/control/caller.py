"""Who is calling: the client of a connection, or the subagent whose model made the call."""

from __future__ import annotations

from bamboo_mcp.domain.ids import Subject
from bamboo_mcp.ports import ToolContext


def caller_of(context: ToolContext) -> Subject:
    """A subagent is its own subject: what it spawns is its own, not its spawner's."""
    return Subject(context.subagent_id) if context.subagent_id else context.caller
