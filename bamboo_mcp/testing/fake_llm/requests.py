"""Requests of the wire APIs read back into a `ModelRequest`, so that a script can look at them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from bamboo_mcp.domain.messages import (
    Block,
    Content,
    ImageBlock,
    Message,
    OpaqueBlock,
    RawBlock,
    ReasoningBlock,
    Role,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
    text_of,
)
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.tools import ToolSpec

Wire = Mapping[str, Any]


class _History:
    """Messages in the order they came; what one side says in pieces becomes one message."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.system: list[str] = []
        self._tools: dict[str, str] = {}

    def add(self, role: str, blocks: Sequence[Block]) -> None:
        if role in ("system", "developer"):
            self._add_system(blocks)
            return
        side: Role = "assistant" if role in ("assistant", "model") else "user"
        for block in blocks:
            if isinstance(block, ToolCallBlock):
                self._tools[block.id] = block.name
        last = self.messages[-1] if self.messages else None
        results = all(isinstance(block, ToolResultBlock) for block in blocks)
        if last is not None and last.role == side and (side == "assistant" or results):
            self.messages[-1] = Message(role=side, blocks=(*last.blocks, *blocks))
        else:
            self.messages.append(Message(role=side, blocks=tuple(blocks)))

    def result(self, call_id: str, content: Any, *, is_error: bool = False) -> ToolResultBlock:
        return ToolResultBlock(
            call_id=call_id,
            name=self._tools.get(call_id, ""),
            content=tuple(_contents(content)),
            is_error=is_error,
        )

    def said_by_tool(self, call_id: str, content: Any) -> ToolResultBlock:
        """A result in an API that has no field for failure: its text begins with `Error:`."""
        result = self.result(call_id, content)
        is_error = text_of(result.content).lstrip()[:6].lower() == "error:"
        return msgspec.structs.replace(result, is_error=is_error)

    def _add_system(self, blocks: Sequence[Block]) -> None:
        message = Message(role="system", blocks=tuple(blocks))
        if self.messages:
            self.messages.append(message)
        else:
            self.system.append(message.text)


def anthropic_request(body: Wire) -> ModelRequest:
    """A request to `/v1/messages`."""
    history = _History()
    history.add("system", _contents(body.get("system") or ""))
    for message in body["messages"]:
        history.add(
            message["role"],
            [_anthropic_block(part, history) for part in _parts(message["content"])],
        )
    choice = body.get("tool_choice") or {}
    return _request(
        body,
        history,
        tools=[
            _tool(
                tool.get("name") or tool["type"], tool.get("description"), tool.get("input_schema")
            )
            for tool in body.get("tools") or ()
        ],
        no_tools=choice.get("type") == "none",
        max_output=body.get("max_tokens"),
        effort=(body.get("output_config") or {}).get("effort"),
    )


def _anthropic_block(part: Wire, history: _History) -> Block:
    match part:
        case {"type": "tool_use", "id": str(call_id), "name": str(name)}:
            return ToolCallBlock(id=call_id, name=name, arguments_json=_json(part.get("input")))
        case {"type": "tool_result", "tool_use_id": str(call_id)}:
            is_error = part.get("is_error") is True
            return history.result(call_id, part.get("content"), is_error=is_error)
        case {"type": "thinking"}:
            return ReasoningBlock(text=part.get("thinking") or "")
        case {"type": "redacted_thinking"}:
            return ReasoningBlock(redacted=True)
    return _content(part) or OpaqueBlock(provider="anthropic", raw=part)


