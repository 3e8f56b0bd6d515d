"""Real executors for the tests of the wrappers: tools with their bodies, and what may go wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import anyio
from msgspec.structs import replace

from bamboo_mcp.domain.questions import Answer, PermissionMode, Question
from bamboo_mcp.domain.tools import (
    EMPTY_SCHEMA,
    Effect,
    Group,
    ToolCall,
    ToolResult,
    ToolSpec,
    error_result,
    text_result,
)
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.testing.contracts.tool_executor import quiet_context

Body = Callable[[ToolCall, ToolContext], Awaitable[ToolResult]]

TEXT_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "count": {"type": "integer", "minimum": 1}},
    "required": ["text"],
    "additionalProperties": False,
}


def spec(
    name: str,
    *,
    effect: Effect = "read",
    group: Group = "plugins",
    schema: Mapping[str, Any] = EMPTY_SCHEMA,
    timeout_s: float | None = None,
) -> ToolSpec:
    return ToolSpec(
        name=name,
        description=f"does {name}",
        input_schema=schema,
        effect=effect,
        group=group,
        timeout_s=timeout_s,
    )


async def say_own_name(call: ToolCall, context: ToolContext) -> ToolResult:
    return text_result(call.name)


async def echo(call: ToolCall, context: ToolContext) -> ToolResult:
    return text_result(str(call.arguments["text"]))


async def hang(call: ToolCall, context: ToolContext) -> ToolResult:
    await anyio.sleep_forever()
    raise AssertionError("unreachable")


class SmallTools:
    """Tools with their bodies. `lists` counts how often the list was asked for."""

    def __init__(self, *tools: str | tuple[ToolSpec, Body]) -> None:
        pairs = [(spec(one), say_own_name) if isinstance(one, str) else one for one in tools]
        self.specs: list[ToolSpec] = [one for one, _ in pairs]
        self.bodies: dict[str, Body] = {one.name: body for one, body in pairs}
        self.lists = 0
        self.calls: list[ToolCall] = []

    async def list_tools(self) -> Sequence[ToolSpec]:
        self.lists += 1
        return tuple(self.specs)

    async def call_tool(self, call: ToolCall, context: ToolContext) -> ToolResult:
        self.calls.append(call)
        if call.name not in self.bodies:
            return error_result("unknown_tool", f"no tool {call.name!r}")
        return await self.bodies[call.name](call, context)


def call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(id="call_1", name=name, arguments=arguments)


def context_answering(answer: Answer, asked: list[Question]) -> ToolContext:
    """A context whose questions are all answered with `answer`, and kept in `asked`."""

    async def ask(question: Question) -> Answer:
        asked.append(question)
        return answer

    return replace(quiet_context(), ask=ask)


def context_in(mode: PermissionMode) -> ToolContext:
    return replace(quiet_context(), mode=mode)
