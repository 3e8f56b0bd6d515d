"""Telling clients that a list changed, in both eras; the one file with the SDK's private parts.

Modern clients listen on a stream of their own (`subscriptions/listen`), legacy ones get a bare
notification on their connection, which has to be remembered for that (SDK note, 4.6). Pinned to
mcp 2.3: `session._connection` is the only object that outlives a request.
"""

from __future__ import annotations

from typing import Any

from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged


class Changes:
    """Who wants to hear of changes. Hand it to `mirror_server`, keep it, call `tools_changed`."""

    def __init__(self) -> None:
        self._bus = InMemorySubscriptionBus()
        self._legacy: set[Connection] = set()
        self.listen = ListenHandler(self._bus)
        """Serves `subscriptions/listen`."""

    def remember(self, context: ServerRequestContext[Any, Any]) -> None:
        """A legacy client finished its handshake; it is forgotten when its connection closes."""
        connection = context.session._connection
        self._legacy.add(connection)
        connection.exit_stack.callback(self._legacy.discard, connection)

    async def tools_changed(self) -> None:
        """Tell everyone that `tools/list` has a new answer. A client that is gone is no error."""
        await self._bus.publish(ToolsListChanged())
        for connection in tuple(self._legacy):
            await connection.send_tool_list_changed()
