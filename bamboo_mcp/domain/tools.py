"""Tools: what one is (`ToolSpec`), a call of it, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from bamboo_mcp.domain.errors import BambooError
from bamboo_mcp.domain.messages import Content, TextBlock, text_of
from bamboo_mcp.domain.value import Value

Effect: TypeAlias = Literal["read", "write", "execute", "network", "control"]
"""What a tool can do to the world. Permissions decide on this, not on annotations: they may lie."""

Group: TypeAlias = Literal["control", "skills", "workspace", "upstream", "plugins"]

GROUPS: tuple[Group, ...] = ("control", "skills", "workspace", "upstream", "plugins")
"""In the order in which tools are listed."""

EMPTY_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {},
    "additionalProperties": False,
}


class ToolAnnotations(Value, frozen=True, kw_only=True):
    """Hints for a client's user interface (MCP specification, ToolAnnotations). None: not said."""

    read_only: bool | None = None
    destructive: bool | None = None
    idempotent: bool | None = None
    open_world: bool | None = None


class ToolSpec(Value, frozen=True, kw_only=True, gc=False):
    """A tool as it is offered: to a model, and to MCP clients.

    `name` is `[a-z0-9_]`, at most 64 characters. Schemas are JSON Schema 2020-12 whose root is an
    object. A tool with an `output_schema` answers with `structured` content that is complete by
    itself.
    """

    name: str
    description: str
    input_schema: Mapping[str, Any] = msgspec.field(default_factory=lambda: EMPTY_SCHEMA)
    output_schema: Mapping[str, Any] | None = None
    title: str = ""
    annotations: ToolAnnotations = ToolAnnotations()
    effect: Effect = "write"
    group: Group = "plugins"
    sequential: bool = False
    """Never run side by side with another tool of the same round."""
    timeout_s: float | None = None
    """Longest time one call may take; None means the setting."""


class ToolCall(Value, frozen=True, kw_only=True, gc=False):
    """One call, arguments parsed but not yet validated."""

    id: str
    name: str
    arguments: Mapping[str, Any] = {}


class ToolResult(Value, frozen=True, kw_only=True, gc=False):
    """What a tool answered. A failing tool is a result with `is_error`, not an exception."""

    content: tuple[Content, ...] = ()
    structured: Mapping[str, Any] | None = None
    is_error: bool = False
    error_code: str = ""

    @property
    def text(self) -> str:
        return text_of(self.content)


class Progress(Value, frozen=True, kw_only=True):
    """How far a call is. `total` None: unknown."""

    done: float
    total: float | None = None
    message: str = ""


def text_result(text: str, *, structured: Mapping[str, Any] | None = None) -> ToolResult:
    return ToolResult(content=(TextBlock(text=text),), structured=structured)


def error_result(code: str, message: str, *, hint: str = "", retryable: bool = False) -> ToolResult:
    """The failure form of mcp-surface, "Answer shape": the text is `{"error": {...}}` as JSON."""
    body = {"error": {"code": code, "message": message, "retryable": retryable, "hint": hint}}
    text = msgspec.json.encode(body).decode()
    return ToolResult(content=(TextBlock(text=text),), is_error=True, error_code=code)


def result_of_error(error: BambooError) -> ToolResult:
    return error_result(error.code, error.message, hint=error.hint, retryable=error.retryable)
