"""What is wrong with a setting, worded: where it was said, which key, what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from bamboo_mcp.domain.errors import SettingsError
from bamboo_mcp.settings.keys import allowed_beside, closest
from bamboo_mcp.settings.sources import Layer

HINT = "`bamboo-mcp config init --print` shows every key with its default"
MAX_SHOWN = 5
MAX_VALUE_CHARS = 80

Fault = Mapping[str, Any]

_WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "int_type": lambda context: "must be a whole number",
    "float_type": lambda context: "must be a number",
    "finite_number": lambda context: "must be a finite number",
    "bool_type": lambda context: "must be true or false",
    "string_type": lambda context: "must be text",
    "string_too_short": lambda context: "must not be empty",
    "too_short": lambda context: "must not be an empty list",
    "path_type": lambda context: "must be a path",
    "tuple_type": lambda context: "must be a list",
    "dict_type": lambda context: "must be a table (in a variable: a JSON object)",
    "model_type": lambda context: "must be a table (in a variable: a JSON object)",
    "literal_error": lambda context: f"must be one of {context['expected'].replace(' or ', ', ')}",
    "greater_than": lambda context: f"must be greater than {context['gt']:g}",
    "greater_than_equal": lambda context: f"must be at least {context['ge']:g}",
    "less_than_equal": lambda context: f"must be at most {context['le']:g}",
    "string_pattern_mismatch": lambda context: (
        "is not a provider's name: small letters, digits, and after the first also . _ -"
    ),
    "value_error": lambda context: str(context["error"]),
}


def complaint(error: ValidationError, layer: Layer) -> SettingsError:
    """All faults of a layer, one a line. Raise it `from None`: the original holds every value."""
    faults: Sequence[Fault] = error.errors(include_url=False)
    lines = [_line(fault, layer) for fault in faults[:MAX_SHOWN]]
    if len(faults) > MAX_SHOWN:
        lines.append(f"and {len(faults) - MAX_SHOWN} more")
    return SettingsError("\n".join(lines), hint=HINT)


def _line(fault: Fault, layer: Layer) -> str:
    parts = [part for part in fault["loc"] if part != "[key]"]
    key = ".".join(part for part in parts if isinstance(part, str))
    where = layer.where(key)
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown key {key!r}{_instead(key, layer)}"
    word = _WORDS.get(fault["type"])
    rule = word(fault.get("ctx", {})) if word else str(fault["msg"])
    index = "".join(f"[{part}]" for part in parts if isinstance(part, int))
    shown = f" = {_cut(fault['input'])}" if _may_be_shown(key, fault["input"]) else ""
    return f"{where}: {key}{index}{shown} {rule}"


def _instead(key: str, layer: Layer) -> str:
    if short := difflib.get_close_matches(key, layer.short_names, n=1, cutoff=0.75):
        return f"; did you mean {layer.short_names[short[0]]}?"
    if meant := closest(key):
        return f"; did you mean {layer.spell(meant)}?"
    if names := allowed_beside(key):
        return f"; allowed here: {', '.join(names)}"
    return ""


def _may_be_shown(key: str, value: object) -> bool:
    """Keys end up in odd places of a provider: nothing of one is shown but what is never secret."""
    if isinstance(value, dict) or key.startswith("server.http.token"):
        return False
    if key.startswith("providers"):
        return key.endswith(".type") or (key.endswith(".base_url") and "@" not in str(value))
    return True


def _cut(value: object) -> str:
    text = repr(str(value)) if hasattr(value, "__fspath__") else repr(value)
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[:MAX_VALUE_CHARS]}…"
