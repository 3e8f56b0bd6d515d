"""Language models: what one can do, how it is named, and what is asked of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from bamboo_mcp.domain.messages import Message
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.domain.value import Value

Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""How hard to think, clamped to what a model knows (providers note, decision 5)."""

Role: TypeAlias = Literal["primary", "fast", "background", "summarisation"]

ToolChoice: TypeAlias = Literal["auto", "none"]


class ModelCaps(Value, frozen=True, kw_only=True):
    """What a model can do. Windows are in tokens. An unknown model has the defaults below."""

    context_window: int = 128_000
    max_output: int = 8_192
    efforts: tuple[Effort, ...] = ()
    thinking: tuple[str, ...] = ()
    images: bool = True
    tools: bool = True


class ModelFacts(Value, frozen=True, kw_only=True):
    """What somebody says of a model, who need not know everything: None is not said."""

    context_window: int | None = None
    max_output: int | None = None
    efforts: tuple[Effort, ...] | None = None
    thinking: tuple[str, ...] | None = None
    images: bool | None = None
    tools: bool | None = None
    price_input: float | None = None
    price_output: float | None = None

    def over(self, caps: ModelCaps) -> ModelCaps:
        """`caps`, with what is said here in its place."""
        said = {
            name: value
            for name in caps.__struct_fields__
            if (value := getattr(self, name)) is not None
        }
        return msgspec.structs.replace(caps, **said) if said else caps


class ModelEntry(Value, frozen=True, kw_only=True):
    """A line of the menu: a model and whether it can be used now, or exactly what is missing.

    Prices are US dollars per million tokens; None means unknown.
    """

    name: str
    provider: str
    caps: ModelCaps = ModelCaps()
    ready: bool = False
    missing: str = ""
    price_input: float | None = None
    price_output: float | None = None


class ModelRequest(Value, frozen=True, kw_only=True, gc=False):
    """One model call.

    `messages` is the live append-only history: a provider must not change or keep it.
    """

    model: str
    messages: Sequence[Message]
    system: str = ""
    tools: Sequence[ToolSpec] = ()
    tool_choice: ToolChoice = "auto"
    effort: Effort | None = None
    max_output: int | None = None
    conversation: str = ""
    """A stable key of the conversation, for prompt caches and for scripted models."""
    extra: Mapping[str, Any] = {}
