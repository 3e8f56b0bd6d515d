"""`BoundedExecutor`: a call's arguments, time and answer kept in bounds, its failure contained."""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import anyio
from msgspec.structs import replace

from bamboo_mcp.domain.errors import BambooError
from bamboo_mcp.domain.tools import (
    Group,
    ToolCall,
    ToolResult,
    ToolSpec,
    error_result,
    result_of_error,
)
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.tools.catalogue import Catalogue
from bamboo_mcp.tools.cutting import DEFAULT_LIMITS, ResultLimits, cut_result
from bamboo_mcp.tools.validation import Validators

logger = logging.getLogger(__name__)


class BoundedExecutor:
    """The border of a tool call: what a tool does wrong inside becomes an error result outside.

    A call ends at the tool's own `timeout_s` (else `timeout_s` here), and never later than
    `context.deadline`; the tool is told the earlier of the two. An answer keeps to `group_limits`
    where they name the tool's group, else to `limits`.
    """

    def __init__(
        self,
        base: Catalogue,
        *,
        validators: Validators,
        timeout_s: float = 120.0,
        limits: ResultLimits = DEFAULT_LIMITS,
        group_limits: Mapping[Group, ResultLimits] | None = None,
    ) -> None:
        self._base = base
        self._validators = validators
        self._timeout_s = timeout_s
        self._limits = limits
        self._group_limits = group_limits or {}

    def list_tools(self) -> Coroutine[Any, Any, Sequence[ToolSpec]]:
        return self._base.list_tools()

    def find_tool(self, name: str) -> Coroutine[Any, Any, ToolSpec | None]:
        return self._base.find_tool(name)

    async def call_tool(self, call: ToolCall, context: ToolContext) -> ToolResult:
        spec = await self._base.find_tool(call.name)
        if spec is None:
            return await self._base.call_tool(call, context)
        if problem := self._validators.problem(spec, call):
            return problem
        timeout_s = self._timeout_s if spec.timeout_s is None else spec.timeout_s
        now = anyio.current_time()
        deadline = min(now + timeout_s, context.deadline)
        with anyio.CancelScope(deadline=deadline) as scope:
            limits = self._group_limits.get(spec.group, self._limits)
            result = await self._guarded(call, replace(context, deadline=deadline), limits)
        if scope.cancel_called and (scope.cancelled_caught or result.is_error):
            return error_result(
                "timeout",
                f"{call.name!r} was stopped: it did not end within {max(deadline - now, 0):.3g} s",
                hint="Ask for less at once, or for more time if the tool has an argument for it.",
                retryable=True,
            )
        return result

    async def _guarded(
        self, call: ToolCall, context: ToolContext, limits: ResultLimits
    ) -> ToolResult:
        try:
            result = await self._base.call_tool(call, context)
            if not isinstance(result, ToolResult):
                raise TypeError(f"a tool answers with a ToolResult, not with {type(result)}")
            return cut_result(result, limits)
        except BambooError as error:
            return result_of_error(error)
        except (Exception, SystemExit) as error:
            # Its words may hold paths and secrets: they are for the operator alone.
            logger.exception("tool %s failed (call %s, run %s)", call.name, call.id, context.run_id)
            return error_result(
                "internal_error",
                f"{call.name!r} gave no answer: it failed inside with {type(error).__name__}",
                hint="This is a fault of the tool; the log of bamboo-mcp has the details.",
            )
