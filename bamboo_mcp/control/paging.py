"""Cutting answers into pages: of text by offset, of events by cursor, of lists by time."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.domain.ids import SubagentId

T = TypeVar("T")

_CURSOR = "c1."
_PAGE = "p1."
_KEY_CHARS = 12
"""Enough of an id's random part to tell a caller's subagents apart, and a third of its length."""

_AS_GIVEN = "Pass back exactly what an earlier answer gave, or leave it out."


def text_page(text: str, offset: int, max_chars: int) -> tuple[str, int | None]:
    """The part of `text` from `offset` on and where the next begins, None after the last.

    Cut after a line end if there is one. The parts put together are the text.

    Raises:
        InvalidInput: `offset` lies past the end.
    """
    if offset > len(text):
        raise InvalidInput(
            f"offset {offset} is past the end: there are {len(text)} characters",
            hint="Use the next_offset of the answer before; null means that was the end.",
        )
    end = offset + max_chars
    if end >= len(text):
        return text[offset:], None
    line_end = text.rfind("\n", offset, end) + 1
    end = line_end or end
    return text[offset:end], end


def shortened(text: str, max_chars: int) -> str:
    """`text` with a mark where it was cut."""
    if len(text) <= max_chars:
        return text
    return f"{text[:max_chars]}… [{len(text) - max_chars} more characters]"


def cursor_of(seen: Mapping[SubagentId, int]) -> str:
    """The last event sequence seen of each run, opaque to callers."""
    return _seal(_CURSOR, {_key(subagent_id): seq for subagent_id, seq in seen.items()})


def seen_in(cursor: str, subagent_ids: list[SubagentId]) -> dict[SubagentId, int]:
    """What a cursor says about these subagents; nothing about those it does not know.

    Raises:
        InvalidInput: It is not a cursor of ours.
    """
    if not cursor:
        return {}
    seqs = _open(_CURSOR, "cursor", cursor, dict[str, int])
    return {one: seqs[_key(one)] for one in subagent_ids if _key(one) in seqs}


def page_token(before: float) -> str:
    return _seal(_PAGE, before)


def page_before(token: str) -> float | None:
    """The time a page token points at; None for the first page.

    Raises:
        InvalidInput: It is not a page token of ours.
    """
    return _open(_PAGE, "page", token, float) if token else None


def _key(subagent_id: SubagentId) -> str:
    return subagent_id.removeprefix("sub_")[:_KEY_CHARS]


def _seal(kind: str, value: object) -> str:
    return kind + base64.urlsafe_b64encode(msgspec.json.encode(value)).decode().rstrip("=")


def _open(kind: str, field: str, token: str, shape: type[T]) -> T:
    body = token.removeprefix(kind)
    try:
        if body == token:
            raise ValueError(kind)
        padded = body + "=" * (-len(body) % 4)
        return msgspec.json.decode(base64.b64decode(padded, altchars=b"-_"), type=shape)
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        shown = shortened(token, 40)
        raise InvalidInput(f"{field} {shown!r} is not one of ours", hint=_AS_GIVEN) from error
