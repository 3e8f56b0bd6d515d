"""Our tools and results as the SDK's, and the SDK's as ours: the only place that knows both.

What the wire would refuse never reaches it: one bad schema fails a whole `tools/list`, one bad
content block a whole result (SDK note, section 5).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import mcp_types
import msgspec

from bamboo_mcp.domain.messages import Content, ImageBlock, RawBlock, TextBlock
from bamboo_mcp.domain.tools import Effect, Group, ToolAnnotations, ToolResult, ToolSpec

logger = logging.getLogger(__name__)


def wire_tools(specs: Sequence[ToolSpec]) -> list[mcp_types.Tool]:
    """Every tool that can be listed; one that cannot is logged and left out."""
    tools = []
    for spec in specs:
        try:
            tools.append(wire_tool(spec))
        except (TypeError, ValueError) as error:
            logger.warning("tool %r is not listed: %s", spec.name, error)
    return tools


def wire_tool(spec: ToolSpec) -> mcp_types.Tool:
    """The tool as clients see it.

    Raises:
        TypeError, ValueError: A schema is not JSON, or the arguments are not an object.
    """
    input_schema = _plain(spec.input_schema)
    if input_schema.get("type", "object") != "object":
        raise ValueError(f"its arguments are of type {input_schema['type']!r}, not 'object'")
    output_schema = None if spec.output_schema is None else _plain(spec.output_schema)
    if output_schema is not None and output_schema.get("type") != "object":
        logger.warning("output schema of tool %r is dropped: its root is no object", spec.name)
        output_schema = None
    hints = spec.annotations
    return mcp_types.Tool(
        name=spec.name,
        title=spec.title or None,
        description=spec.description,
        input_schema={**input_schema, "type": "object"},
        output_schema=output_schema,
        annotations=mcp_types.ToolAnnotations(
            read_only_hint=hints.read_only,
            destructive_hint=hints.destructive,
            idempotent_hint=hints.idempotent,
            open_world_hint=hints.open_world,
        ),
    )


def spec_of(
    tool: mcp_types.Tool, *, group: Group = "upstream", effect: Effect = "write"
) -> ToolSpec:
    """A tool read off the wire. Its effect is what *we* think of its source: hints may lie."""
    hints = tool.annotations or mcp_types.ToolAnnotations()
    return ToolSpec(
        name=tool.name,
        title=tool.title or "",
        description=tool.description or "",
        input_schema=tool.input_schema,
        output_schema=tool.output_schema,
        annotations=ToolAnnotations(
            read_only=hints.read_only_hint,
            destructive=hints.destructive_hint,
            idempotent=hints.idempotent_hint,
            open_world=hints.open_world_hint,
        ),
        group=group,
        effect=effect,
    )


def wire_result(result: ToolResult) -> mcp_types.CallToolResult:
    structured = None if result.structured is None else _plain(result.structured)
    return mcp_types.CallToolResult(
        content=[_wire_content(item) for item in result.content],
        structured_content=structured,
        is_error=result.is_error,
    )


def result_of(result: mcp_types.CallToolResult) -> ToolResult:
    """A result read off the wire. A structure that is no object is kept as text beside the rest."""
    content = tuple(_content_of(item) for item in result.content)
    structured = result.structured_content
    if structured is not None and not isinstance(structured, dict):
        content = (*content, TextBlock(text=msgspec.json.encode(structured).decode()))
        structured = None
    return ToolResult(content=content, structured=structured, is_error=bool(result.is_error))


def _wire_content(item: Content) -> mcp_types.ContentBlock:
    match item:
        case TextBlock(text=text):
            return mcp_types.TextContent(text=text)
        case ImageBlock(data_b64=data, media_type=media_type) if data:
            return mcp_types.ImageContent(data=data, mime_type=media_type)
        case ImageBlock(url=url, media_type=media_type):
            return mcp_types.ResourceLink(name="image", uri=url, mime_type=media_type or None)
        case RawBlock(raw=raw):
            return _wire_raw(raw)


def _wire_raw(raw: Mapping[str, Any]) -> mcp_types.ContentBlock:
    models: dict[str, type[mcp_types.ContentBlock]] = {
        "text": mcp_types.TextContent,
        "image": mcp_types.ImageContent,
        "audio": mcp_types.AudioContent,
        "resource_link": mcp_types.ResourceLink,
        "resource": mcp_types.EmbeddedResource,
    }
    model = models.get(str(raw.get("type")))
    if model is not None:
        try:
            return model.model_validate(_plain(raw), by_name=False)
        except (TypeError, ValueError) as error:
            logger.warning("a content block of type %r is sent as text: %s", raw["type"], error)
    return mcp_types.TextContent(text=msgspec.json.encode(raw, enc_hook=repr).decode())


def _content_of(item: mcp_types.ContentBlock) -> Content:
    match item:
        case mcp_types.TextContent(text=text):
            return TextBlock(text=text)
        case mcp_types.ImageContent(data=data, mime_type=media_type):
            return ImageBlock(media_type=media_type, data_b64=data)
        case _:
            return RawBlock(raw=item.model_dump(mode="json", by_alias=True, exclude_none=True))


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """The value as plain dicts and lists.

    Raises:
        TypeError, ValueError: It is not JSON.
    """
    plain: dict[str, Any] = msgspec.to_builtins(value, str_keys=True)
    return plain
