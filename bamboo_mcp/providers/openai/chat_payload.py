"""Our messages and tools in the form of the Chat Completions API, as compatible servers take it."""

from __future__ import annotations

from collections.abc import Sequence

from bamboo_mcp.domain.messages import (
    Block,
    Content,
    ImageBlock,
    Message,
    RawBlock,
    ReasoningBlock,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
)
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.providers.conversations import OpenCalls, Wire, in_words, is_own, wire_id
from bamboo_mcp.providers.openai.profiles import Profile

EXT = "openai-chat"
"""The key under which a call's own extra fields are kept in `ext`."""

_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_ID_CHARS = 40


class Encoder:
    """Encodes one conversation for one provider instance and one model.

    Servers answer a call without its result with a refusal, and templates of local models stumble
    over two user messages in a row or a system message in the middle: user messages are joined, and
    what the system says later on is said as the user.
    """

    def __init__(self, provider: str, profile: Profile, model: str, *, sees: bool) -> None:
        self._provider = provider
        self._profile = profile
        self._model = model
        self._sees = sees and profile.images
        self._waiting: list[tuple[str, str, str]] = []
        """Calls of the last round without their result: our id, the id on the wire, the tool."""
        self._unnamed = 0
        self._calls = OpenCalls()

    def extend(self, wire: list[Wire], message: Message) -> None:
        """Adds nothing for a message that nothing is left of."""
        for one in self._calls.follow(message):
            self._add(wire, one)

    def close(self, wire: list[Wire]) -> bool:
        rest = self._calls.rest()
        for message in rest:
            self._add(wire, message)
        return bool(rest)

    def _add(self, wire: list[Wire], message: Message) -> None:
        match message.role:
            case "system":
                texts = (block for block in message.blocks if isinstance(block, TextBlock))
                _say(wire, self._parts(tuple(texts)))
            case "user":
                _say(wire, self._results(wire, message.blocks) + self._parts(message.blocks))
            case "assistant":
                self._assistant(wire, message)

    def _assistant(self, wire: list[Wire], message: Message) -> None:
        calls = message.tool_calls
        text = message.text
        if not text.strip():
            text = ""
        if not text and not calls:
            return
        item: Wire = {"role": "assistant", "content": text or None}
        if calls:
            own = is_own(message, self._provider, self._model)
            self._waiting = []
            item["tool_calls"] = [self._call(call, own=own) for call in calls]
            if field := self._profile.reasoning_back:
                item[field] = _reasoning(message.blocks) if own else ""
        wire.append(item)

    def _call(self, call: ToolCallBlock, *, own: bool) -> Wire:
        item: Wire = {
            "id": self._new_id(call),
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments_json or "{}"},
        }
        if own:
            item |= call.ext.get(EXT, {})
        elif signature := self._profile.foreign_signature:
            item["extra_content"] = {"google": {"thought_signature": signature}}
        return item

    def _new_id(self, call: ToolCallBlock) -> str:
        wanted = wire_id(call.id, longest=_ID_CHARS) if call.id else ""
        if not wanted or any(taken == wanted for _, taken, _ in self._waiting):
            self._unnamed += 1
            wanted = f"{wanted[: _ID_CHARS - 8] or 'call'}_{self._unnamed}"
        self._waiting.append((call.id, wanted, call.name))
        return wanted

    def _results(self, wire: list[Wire], blocks: Sequence[Block]) -> list[Wire]:
        """One `tool` message a result. Images are no part of one: they are returned as parts of
        the user message that comes after all of them."""
        shown: list[Wire] = []
        for block in blocks:
            if not isinstance(block, ToolResultBlock):
                continue
            call_id, tool = self._answered(block)
            texts: list[str] = []
            images: list[Wire] = []
            for item in block.content:
                part = self._part(item)
                if part is None:
                    continue
                if part["type"] == "text":
                    texts.append(part["text"])
                else:
                    texts.append("[an image, shown below]")
                    images.append(part)
            text = "\n".join(texts) or "[no output]"
            if block.is_error and not text.startswith("Error: "):
                text = f"Error: {text}"
            wire.append({"role": "tool", "tool_call_id": call_id, "content": text})
            if images:
                shown += [_text(f"Shown by the tool {tool} (call {call_id}):"), *images]
        return shown

    def _answered(self, block: ToolResultBlock) -> tuple[str, str]:
        """The id on the wire and the name of the tool."""
        for place, (ours, call_id, tool) in enumerate(self._waiting):
            if ours == block.call_id:
                del self._waiting[place]
                return call_id, tool
        return wire_id(block.call_id, longest=_ID_CHARS), block.name

    def _parts(self, blocks: Sequence[Block]) -> list[Wire]:
        return [
            part
            for block in blocks
            if isinstance(block, TextBlock | ImageBlock | RawBlock)
            and (part := self._part(block)) is not None
        ]

    def _part(self, item: Content) -> Wire | None:
        match item:
            case TextBlock(text=text):
                return _text(text) if text.strip() else None
            case ImageBlock():
                return self._image(item)
            case RawBlock(raw=raw):
                return _text(in_words(raw))

    def _image(self, image: ImageBlock) -> Wire:
        if not self._sees:
            return _text(f"[an image of type {image.media_type}, left out: this model sees none]")
        if not image.data_b64:
            if not self._profile.image_urls:
                return _text(f"[an image at {image.url}, not shown]")
            return {"type": "image_url", "image_url": {"url": image.url}}
        if image.media_type not in _IMAGES:
            return _text(f"[an image of type {image.media_type}, not shown]")
        url = f"data:{image.media_type};base64,{image.data_b64}"
        return {"type": "image_url", "image_url": {"url": url}}


def encode_tools(tools: Sequence[ToolSpec]) -> list[Wire]:
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.input_schema,
            },
        }
        for tool in tools
    ]


def _say(wire: list[Wire], parts: list[Wire]) -> None:
    """As the user; what directly follows a user message becomes one with it."""
    if not parts:
        return
    last = wire[-1] if wire else None
    if last is not None and last["role"] == "user":
        before = last["content"]
        parts = [*([_text(before)] if isinstance(before, str) else before), *parts]
        wire[-1] = {"role": "user", "content": _content(parts)}
    else:
        wire.append({"role": "user", "content": _content(parts)})


def _content(parts: list[Wire]) -> str | list[Wire]:
    """Text alone goes as a plain string: many servers know nothing else."""
    if all(part["type"] == "text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return parts


def _text(text: str) -> Wire:
    return {"type": "text", "text": text}


def _reasoning(blocks: Sequence[Block]) -> str:
    return "".join(block.text for block in blocks if isinstance(block, ReasoningBlock))
