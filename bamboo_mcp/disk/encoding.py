"""JSON bytes of a value, whatever text it carries."""

from __future__ import annotations

from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode


def encode(value: object) -> bytes:
    """One line of JSON.

    Half a character (a lone surrogate, as in a file name that is no UTF-8) is not JSON; it becomes
    a question mark, so that one odd name in a tool's answer does not end a run.
    """
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return _encode(_whole(msgspec.to_builtins(value)))


def _whole(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode("utf-8")
        case dict():
            return {_whole(key): _whole(item) for key, item in value.items()}
        case list() | tuple():
            return [_whole(item) for item in value]
    return value
