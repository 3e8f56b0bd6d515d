"""Secrets starred in what is shown or kept: values named like one, well-known shapes of keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

STARS = "***"
MAX_SHOWN_CHARS = 8_192
"""A longer text is cut: what is shown must have been looked through."""

_MARGIN = 256
"""Looked at beyond the cut, so that a key that lies across it is known for one."""
_MAX_DEPTH = 16

_SECRET_NAME = re.compile(
    r"(?:^|[_-]|(?<=[a-z0-9])(?=[A-Z]))"
    r"(?i:password|passwd|passphrase|secret|token|api[_-]?key|authorization|credentials?)$"
)

# Only letters that mean nothing to a shell: a redaction must not be able to hide a command.
_KEY = re.compile(
    r"\b(?:sk-(?:ant-[A-Za-z0-9_-]{6,}|[A-Za-z0-9_-]{16,})"
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"
    r"|glpat-[A-Za-z0-9_-]{16,}|xox[abprs]-[A-Za-z0-9-]{10,}|AKIA[0-9A-Z]{16}"
    r"|AIza[0-9A-Za-z_-]{30,}|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,})"
)
_KEY_STARTS = tuple(
    "sk- ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- xoxa- xoxb- xoxp- xoxr- xoxs- AKIA AIza "
    "eyJ".split()
)
"""What a key begins with, found twenty times faster than the pattern fails."""

_BEARER = re.compile(r"(Bearer )[A-Za-z0-9._~+/=-]{12,}")
_LOGIN = re.compile(r"(://)[A-Za-z0-9._~%-]+:[A-Za-z0-9._~%-]+(?=@)")


def redacted_text(text: str) -> str:
    """`text` with well-known shapes of keys starred; the same object when there are none."""
    if any(start in text for start in _KEY_STARTS):
        text = _KEY.sub(STARS, text)
    if "Bearer " in text:
        text = _BEARER.sub(rf"\1{STARS}", text)
    if "://" in text:
        text = _LOGIN.sub(rf"\1{STARS}", text)
    return text


def redacted_head(text: str, max_chars: int = MAX_SHOWN_CHARS) -> str:
    """The first `max_chars` of `text`, redacted."""
    if len(text) <= max_chars:
        return redacted_text(text)
    return redacted_text(text[: max_chars + _MARGIN])[:max_chars] + "…"


def redacted_arguments(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of a tool call as they may be kept: redacted, and long texts cut."""
    return {name: _redacted(name, value, 0, MAX_SHOWN_CHARS) for name, value in arguments.items()}


def redacted_value(name: str, value: Any) -> Any:
    """The value of the argument `name`, redacted with all that lies in it, and nothing cut."""
    return _redacted(name, value, 0, None)


def _redacted(name: str, value: Any, depth: int, max_chars: int | None) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value  # a number is no secret: the names of counts look like those of keys
    if value and is_secret_name(name):
        return STARS
    if isinstance(value, str):
        return redacted_text(value) if max_chars is None else redacted_head(value, max_chars)
    if depth == _MAX_DEPTH:
        return value if max_chars is None else "…"
    if isinstance(value, Mapping):
        return {key: _redacted(str(key), item, depth + 1, max_chars) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted("", item, depth + 1, max_chars) for item in value]
    return value


@lru_cache(maxsize=1024)
def _looks_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def is_secret_name(name: str) -> bool:
    """Does `name` promise a password, a token, a key?"""
    return _looks_secret(name[-64:])
