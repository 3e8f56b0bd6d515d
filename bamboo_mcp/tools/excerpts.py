"""Text made short enough to show: values in messages, results that are too long."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import msgspec

HEAD_SHARE = 5 / 7
"""Of a cut text, this much is its beginning (reference section 5.7: head 160 KiB, tail 64 KiB)."""


def shown(value: object, max_chars: int = 80) -> str:
    """`value` as it would stand in JSON, on one line, never longer than `max_chars` and a mark."""
    if isinstance(value, str):
        value = value[: max_chars + 1]
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        text = ascii(value)
    return text if len(text) <= max_chars + 2 else text[:max_chars] + "…"


def closest(name: str, known: Iterable[str]) -> str:
    """The known name that `name` was probably meant to be, or ""."""
    if len(name) > 100:
        return ""
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return near[0] if near else ""


def cut_text(text: str, max_chars: int, *, hint: str = "") -> str:
    """`text`, or its head and tail, cut at line ends where one is near, around a line that says
    how much is missing. The result is at most `max_chars` long, plus that line."""
    if len(text) <= max_chars:
        return text
    head = text[: int(max_chars * HEAD_SHARE)]
    tail = text[len(text) - (max_chars - len(head)) :]
    # A line end is near if it costs at most a fifth of what is kept.
    end = head.rfind("\n")
    if end >= len(head) * 4 // 5:
        head = head[: end + 1]
    start = tail.find("\n")
    if 0 <= start < len(tail) // 5:
        tail = tail[start + 1 :]
    missing = len(text) - len(head) - len(tail)
    line = f"[{missing} of {len(text)} characters left out here{'; ' + hint if hint else ''}]"
    return f"{head}{'' if head.endswith(chr(10)) else chr(10)}{line}\n{tail}"
