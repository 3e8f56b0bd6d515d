"""The honest model for when there is none: it runs a tool by name and says how to get a model.

It lists the tools of the conversation and never imitates intelligence.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

import msgspec

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.errors import UnknownModel
from bamboo_mcp.domain.ids import new_call_id
from bamboo_mcp.domain.messages import Block, TextBlock, ToolCallBlock, text_of
from bamboo_mcp.domain.models import ModelCaps, ModelEntry, ModelRequest
from bamboo_mcp.domain.stream import Chunk
from bamboo_mcp.domain.tools import GROUPS, ToolSpec
from bamboo_mcp.ports import Notify
from bamboo_mcp.providers.playback import Playback, chunks_of
from bamboo_mcp.providers.scripted.values import Asked

MODEL = "offline"

_COMMAND = re.compile(r"\s*/tool(?:\s+(\S+)\s*(.*))?\Z", re.DOTALL)
_EXAMPLE = '/tool read_file {"path": "README.md"}'

HOW_TO_GET_A_MODEL = """To get a model:
  1. pip install "bamboo-mcp[anthropic]"
  2. set the environment variable ANTHROPIC_API_KEY to your key; or put into the settings file
       [providers.anthropic]
       api_key = "env:NAME_OF_YOUR_VARIABLE"    (or "file:/path/to/a/key")
     (`bamboo-mcp config path` says where that file is)
  3. run `bamboo-mcp models`: it shows what is ready and what exactly is missing
Then start again; the setting models.primary (or BAMBOO_MODEL) picks one by name."""


def make(config: ProviderConfig) -> OfflineProvider:
    return OfflineProvider(config.name)


class OfflineProvider:
    def __init__(self, name: str = "offline") -> None:
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def caps(self, model: str) -> ModelCaps:
        if model != MODEL:
            raise UnknownModel(f"{self._name!r} has no model {model!r}; its only one is {MODEL!r}")
        return ModelCaps(images=False)

    def stream(
        self, request: ModelRequest, *, notify: Notify | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        blocks = answer(request)
        return Playback(chunks_of(blocks, origin=f"{self._name}:{request.model}"))

    async def count(self, request: ModelRequest) -> int | None:
        return None

    async def models(self) -> Sequence[ModelEntry]:
        return [ModelEntry(name=MODEL, provider=self._name, caps=self.caps(MODEL), ready=True)]


def answer(request: ModelRequest) -> list[Block]:
    """What is said, or the one call that was asked for by name."""
    asked = Asked(request)
    parts = []
    for name, block in asked.recent:
        head = f"{name or 'the tool'} {'failed' if block.is_error else 'answered'}:"
        parts.append(f"{head}\n{text_of(block.content) or '(nothing)'}")
    news = _said_since(request)
    if not parts or news:
        reply = _reply(news or asked.last_user, request)
        if isinstance(reply, ToolCallBlock):
            return [*([TextBlock(text="\n\n".join(parts))] if parts else []), reply]
        parts.append(reply)
    return [TextBlock(text="\n\n".join(parts))]


def _said_since(request: ModelRequest) -> str:
    """The user's last words after the last answer; "" when only tools spoke."""
    for message in reversed(request.messages):
        if message.role == "assistant":
            break
        if message.role == "user" and message.text.strip():
            return message.text
    return ""


def _reply(said: str, request: ModelRequest) -> ToolCallBlock | str:
    command = _COMMAND.match(said)
    if command is None:
        return _what_can_be_done(request)
    name, text = command.group(1), (command.group(2) or "").strip()
    if not name:
        return f"Which tool? For example: {_EXAMPLE}\n\n{_tool_list(request.tools)}"
    names = [tool.name for tool in request.tools]
    if name not in names:
        close = difflib.get_close_matches(name, names, n=3)
        meant = f" Did you mean {' or '.join(close)}?" if close else ""
        return f"There is no tool {name!r} here.{meant}\n\n{_tool_list(request.tools)}"
    if request.tool_choice == "none":
        return f"I was asked to finish without tools, so {name} was not run."
    try:
        arguments = msgspec.json.decode(text or "{}")
    except msgspec.DecodeError as error:
        return f"What follows {name} is not JSON: {error}. For example: {_EXAMPLE}"
    if not isinstance(arguments, dict):
        return f"The arguments of {name} must be a JSON object, in braces: {_EXAMPLE}"
    return ToolCallBlock(id=new_call_id(), name=name, arguments_json=text or "{}")


def _what_can_be_done(request: ModelRequest) -> str:
    return (
        "No language model is connected. I am not one: I cannot understand, plan or write. "
        "What works without a model is running a tool by name, as in\n"
        f"  {_EXAMPLE}\n\n{_tool_list(request.tools)}\n\n{HOW_TO_GET_A_MODEL}"
    )


def _tool_list(tools: Sequence[ToolSpec]) -> str:
    if not tools:
        return "There are no tools in this conversation."
    lines = ["Tools here:"]
    for group in GROUPS:
        members = [tool for tool in tools if tool.group == group]
        if members:
            lines.append(f"  {group}")
        for tool in members:
            first_line = tool.description.strip().partition("\n")[0]
            lines.append(f"    {tool.name}: {first_line}" if first_line else f"    {tool.name}")
    return "\n".join(lines)