def responses_request(body: Wire) -> ModelRequest:
    """A request to `/v1/responses`."""
    history = _History()
    history.add("system", _contents(body.get("instructions") or ""))
    sent: Any = body.get("input") or ""
    items: Iterable[Wire] = [{"role": "user", "content": sent}] if isinstance(sent, str) else sent
    for item in items:
        match item:
            case {"type": "function_call", "call_id": str(call_id), "name": str(name)}:
                call = ToolCallBlock(
                    id=call_id, name=name, arguments_json=item.get("arguments") or "{}"
                )
                history.add("assistant", [call])
            case {"type": "function_call_output", "call_id": str(call_id)}:
                history.add("user", [history.said_by_tool(call_id, item.get("output"))])
            case {"type": "reasoning"}:
                text = "\n".join(part.get("text", "") for part in item.get("summary") or ())
                history.add("assistant", [ReasoningBlock(text=text)])
            case {"role": str(role)}:
                blocks = _contents(item.get("content"))
                history.add(role, list(blocks))
            case _:
                history.add("assistant", [OpaqueBlock(provider="openai", raw=item)])
    return _request(
        body,
        history,
        tools=[
            _tool(tool.get("name") or tool["type"], tool.get("description"), tool.get("parameters"))
            for tool in body.get("tools") or ()
        ],
        no_tools=body.get("tool_choice") == "none",
        max_output=body.get("max_output_tokens"),
        effort=(body.get("reasoning") or {}).get("effort"),
    )


def chat_request(body: Wire) -> ModelRequest:
    """A request to `/v1/chat/completions`."""
    history = _History()
    for message in body["messages"]:
        content = message.get("content")
        if message["role"] == "tool":
            history.add("user", [history.said_by_tool(message.get("tool_call_id") or "", content)])
            continue
        blocks: list[Block] = []
        if thought := message.get("reasoning_content") or message.get("reasoning"):
            blocks.append(ReasoningBlock(text=thought))
        blocks += _contents(content)
        for call in message.get("tool_calls") or ():
            called = call["function"]
            arguments = called.get("arguments") or "{}"
            blocks.append(
                ToolCallBlock(
                    id=call.get("id") or "", name=called["name"], arguments_json=arguments
                )
            )
        history.add(message["role"], blocks)
    functions = [tool.get("function") or {} for tool in body.get("tools") or ()]
    return _request(
        body,
        history,
        tools=[
            _tool(one.get("name", ""), one.get("description"), one.get("parameters"))
            for one in functions
        ],
        no_tools=body.get("tool_choice") == "none",
        max_output=body.get("max_completion_tokens") or body.get("max_tokens"),
        effort=body.get("reasoning_effort"),
    )


Decoder = Callable[[Wire], ModelRequest]


def _request(
    body: Wire,
    history: _History,
    *,
    tools: Sequence[ToolSpec],
    no_tools: bool,
    max_output: int | None,
    effort: Any,
) -> ModelRequest:
    return ModelRequest(
        model=str(body["model"]),
        messages=tuple(history.messages),
        system="\n\n".join(text for text in history.system if text),
        tools=tools,
        tool_choice="none" if no_tools else "auto",
        max_output=max_output,
        effort=effort,
    )


def _tool(name: str, description: Any, schema: Any) -> ToolSpec:
    spec = ToolSpec(name=name, description=description or "")
    return spec if schema is None else msgspec.structs.replace(spec, input_schema=schema)


def _parts(content: Any) -> Iterable[Wire]:
    """All APIs take a plain string for a single piece of text."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content or ()


def _contents(content: Any) -> list[Content]:
    return [_content(part) or RawBlock(raw=part) for part in _parts(content)]


def _content(part: Wire) -> Content | None:
    """Text or an image, in the words of any of the three APIs; None for anything else."""
    match part:
        case {"type": "text" | "input_text" | "output_text", "text": str(text)}:
            return TextBlock(text=text)
        case {"type": "refusal", "refusal": str(text)}:
            return TextBlock(text=text)
        case {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}:
            return ImageBlock(media_type=kind, data_b64=data)
        case {"type": "image", "source": {"type": "url", "url": str(url)}}:
            return ImageBlock(media_type="", url=url)
        case {"type": "input_image", "image_url": str(url)}:
            return _image(url)
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return _image(url)
    return None


def _image(url: str) -> ImageBlock:
    head, comma, data = url.partition(";base64,")
    if comma and head.startswith("data:"):
        return ImageBlock(media_type=head.removeprefix("data:"), data_b64=data)
    return ImageBlock(media_type="", url=url)


def _json(value: Any) -> str:
    return msgspec.json.encode({} if value is None else value).decode()
