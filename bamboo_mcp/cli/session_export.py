"""A whole session as a file for people (Markdown) or programs (JSON lines)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from bamboo_mcp.domain.messages import (
    ImageBlock,
    Message,
    OpaqueBlock,
    RawBlock,
    ReasoningBlock,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
    text_of,
)
from bamboo_mcp.domain.sessions import Session

FORMATS: Sequence[str] = ("jsonl", "markdown")


def as_json_lines(session: Session) -> Iterator[str]:
    """First the record, then each message as it is stored, with its position."""
    yield _line({"session": session.meta})
    for position, message in enumerate(session.messages):
        yield _line({"position": position, "message": message})


def as_markdown(session: Session) -> Iterator[str]:
    """What was said, and what tools were asked and answered; no thoughts."""
    meta = session.meta
    yield f"# {_one_line(meta.title) or meta.session_id}\n"
    facts = (
        ("session", meta.session_id),
        ("created", moment(meta.created_at)),
        ("model", meta.chosen_model),
        ("workspace", meta.workspace),
    )
    yield "".join(f"- {name}: {value}\n" for name, value in facts if value)
    for message in session.messages:
        parts = list(_parts(message))
        if parts:
            who = message.origin or message.role
            if all(isinstance(block, ToolResultBlock) for block in message.blocks):
                who = "tools"
            when = f", {moment(message.at)}" if message.at else ""
            yield f"\n## {_one_line(who)}{when}\n"
            yield from (f"\n{part}\n" for part in parts)


def moment(at: float) -> str:
    """In local time; files from elsewhere may hold what is no time at all."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) if at else ""
    except (OverflowError, ValueError, OSError):
        return ""


def _parts(message: Message) -> Iterator[str]:
    for block in message.blocks:
        match block:
            case TextBlock(text=text):
                if text:
                    yield text
            case ToolCallBlock(name=name, arguments_json=arguments):
                yield f"calls `{name}`\n\n{fenced(arguments, 'json')}"
            case ToolResultBlock(name=name, content=content, is_error=is_error):
                words = "failed" if is_error else "answered"
                yield f"`{name}` {words}\n\n{fenced(text_of(content))}"
            case ImageBlock(media_type=media_type):
                yield f"[image {media_type}]"
            case ReasoningBlock() | RawBlock() | OpaqueBlock():
                continue


def fenced(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any in `text`."""
    longest = run = 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _line(value: Any) -> str:
    return msgspec.json.encode(value).decode() + "\n"
