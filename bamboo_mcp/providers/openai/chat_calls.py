"""The tool calls of a chat stream, put together from pieces that servers number as they like.

Real ones do all of this: leave out ids or indexes, put several calls under one index, repeat the
name on each piece, send the arguments as one whole, or as an object in place of its text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import msgspec

from bamboo_mcp.domain.messages import ToolCallBlock
from bamboo_mcp.domain.stream import ToolCallChunk
from bamboo_mcp.providers.arguments import BadCall, checked_arguments
from bamboo_mcp.providers.openai.chat_payload import EXT

_LEGACY = -1
"""The index of the one call of the form before `tool_calls`."""


class Call:
    """A call being written."""

    __slots__ = ("extra", "given_id", "id", "index", "name", "parts")

    def __init__(self, index: int, given_id: str, own_id: str) -> None:
        self.index = index
        self.given_id = given_id
        self.id = own_id
        self.name = ""
        self.parts: list[str] = []
        self.extra: dict[str, Any] = {}

    def goes_on(self, given_id: str, name: str, arguments: str) -> bool:
        """Is this piece more of this call, and not the beginning of the next one?"""
        if given_id and self.given_id and given_id != self.given_id:
            return False
        if not name or not self.name:
            return True
        if name != self.name and not given_id:
            return False
        # The name once more: servers that repeat it cannot be told from a second call but by this.
        return not (arguments.lstrip().startswith("{") and self._is_whole())

    def _is_whole(self) -> bool:
        if not self.parts or not self.parts[-1].rstrip().endswith("}"):
            return False
        try:
            return isinstance(msgspec.json.decode("".join(self.parts)), dict)
        except msgspec.DecodeError:
            return False

    def block(self) -> ToolCallBlock:
        """Raises `BadCall`."""
        text = "".join(self.parts)
        if not self.name:
            raise BadCall(f"called a tool without naming it, with {text[:200]!r}")
        if not text.strip():
            text = "{}"
        checked_arguments(self.name, text)
        ext = {EXT: self.extra} if self.extra else {}
        return ToolCallBlock(id=self.id, name=self.name, arguments_json=text, ext=ext)


class Calls:
    """All calls of one answer. `next_index` numbers its blocks, calls or not."""

    def __init__(self, next_index: Callable[[], int]) -> None:
        self._next_index = next_index
        self._calls: list[Call] = []
        self._by_index: dict[int, Call] = {}
        self._by_id: dict[str, Call] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def feed(self, piece: Any) -> Iterator[ToolCallChunk]:
        """One of `delta.tool_calls`."""
        function = piece.function
        name = (function and function.name) or ""
        arguments = _text((function and function.arguments) or "")
        call = self._call_of(piece.index, piece.id or "", name, arguments)
        if (extra := (piece.model_extra or {}).get("extra_content")) is not None:
            call.extra = {"extra_content": extra}
        yield from _add(call, name, arguments)

    def feed_legacy(self, piece: Any) -> Iterator[ToolCallChunk]:
        """`delta.function_call`, the deprecated form with one call and no id."""
        name, arguments = piece.name or "", _text(piece.arguments or "")
        yield from _add(self._call_of(_LEGACY, "", name, arguments), name, arguments)

    def blocks(self, *, cut_short: bool) -> list[tuple[int, ToolCallBlock]]:
        """All calls with their indexes. Raises `BadCall`; an answer that was `cut_short` by its
        limit loses a call instead that the cut may have gone through."""
        blocks: list[tuple[int, ToolCallBlock]] = []
        for call in self._calls:
            if cut_short and call is self._calls[-1] and not "".join(call.parts).strip():
                continue
            try:
                blocks.append((call.index, call.block()))
            except BadCall:
                if not cut_short:
                    raise
        return blocks

    def _call_of(self, index: int | None, given_id: str, name: str, arguments: str) -> Call:
        if index is not None:
            candidate = self._by_index.get(index)
            if candidate is None and not name:
                candidate = self._by_id.get(given_id)
        elif given_id:
            candidate = self._by_id.get(given_id)
        else:
            candidate = self._calls[-1] if self._calls else None
        if candidate is not None and candidate.goes_on(given_id, name, arguments):
            return candidate
        return self._begin(index, given_id)

    def _begin(self, index: int | None, given_id: str) -> Call:
        taken = not given_id or any(call.id == given_id for call in self._calls)
        call = Call(self._next_index(), given_id, f"call_{uuid4().hex[:24]}" if taken else given_id)
        self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        if given_id:
            self._by_id[given_id] = call
        return call


def _add(call: Call, name: str, arguments: str) -> Iterator[ToolCallChunk]:
    if arguments:
        call.parts.append(arguments)
    if name and not call.name:
        call.name = name
        # What came before the name goes out with it: the first piece must bear both.
        written = "".join(call.parts)
        yield ToolCallChunk(index=call.index, id=call.id, name=name, arguments_json=written)
    elif arguments and call.name:
        yield ToolCallChunk(index=call.index, arguments_json=arguments)


def _text(arguments: object) -> str:
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
