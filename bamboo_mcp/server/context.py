"""What a direct call may know and do: the client calls a tool itself, its host asked the user."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
from mcp.server.context import ServerRequestContext

from bamboo_mcp.domain.ids import LOCAL, Subject
from bamboo_mcp.domain.questions import Answer, PermissionMode, Question
from bamboo_mcp.domain.tools import Progress
from bamboo_mcp.domain.value import Value
from bamboo_mcp.ports import ToolContext

SENDER = "bamboo.sender"
"""Where the HTTP server notes the caller in a request's ASGI scope."""


async def _nobody_to_ask(question: Question) -> Answer:
    return Answer(
        decision="deny",
        by="closed",
        reason="nobody can be asked over this connection; the server's settings decide "
        "(permissions.direct_mode, permissions.allow_commands)",
    )


def sender_of(context: ServerRequestContext[Any, Any]) -> Subject | None:
    """Who sent the request, as the HTTP server found out; None over a pipe, which has one user."""
    scope = getattr(context.request, "scope", None)
    return None if scope is None else scope.get(SENDER)


class DirectCalls(Value, frozen=True, kw_only=True):
    """The settings of direct calls (mcp-surface, "Permissions, seen from outside").

    `workspace` is asked at each call: a client's roots may arrive after its first one.
    """

    mode: PermissionMode
    workspace: Callable[[], Path | None] = lambda: None
    caller: Subject = LOCAL
    max_wait_s: float = 45.0

    def context(
        self, progress: Callable[[Progress], None], caller: Subject | None = None
    ) -> ToolContext:
        """`caller` is who sent this one request, where a transport can tell."""
        return ToolContext(
            caller=caller or self.caller,
            mode=self.mode,
            ask=_nobody_to_ask,
            progress=progress,
            workspace=self.workspace(),
            deadline=anyio.current_time() + self.max_wait_s,
        )
