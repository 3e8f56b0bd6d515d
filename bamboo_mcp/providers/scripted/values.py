"""What a scripted model sees of a request, and how its placeholders become values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec

from bamboo_mcp.domain.messages import Message, TextBlock, ToolResultBlock, text_of
from bamboo_mcp.domain.models import ModelRequest

_PLACEHOLDER = re.compile(r"\{\{\s*((?:(?!\}\}).)+?)\s*\}\}")
_FILTERED = re.compile(r"(.+?)\s*\|\s*(/.*/[ims]*)\s*(?:\|\s*(\d+))?", re.DOTALL)
_REGEX = re.compile(r"/(.*)/([ims]*)", re.DOTALL)
_FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}


class NoValue(Exception):
    """A placeholder names something that is not there."""


class Asked:
    """One request, looked at; each part is worked out only if a step wants it."""

    def __init__(self, request: ModelRequest) -> None:
        self.request = request

    @cached_property
    def last_user(self) -> str:
        return said_last(self.request.messages)

    @cached_property
    def tools(self) -> tuple[str, ...]:
        return tuple(tool.name for tool in self.request.tools)

    @cached_property
    def recent(self) -> tuple[tuple[str, ToolResultBlock], ...]:
        return recent_results(self.request.messages)

    def result(self, tool: str) -> Any:
        """The latest answer of `tool`, of any tool when it is ""."""
        for name, block in reversed(self.recent):
            if tool in ("", name):
                return value_of(block)
        answers = self.results(tool)
        if not answers:
            raise NoValue(f"no result of {tool or 'any tool'} is in the conversation")
        return answers[-1]

    def results(self, tool: str) -> list[Any]:
        return [value for name, value in results_of(self.request.messages) if tool in ("", name)]


def said_last(messages: Sequence[Message]) -> str:
    """The text of the user's last message that has any."""
    for message in reversed(messages):
        if message.role == "user" and (text := message.text):
            return text
    return ""


def recent_results(messages: Sequence[Message]) -> tuple[tuple[str, ToolResultBlock], ...]:
    """What tools answered since the model last spoke, with the names of the tools."""
    found: list[ToolResultBlock] = []
    names: dict[str, str] = {}
    for message in reversed(messages):
        if message.role == "assistant":
            names = {call.id: call.name for call in message.tool_calls}
            break
        found[:0] = [block for block in message.blocks if isinstance(block, ToolResultBlock)]
    return tuple((block.name or names.get(block.call_id, ""), block) for block in found)


def results_of(messages: Sequence[Message]) -> Iterator[tuple[str, Any]]:
    """Everything tools answered, in order, with the names of the tools."""
    names: dict[str, str] = {}
    for message in messages:
        for call in message.tool_calls:
            names[call.id] = call.name
        for block in message.blocks:
            if isinstance(block, ToolResultBlock):
                yield block.name or names.get(block.call_id, ""), value_of(block)


def value_of(block: ToolResultBlock) -> Any:
    """The JSON a tool answered with (as a whole, or in one of its text blocks), else its text."""
    text = text_of(block.content)
    texts = [item.text for item in block.content if isinstance(item, TextBlock)]
    for candidate in (text, *texts):
        if candidate[:1] in "{[" or candidate is text:
            try:
                return msgspec.json.decode(candidate)
            except msgspec.DecodeError:
                continue
    return text


