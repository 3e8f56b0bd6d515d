"""Does a request fit what a step waits for, and if not, why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bamboo_mcp.domain.messages import text_of
from bamboo_mcp.providers.scripted.steps import When
from bamboo_mcp.providers.scripted.values import Asked, Pattern

_WIDTH = 160


class Condition:
    """A `When`, compiled."""

    def __init__(self, when: When) -> None:
        self.when = when
        self._last_user = Pattern(when.last_user)
        self._system = Pattern(when.system)
        self._contains = Pattern(when.contains)
        self._conversation = Pattern(when.conversation)

    def match(self, asked: Asked) -> Mapping[str, str] | None:
        """The variables its regular expressions caught, or None when it does not fit."""
        captured: dict[str, str] = {}
        for _, found in self._parts(asked):
            if found is None:
                return None
            captured.update(found)
        return captured

    def marks(self, asked: Asked) -> list[str]:
        """Each demand on a line, with a mark where it is not met."""
        return [
            f"{'ok ' if found is not None else 'NO '} {demand}"
            for demand, found in self._parts(asked)
        ]

    def _parts(self, asked: Asked) -> list[tuple[str, Mapping[str, str] | None]]:
        when = self.when
        parts: list[tuple[str, Mapping[str, str] | None]] = []
        if when.last_user:
            parts.append((f"last_user: {when.last_user}", self._last_user.find(asked.last_user)))
        if when.system:
            parts.append((f"system: {when.system}", self._system.find(asked.request.system)))
        if when.conversation:
            key = asked.request.conversation
            parts.append((f"conversation: {when.conversation}", self._conversation.find(key)))
        if when.tools:
            offered = set(when.tools) <= set(asked.tools)
            parts.append((f"tools: {', '.join(when.tools)}", {} if offered else None))
        if when.tool_result or when.contains or when.is_error is not None:
            parts += self._about_results(asked)
        return parts

    def _about_results(self, asked: Asked) -> list[tuple[str, Mapping[str, str] | None]]:
        when = self.when
        results = [block for name, block in asked.recent if when.tool_result in ("", name)]
        parts: list[tuple[str, Mapping[str, str] | None]] = []
        if when.tool_result:
            parts.append((f"tool_result: {when.tool_result}", {} if results else None))
        if when.contains:
            text = "\n".join(text_of(block.content) for block in results)
            found = self._contains.find(text) if results else None
            parts.append((f"contains: {when.contains}", found))
        if when.is_error is not None:
            met = any(block.is_error == when.is_error for block in results)
            parts.append((f"is_error: {str(when.is_error).lower()}", {} if met else None))
        return parts


def explain(asked: Asked, title: str, wanted: Sequence[tuple[str, Condition | None]]) -> str:
    """What was asked beside what the next steps wait for."""
    lines = [title, "asked:", f"    last_user: {_short(asked.last_user)}"]
    for name, block in asked.recent:
        failed = " (an error)" if block.is_error else ""
        lines.append(f"    tool_result: {name}{failed}: {_short(text_of(block.content))}")
    lines.append(f"    tools: {_short(', '.join(asked.tools) or 'none')}")
    if asked.request.conversation:
        lines.append(f"    conversation: {asked.request.conversation}")
    lines.append("waited for:" if wanted else "waited for: nothing more, every step is used")
    for name, condition in wanted:
        lines.append(f"  {name}")
        marks = condition.marks(asked) if condition is not None else ["ok  anything"]
        lines += [f"    {mark}" for mark in marks]
    return "\n".join(lines)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= _WIDTH else line[:_WIDTH] + "…")
