"""Reasoning that comes as text between tags, told apart from the answer while it streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

from bamboo_mcp.domain.stream import ReasoningChunk, TextChunk

Piece: TypeAlias = tuple[type[TextChunk | ReasoningChunk], str]


class Tags:
    """Splits the text of one answer. Only what it begins with can be reasoning: tags later on are
    what the model writes about. No text is lost but white space next to the tags."""

    def __init__(self, tags: tuple[str, str] | None) -> None:
        self._first, self._last = tags or ("", "")
        self._state: Literal["before", "inside", "after", "done"] = "before" if tags else "done"
        self._held = ""
        """What cannot be told yet: maybe a part of a tag."""
        self._thought = False

    @property
    def done(self) -> bool:
        """From here on all is text."""
        return self._state == "done"

    def stop(self) -> str:
        """Reasoning comes in a field of its own: what is held is text after all, all that follows
        too."""
        held = self._held if self._state == "before" else ""
        self._state, self._held = "done", ""
        return held if held.strip() else ""

    def split(self, text: str) -> Iterator[Piece]:
        if self._state == "before":
            text, self._held = self._held + text, ""
            begun = text.lstrip()
            if begun.startswith(self._first):
                self._state = "inside"
                text = begun[len(self._first) :]
            elif self._first.startswith(begun):
                self._held = text
                return
            else:
                self._state = "done"
        if self._state == "inside":
            thought, text = self._inside(text)
            if thought:
                yield ReasoningChunk, thought
        if self._state == "after" and (text := text.lstrip()):
            self._state = "done"
        if self._state == "done" and text:
            yield TextChunk, text

    def flush(self) -> Iterator[Piece]:
        """At the end. A tag that was never closed: it was all reasoning."""
        held, self._held = self._held, ""
        if held.strip():
            yield (ReasoningChunk if self._state == "inside" else TextChunk), held

    def _inside(self, text: str) -> tuple[str, str]:
        """The reasoning that is sure, and the text after the closing tag when it came."""
        text = self._held + text
        if not self._thought:
            text = text.lstrip()
            self._thought = bool(text)
        at = text.find(self._last)
        if at >= 0:
            self._state, self._held = "after", ""
            return text[:at], text[at + len(self._last) :]
        for length in range(min(len(self._last) - 1, len(text)), 0, -1):
            if text.endswith(self._last[:length]):
                self._held = text[-length:]
                return text[:-length], ""
        self._held = ""
        return text, ""
