"""A `ToolExecutor` as an MCP server: lists it, calls it, and lets nothing of ours leak.

Below: the executor, which validates, permits and filters. Above: a transport (`stdio`), or the
SDK's client in process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import mcp_types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.shared.exceptions import MCPError

from bamboo_mcp.domain.errors import BambooError
from bamboo_mcp.domain.ids import new_call_id
from bamboo_mcp.domain.tools import ToolCall, ToolResult, error_result, result_of_error
from bamboo_mcp.ports import ToolContext, ToolExecutor
from bamboo_mcp.server.changes import Changes
from bamboo_mcp.server.context import DirectCalls, sender_of
from bamboo_mcp.server.conversion import wire_result, wire_tools
from bamboo_mcp.server.progress import ProgressPump
from bamboo_mcp.server.resources import Resources
from bamboo_mcp.server.roots import client_roots
from bamboo_mcp.tools.catalogue import listing_order, unknown_tool

logger = logging.getLogger(__name__)

SERVER_NAME = "bamboo-mcp"
MAX_CONCURRENT = 256

Context = ServerRequestContext[Any, Any]
OnRoots = Callable[[Sequence[Path]], None]

_OVERTIME_S = 5.0
"""A tool keeps the deadline itself and answers with what it has; past this much more it is cut."""


class MirrorServer(Server[Any]):
    """The SDK's server, saying on every transport that its tool list may change.

    The SDK's HTTP manager and its in-process transport ask without options and would deny it.
    """

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        return super().create_initialization_options(
            notification_options or NotificationOptions(tools_changed=True),
            experimental_capabilities,
            extensions,
        )


class Mirror:
    """The handlers of `tools/list` and `tools/call` over one executor.

    At most `max_concurrent` calls run at a time; the others wait their turn and can be cancelled
    while they do.
    """

    def __init__(
        self, tools: ToolExecutor, calls: DirectCalls, *, max_concurrent: int = MAX_CONCURRENT
    ) -> None:
        self._tools = tools
        self._calls = calls
        self._turns = anyio.Semaphore(max_concurrent)
        self._schemas: dict[str, Mapping[str, Any]] = {}

    async def list_tools(
        self, context: Context, params: mcp_types.PaginatedRequestParams | None
    ) -> mcp_types.ListToolsResult:
        if params is not None and params.cursor is not None:
            raise MCPError(mcp_types.INVALID_PARAMS, "unknown cursor: the list is one page")
        try:
            specs = await self._tools.list_tools()
        except Exception:
            logger.exception("the tools could not be listed")
            message = "the tools could not be listed; the server's log has the details"
            raise MCPError(mcp_types.INTERNAL_ERROR, message) from None
        tools = wire_tools(sorted(specs, key=listing_order))
        self._schemas = {tool.name: tool.input_schema for tool in tools}
        return mcp_types.ListToolsResult(tools=tools)

    async def call_tool(
        self, context: Context, params: mcp_types.CallToolRequestParams
    ) -> mcp_types.CallToolResult:
        call = ToolCall(id=new_call_id(), name=params.name, arguments=params.arguments or {})
        async with self._turns, anyio.create_task_group() as group:
            pump = ProgressPump(group, context.session.report_progress)
            known = self._calls.context(pump.report, sender_of(context))
            result = await self._answer(call, known)
            pump.close()
            group.cancel_scope.cancel()
        return _wire(call, result)

    def input_schema(self, name: str) -> Mapping[str, Any] | None:
        """For the SDK's header checks, which would list all tools at each call without it."""
        return self._schemas.get(name)

    async def _answer(self, call: ToolCall, context: ToolContext) -> ToolResult:
        try:
            with anyio.fail_after(context.deadline + _OVERTIME_S - anyio.current_time()) as bound:
                result = await self._tools.call_tool(call, context)
        except BambooError as error:
            return result_of_error(error)
        except TimeoutError:
            if bound.cancelled_caught:
                return _overtime(call, self._calls.max_wait_s)
            logger.exception("tool %s failed in call %s", call.name, call.id)
            return _failed(call)
        except Exception:
            logger.exception("tool %s failed in call %s", call.name, call.id)
            return _failed(call)
        if result.error_code == "unknown_tool":
            return await self._unknown(call)
        return result

    async def _unknown(self, call: ToolCall) -> ToolResult:
        try:
            names = [spec.name for spec in await self._tools.list_tools()]
        except Exception:
            logger.exception("the tools could not be listed")
            names = []
        return unknown_tool(call.name, names)


def mirror_server(
    mirror: Mirror,
    *,
    version: str,
    instructions: str,
    changes: Changes | None = None,
    on_roots: OnRoots | None = None,
    resources: Resources | None = None,
) -> MirrorServer:
    """A server for any transport. `on_roots` hears the folders of a legacy client that has some."""
    changes = changes or Changes()

    async def tell_roots(context: Context, params: mcp_types.NotificationParams) -> None:
        if on_roots is not None and (roots := await client_roots(context)) is not None:
            on_roots(roots)

    async def connected(context: Context, params: mcp_types.NotificationParams) -> None:
        changes.remember(context)
        await tell_roots(context, params)

    server = MirrorServer(
        SERVER_NAME,
        version=version,
        instructions=instructions,
        on_list_tools=mirror.list_tools,
        on_call_tool=mirror.call_tool,
        on_subscriptions_listen=changes.listen if resources is None else resources.listen,
        get_tool_input_schema=mirror.input_schema,
        **({} if resources is None else resources.handlers),
    )
    server.add_notification_handler(
        "notifications/initialized", mcp_types.NotificationParams, connected
    )
    server.add_notification_handler(
        "notifications/roots/list_changed", mcp_types.NotificationParams, tell_roots
    )
    return server


def _wire(call: ToolCall, result: ToolResult) -> mcp_types.CallToolResult:
    try:
        return wire_result(result)
    except (TypeError, ValueError):
        logger.exception("tool %s answered call %s with what is not JSON", call.name, call.id)
        return wire_result(_failed(call))


def _failed(call: ToolCall) -> ToolResult:
    return error_result(
        "internal_error",
        f"the tool {call.name!r} failed unexpectedly; the server's log has the details",
        hint="health says where the logs are",
    )


def _overtime(call: ToolCall, max_wait_s: float) -> ToolResult:
    return error_result(
        "timeout",
        f"the tool {call.name!r} did not answer within {max_wait_s:g} s and was stopped",
        hint="ask for less at a time, or give the work to a subagent",
        retryable=True,
    )
