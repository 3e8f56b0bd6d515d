"""Telling clients that a list changed, in both eras; the one file with the SDK's private parts.

Modern clients listen on a stream of their own (`subscriptions/listen`), legacy ones get a bare
notification on their connection, which has to be remembered for that (SDK note, 4.6). Pinned to
mcp 2.3: `session._connection` is the only object that outlives a request.
"""

from __future__ import annotations

from typing import Any

from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    ResourceUpdated,
    ToolsListChanged,
)


class Changes:
    """Who wants to hear of changes. Hand it to `mirror_server`, keep it, call `tools_changed`."""

    def __init__(self) -> None:
        self._bus = InMemorySubscriptionBus()
        self._legacy: set[Connection] = set()
        self._subscribed: dict[str, set[Connection]] = {}
        """Legacy connections by the resource they want to hear of."""
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

    def subscribe(self, context: ServerRequestContext[Any, Any], uri: str) -> None:
        """A legacy client wants to hear of `uri` until it says otherwise or is gone."""
        connection = context.session._connection
        readers = self._subscribed.setdefault(uri, set())
        if connection not in readers:
            readers.add(connection)
            connection.exit_stack.callback(self._unsubscribe, connection, uri)

    def unsubscribe(self, context: ServerRequestContext[Any, Any], uri: str) -> None:
        self._unsubscribe(context.session._connection, uri)

    async def resource_updated(self, uri: str) -> None:
        """Tell who subscribed to it that `uri` has something new to read."""
        await self._bus.publish(ResourceUpdated(uri=uri))
        for connection in tuple(self._subscribed.get(uri, ())):
            await connection.send_resource_updated(uri)

    def close(self) -> None:
        """Let every modern listener finish with its last answer."""
        self.listen.close()

    def _unsubscribe(self, connection: Connection, uri: str) -> None:
        readers = self._subscribed.get(uri, set())
        readers.discard(connection)
        if not readers:
            self._subscribed.pop(uri, None)
