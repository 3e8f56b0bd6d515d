from __future__ import annotations

import mcp_types
import pytest

from bamboo_mcp.domain.messages import Content, ImageBlock, RawBlock, TextBlock
from bamboo_mcp.domain.tools import ToolAnnotations, ToolResult, ToolSpec
from bamboo_mcp.server.conversion import (
    result_of,
    spec_of,
    wire_result,
    wire_tool,
)


def test_a_tool_seen_through_mcp_and_back_is_the_same_tool() -> None:
    spec = ToolSpec(
        name="look_up",
        title="Look up",
        description="Find a word.",
        input_schema={
            "type": "object",
            "properties": {"word": {"type": "string", "x-unit": "word"}},
            "required": ["word"],
            "additionalProperties": False,
            "$defs": {"a": {"oneOf": [{"type": "null"}]}},
        },
        output_schema={"type": "object", "properties": {"n": {"type": "integer"}}},
        annotations=ToolAnnotations(read_only=True, destructive=False, open_world=True),
        effect="network",
        group="upstream",
    )
    wire = mcp_types.Tool.model_validate_json(wire_tool(spec).model_dump_json(by_alias=True))
    assert spec_of(wire, group="upstream", effect="network") == spec


@pytest.mark.parametrize(
    "content",
    [
        TextBlock(text="words"),
        ImageBlock(media_type="image/png", data_b64="aGk="),
        RawBlock(raw={"type": "resource_link", "name": "a", "uri": "file:///a"}),
        RawBlock(raw={"type": "audio", "data": "aGk=", "mimeType": "audio/wav"}),
        RawBlock(
            raw={
                "type": "resource",
                "resource": {"uri": "file:///a", "text": "x", "_meta": {"k": 1}},
            }
        ),
    ],
)
def test_a_result_seen_through_mcp_and_back_is_the_same_result(content: Content) -> None:
    result = ToolResult(content=(content,), structured={"n": [1, None]}, is_error=True)
    wire = mcp_types.CallToolResult.model_validate_json(
        wire_result(result).model_dump_json(by_alias=True, exclude_none=True)
    )
    assert result_of(wire) == result


def test_a_structure_that_is_no_object_is_kept_as_text() -> None:
    wire = mcp_types.CallToolResult(content=[], structured_content=[1, 2])
    assert result_of(wire) == ToolResult(content=(TextBlock(text="[1,2]"),))


def test_a_block_no_client_would_take_is_sent_as_text() -> None:
    wire = wire_result(ToolResult(content=(RawBlock(raw={"type": "hologram", "x": object()}),)))
    (block,) = wire.content
    assert isinstance(block, mcp_types.TextContent)
    assert "hologram" in block.text
