"""What a recorded conversation waits for: words of the user that tell it from the others."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bamboo_mcp.providers.scripted.addresses import VARYING
from bamboo_mcp.providers.scripted.values import Pattern

_WHOLE = 300
_PART = 120
"""Characters: text up to the first is wanted whole, of longer text so many of each end."""


def wanted(text: str) -> str:
    """A pattern for `text`, with what varies from run to run left open."""
    if len(text) <= _WHOLE and not VARYING.search(text) and not _looks_like_regex(text):
        return text
    return _whole(text) if len(text) <= _WHOLE else _ends(text)


def wanted_apart(text: str, others: Sequence[str]) -> str:
    """A pattern that fits `text` and none of the `others`, unless they are the same."""
    others = [other for other in others if other != text]
    for pattern in (wanted(text), _ends(text) if len(text) > _WHOLE else _whole(text)):
        if all(Pattern(pattern).find(other) is None for other in others):
            return pattern
    return _whole(text)


def _looks_like_regex(text: str) -> bool:
    return text.startswith("/")


def _whole(text: str) -> str:
    return f"/\\A{_escaped(text)}\\Z/"


def _ends(text: str) -> str:
    return f"/\\A{_escaped(text[:_PART])}.*{_escaped(text[-_PART:])}\\Z/s"


def _escaped(text: str) -> str:
    """`text` for a regular expression; only what means something there is escaped."""
    parts = VARYING.split(text)
    return r"[\w.-]+".join(re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", part) for part in parts)
