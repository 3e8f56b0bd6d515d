"""Results of bounded size: text keeps its head and tail, what cannot be cut is named instead."""

from __future__ import annotations

import msgspec

from bamboo_mcp.domain.messages import Content, ImageBlock, RawBlock, TextBlock
from bamboo_mcp.domain.tools import ToolResult, error_result
from bamboo_mcp.domain.value import Value
from bamboo_mcp.tools.excerpts import cut_text


class ResultLimits(Value, frozen=True, kw_only=True):
    """`text` counts the characters of all text together, `media` the encoded ones of one image or
    other block, `structured` the structured content as JSON."""

    text: int = 200_000
    media: int = 10_000_000
    structured: int = 200_000


DEFAULT_LIMITS = ResultLimits()


def cut_result(result: ToolResult, limits: ResultLimits) -> ToolResult:
    """`result` itself when it is within `limits`, else a copy that is."""
    if result.structured is not None:
        size = len(msgspec.json.encode(result.structured))
        if size > limits.structured:
            # Half an object would break the tool's own output schema.
            return error_result(
                "result_too_large",
                f"the answer has {size} characters of structured content, {limits.structured} fit",
                hint="Ask for less: a smaller limit, a page, a narrower query.",
            )
    content = result.content
    if any(not isinstance(item, TextBlock) for item in content):
        content = tuple(_light(item, limits.media) for item in content)
    if sum(len(item.text) for item in content if isinstance(item, TextBlock)) > limits.text:
        content = _one_text(content, limits.text)
    if content is result.content:
        return result
    return msgspec.structs.replace(result, content=content)


def _one_text(content: tuple[Content, ...], max_chars: int) -> tuple[Content, ...]:
    """All text in one block, cut; the rest after it."""
    whole = "\n".join(item.text for item in content if isinstance(item, TextBlock))
    rest = (item for item in content if not isinstance(item, TextBlock))
    return TextBlock(text=cut_text(whole, max_chars, hint="ask for a part of it")), *rest


def _light(item: Content, max_chars: int) -> Content:
    match item:
        case TextBlock():
            return item
        case ImageBlock(data_b64=data, media_type=kind):
            size = len(data)
        case RawBlock(raw=raw):
            size, kind = len(msgspec.json.encode(raw)), str(raw.get("type", "content"))[:100]
    if size <= max_chars:
        return item
    return TextBlock(text=f"[{kind} left out: {size} characters, {max_chars} fit]")
