"""What a person reads before they allow a call: the tool and its exact arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bamboo_mcp.domain.redaction import STARS, is_secret_name, redacted_text, redacted_value
from bamboo_mcp.domain.tools import ToolCall, ToolSpec

HEAD_LINES = 12
HEAD_CHARS = 1500
"""Of a long text argument this much is shown; of a command, everything."""

MAX_SHOWN_ARGUMENTS = 30

_WANTS = {
    "write": "wants to change files",
    "execute": "wants to run a command",
    "network": "wants to use the network",
}


def describe_call(tool: ToolSpec, call: ToolCall) -> str:
    """A few readable lines: what the tool wants, then every argument.

    Letters that a terminal would act on or not show (escapes, direction marks) are written out, and
    well-known shapes of keys are starred.
    """
    lines = [f"{tool.name} {_WANTS.get(tool.effect, 'wants to run')}:"]
    for name, value in shown_arguments(tool, call).items():
        text = value if isinstance(value, str) else _json(value)
        if "\n" in text or len(text) > 100:
            lines += [f"  {name}:", *("    " + line for line in text.split("\n"))]
        else:
            lines.append(f"  {name}: {text}")
    if not call.arguments:
        lines.append("  (no arguments)")
    return "\n".join(lines)


def shown_arguments(tool: ToolSpec, call: ToolCall) -> Mapping[str, Any]:
    """The arguments in the form in which they may be shown, logged and kept."""
    whole = tool.effect == "execute"
    shown: dict[str, Any] = {}
    for name, value in call.arguments.items():
        if len(shown) == MAX_SHOWN_ARGUMENTS and not whole:
            shown["…"] = f"{len(call.arguments) - MAX_SHOWN_ARGUMENTS} more arguments"
            break
        key = _printable(name if whole else name[:100])
        while key in shown:  # two names that only look alike: neither may hide the other
            key += "'"
        shown[key] = _shown_value(name, value, whole=whole)
    return shown


def size_of(call: ToolCall) -> int:
    """Characters a person would have to read to know the whole call."""
    return len(_json(dict(call.arguments)))


def _shown_value(name: str, value: object, *, whole: bool) -> Any:
    if isinstance(value, bool | int | float) or value is None:
        return value
    if value and is_secret_name(name):
        return STARS
    if not isinstance(value, str):
        # Of a command nothing inside may hide behind a name.
        value = _json(value if whole else redacted_value("", value))
    head = value if whole else _head(value)
    rest = value[len(head) :]
    head = redacted_text(_printable(head))
    if rest:
        lines = rest.count("\n") + 1
        head += f"\n… {lines} more lines, {len(value)} characters in all"
    return head


def _head(text: str) -> str:
    head = text[:HEAD_CHARS]
    lines = head.split("\n")
    return head if len(lines) <= HEAD_LINES else "\n".join(lines[:HEAD_LINES])


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text
    )


def _json(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        return ascii(value)
