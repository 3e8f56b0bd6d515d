"""What a person reads before they allow a call: the tool and its exact arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

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

_SECRET_NAME = re.compile(
    r"(?:^|[_-])(?:password|passwd|passphrase|secret|token|api_?key|authorization|credentials?)$",
    re.IGNORECASE,
)

# Only letters that mean nothing to a shell: a redaction must not be able to hide a command.
_SECRET_SHAPE = re.compile(
    r"\b(?:sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"
    r"|glpat-[A-Za-z0-9_-]{16,}|xox[abprs]-[A-Za-z0-9-]{10,}|AKIA[0-9A-Z]{16}"
    r"|AIza[0-9A-Za-z_-]{30,}|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,})"
    r"|(?<=Bearer )[A-Za-z0-9._~+/=-]{12,}|(?<=://)[A-Za-z0-9._~%-]+:[A-Za-z0-9._~%-]+(?=@)"
)


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
    if _SECRET_NAME.search(name) and value:
        return "***"
    text = value if isinstance(value, str) else _json(value)
    head = text if whole else _head(text)
    rest = text[len(head) :]
    head = _SECRET_SHAPE.sub("***", _printable(head))
    if rest:
        lines = rest.count("\n") + 1
        head += f"\n… {lines} more lines, {len(text)} characters in all"
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