class Pattern:
    """Text to find: a part of it, or a regular expression when written between slashes."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._regex: re.Pattern[str] | None = None
        if (parts := _REGEX.fullmatch(text)) is not None:
            flags = re.NOFLAG
            for letter in parts.group(2):
                flags |= _FLAGS[letter]
            self._regex = re.compile(parts.group(1), flags)

    def find(self, text: str) -> Mapping[str, str] | None:
        """None: not there. Else the named groups."""
        if self._regex is None:
            return {} if self.text in text else None
        match = self._regex.search(text)
        if match is None:
            return None
        return {key: value for key, value in match.groupdict().items() if value is not None}

    def matches(self, text: str) -> Iterator[str]:
        """What a regular expression finds: its first group, else all that fits it."""
        for match in self._regex.finditer(text) if self._regex is not None else ():
            yield (match.group(1) or "") if match.re.groups else match.group()


class Scope:
    """Where placeholders look: variables, then `result`, `results` and `last_user`.

    `PATH | /regex/` is what the expression finds in the text at PATH (its first group, if it has
    one), `PATH | /regex/ | 2` the third different thing it finds. `"text"` is that text itself, for
    two opening braces that are none of ours.
    """

    def __init__(self, asked: Asked, variables: Mapping[str, str], tool: str) -> None:
        self._asked = asked
        self._variables = variables
        self._tool = tool

    def look_up(self, path: str) -> Any:
        if path[0] == path[-1] == '"' and len(path) > 1:
            return path[1:-1]
        if (filtered := _FILTERED.fullmatch(path)) is not None:
            inner, pattern, place = filtered.groups()
            return _found(_as_text(self.look_up(inner)), pattern, int(place or 0), path)
        head, *rest = path.split(".")
        match head:
            case "result":
                value = self._asked.result(self._tool)
            case "results" if rest:
                value, rest = self._results(rest[0], rest[1:])
            case "last_user" if head not in self._variables:
                value = self._asked.last_user
            case _ if head in self._variables:
                value = self._variables[head]
            case _:
                known = ", ".join(self._variables) or "none"
                raise NoValue(f"{{{{{path}}}}} names no variable (known: {known})")
        for key in rest:
            value = _member(value, key, path)
        return value

    def _results(self, tool: str, rest: list[str]) -> tuple[Any, list[str]]:
        """`results.TOOL.field` is of the latest answer, `results.TOOL.0.field` of the first."""
        if not rest or not _is_index(rest[0]):
            return self._asked.result(tool), rest
        answers = self._asked.results(tool)
        try:
            return answers[int(rest[0])], rest[1:]
        except IndexError:
            raise NoValue(f"{tool!r} has {len(answers)} results, not one at {rest[0]}") from None


def _is_index(text: str) -> bool:
    return text.removeprefix("-").isdigit()


def _member(value: Any, key: str, path: str) -> Any:
    if isinstance(value, dict) and key in value:
        return value[key]
    if isinstance(value, list) and _is_index(key) and -len(value) <= int(key) < len(value):
        return value[int(key)]
    if isinstance(value, str) and (line := _line(value, key)) is not None:
        return line
    have = ", ".join(value) if isinstance(value, dict) else f"{value!r}"[:80]
    raise NoValue(f"{{{{{path}}}}}: there is no {key!r} in it (there is: {have})")


def _line(text: str, key: str) -> Any:
    """What stands behind `key:` on a line of its own: our tools answer in such lines."""
    found = re.search(rf"^\s*{re.escape(key)}: *(\S.*?)\s*$", text, re.MULTILINE)
    if found is None:
        return None
    try:
        return msgspec.json.decode(found.group(1))
    except msgspec.DecodeError:
        return found.group(1)


def _found(text: str, pattern: str, place: int, path: str) -> str:
    found: dict[str, None] = {}
    for match in Pattern(pattern).matches(text):
        found.setdefault(match)
    if place < len(found):
        return list(found)[place]
    raise NoValue(f"{{{{{path}}}}}: {pattern} finds {len(found)} different texts in {text[:80]!r}")


def has_placeholder(value: Any) -> bool:
    match value:
        case str():
            return _PLACEHOLDER.search(value) is not None
        case dict():
            return any(has_placeholder(item) for pair in value.items() for item in pair)
        case list() | tuple():
            return any(has_placeholder(item) for item in value)
        case _:
            return False


def fill(value: Any, scope: Scope) -> Any:
    """`value` with its placeholders replaced. A string that is one placeholder keeps the type."""
    match value:
        case str():
            if (whole := _PLACEHOLDER.fullmatch(value)) is not None:
                return scope.look_up(whole.group(1))
            return _PLACEHOLDER.sub(lambda found: _as_text(scope.look_up(found.group(1))), value)
        case dict():
            return {_as_text(fill(key, scope)): fill(item, scope) for key, item in value.items()}
        case list() | tuple():
            return [fill(item, scope) for item in value]
        case _:
            return value


def fill_text(text: str, scope: Scope) -> str:
    return _as_text(fill(text, scope))


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
