"""Where in earlier answers of tools a value stands, and text with such values as placeholders."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from bamboo_mcp.domain.messages import Message
from bamboo_mcp.providers.scripted.values import results_of

VARYING = re.compile(r"(?:sub|ses|run|steer|q|call)_[0-9a-f]{32}|\b[cp]1\.[A-Za-z0-9_-]{8,}")
"""What our tools give out anew in each run: ids, cursors and page tokens."""

_LINE = re.compile(r"^\s*(\w+): *(\S.*?)\s*$", re.MULTILINE)


class Results:
    """What tools answered in a conversation up to a call of the model."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._answers: list[tuple[str, Any]] = []
        counts: dict[str, int] = {}
        for name, value in results_of(messages):
            number = counts.get(name, 0)
            counts[name] = number + 1
            if name:
                self._answers.append((f"results.{name}.{number}", value))
        self._known: dict[str, str | None] = {}

    def templated(self, text: str) -> str:
        """`text` for a script: what varies as a placeholder where it can be looked up, braces that
        would be taken for one escaped."""
        done: list[str] = []
        at = 0
        for found in VARYING.finditer(text):
            path = self._address(found.group())
            if path is None:
                continue
            done += [_literal(text[at : found.start()], followed=True), f"{{{{{path}}}}}"]
            at = found.end()
        return "".join([*done, _literal(text[at:])])

    def filled(self, value: Any) -> Any:
        """The same for arguments."""
        match value:
            case str():
                return self.templated(value)
            case dict():
                return {self.templated(key): self.filled(item) for key, item in value.items()}
            case list():
                return [self.filled(item) for item in value]
            case _:
                return value

    def _address(self, token: str) -> str | None:
        if token not in self._known:
            self._known[token] = next(self._addresses(token), None)
        return self._known[token]

    def _addresses(self, token: str) -> Iterator[str]:
        """From the first answer on: the one that gave it out is there whatever came later."""
        for place, value in self._answers:
            if isinstance(value, str):
                if (key := _line_of(value, token)) is not None:
                    yield f"{place}.{key}"
                text = value
            else:
                for path in _paths(value, token):
                    yield ".".join([place, *path])
                text = msgspec.json.encode(value).decode()
            kind = _kind(token)
            alike = list(dict.fromkeys(re.findall(kind, text)))
            if token in alike:
                number = alike.index(token)
                yield f"{place} | /{kind}/" + (f" | {number}" if number else "")


def _kind(token: str) -> str:
    """A pattern for values of this kind, without braces: they end a placeholder."""
    prefix, mark, _ = token.partition("_") if token[1:3] != "1." else (token[0], "", "")
    return rf"{prefix}_[0-9a-f]+" if mark else rf"{prefix}1\.[\w-]+"


def _line_of(text: str, token: str) -> str | None:
    """The key of the line `key: token`, unless an earlier line has the same key."""
    first: dict[str, str] = {}
    for key, value in _LINE.findall(text):
        first.setdefault(key, value)
    return next((key for key, value in first.items() if value == token), None)


def _paths(value: Any, token: str) -> Iterator[list[str]]:
    """Keys that lead to `token`; a key with a dot in it cannot be said."""
    if value == token:
        yield []
    elif isinstance(value, dict):
        for key, item in value.items():
            if key and re.fullmatch(r"[\w-]+", key):
                yield from ([key, *path] for path in _paths(item, token))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from ([str(number), *path] for path in _paths(item, token))


def _literal(text: str, *, followed: bool = False) -> str:
    text = text.replace("{{", '{{"{{"}}')
    if followed and text.endswith("{"):
        text = text[:-1] + '{{"{"}}'
    return text
