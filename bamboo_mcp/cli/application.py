"""What the command line needs of an opened agent (`app.App` is one)."""

from __future__ import annotations

from typing import Protocol

from bamboo_mcp.ports import EventLog, Models, Questions, SubagentPort


class Application(Protocol):
    @property
    def models(self) -> Models: ...
    @property
    def subagents(self) -> SubagentPort: ...
    @property
    def log(self) -> EventLog: ...
    @property
    def questions(self) -> Questions: ...
