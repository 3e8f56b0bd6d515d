"""The models we know by name, and what each can do: window, longest answer, efforts, thinking.

Sources: the vendors' SDKs and documentation (providers note, sections 1.2, 2.2 and 4). What a
service says of its own models goes before this table, and what settings say before both. Prices
are not here.
"""

from __future__ import annotations

from bamboo_mcp.domain.models import Effort, ModelCaps, ModelEntry

_ALL_LEVELS: tuple[Effort, ...] = ("low", "medium", "high", "xhigh", "max")
_LEVELS_4_6: tuple[Effort, ...] = ("low", "medium", "high", "max")
_THREE: tuple[Effort, ...] = ("low", "medium", "high")
_FOUR: tuple[Effort, ...] = (*_THREE, "xhigh")


def _caps(
    window: int,
    output: int,
    efforts: tuple[Effort, ...] = (),
    thinking: tuple[str, ...] = (),
    *,
    images: bool = True,
) -> ModelCaps:
    return ModelCaps(
        context_window=window,
        max_output=output,
        efforts=efforts,
        thinking=thinking,
        images=images,
    )


_ALWAYS_THINKS = _caps(1_000_000, 128_000, _ALL_LEVELS, ("adaptive",))

# `none` among the efforts means that thinking can be turned off, one way or another.
ANTHROPIC: dict[str, ModelCaps] = {
    "claude-opus-5-5": _ALWAYS_THINKS,
    "claude-sonnet-5-5": _caps(
        1_000_000, 128_000, ("none", *_ALL_LEVELS), ("adaptive", "between_tools")
    ),
    "claude-haiku-5-5": _caps(1_000_000, 128_000, ("none", *_ALL_LEVELS), ("adaptive", "disabled")),
    "claude-fable-5-2": _ALWAYS_THINKS,
    "claude-fable-5-1": _ALWAYS_THINKS,
    "claude-fable-5": _ALWAYS_THINKS,
    "claude-mythos-5-2": _ALWAYS_THINKS,
    "claude-mythos-5-1": _ALWAYS_THINKS,
    "claude-mythos-5": _ALWAYS_THINKS,
    "claude-opus-5": _ALWAYS_THINKS,
    "claude-sonnet-5": _ALWAYS_THINKS,
    "claude-opus-4-8": _caps(1_000_000, 128_000, ("none", *_ALL_LEVELS), ("adaptive", "disabled")),
    "claude-opus-4-7": _caps(1_000_000, 128_000, ("none", *_ALL_LEVELS), ("adaptive", "disabled")),
    "claude-opus-4-6": _caps(
        1_000_000, 128_000, ("none", *_LEVELS_4_6), ("adaptive", "enabled", "disabled")
    ),
    "claude-sonnet-4-6": _caps(
        1_000_000, 64_000, ("none", *_LEVELS_4_6), ("adaptive", "enabled", "disabled")
    ),
    "claude-opus-4-5": _caps(200_000, 64_000, _THREE, ("enabled", "disabled")),
    "claude-sonnet-4-5": _caps(200_000, 64_000, (), ("enabled", "disabled")),
    "claude-haiku-4-5": _caps(200_000, 64_000, (), ("enabled", "disabled")),
}

OPENAI: dict[str, ModelCaps] = {
    "gpt-6.1-sol": _caps(1_050_000, 128_000, _ALL_LEVELS),
    "gpt-6.2-sol": _caps(1_050_000, 128_000, _ALL_LEVELS),
    "gpt-6.2-astra": _caps(1_050_000, 128_000, _ALL_LEVELS),
    "gpt-6-astra": _caps(1_050_000, 128_000, _ALL_LEVELS),
    "gpt-6.1-terra": _caps(1_050_000, 128_000, _ALL_LEVELS),
    "gpt-6-sol": _caps(1_050_000, 128_000, ("none", *_ALL_LEVELS)),
    "gpt-6-luna": _caps(1_050_000, 128_000, ("none", *_ALL_LEVELS)),
    "gpt-5.6": _caps(1_050_000, 128_000, ("none", *_ALL_LEVELS)),
    "gpt-5.5": _caps(1_000_000, 128_000, ("none", *_FOUR)),
    "gpt-5.4": _caps(1_050_000, 128_000, ("none", *_FOUR)),
    "gpt-5.4-mini": _caps(400_000, 128_000, ("none", *_FOUR)),
    "gpt-5.4-nano": _caps(400_000, 128_000, ("none", *_FOUR)),
    "gpt-5.2": _caps(400_000, 128_000, ("none", *_FOUR)),
    "gpt-5.1": _caps(400_000, 128_000, ("none", *_THREE)),
    "gpt-5": _caps(400_000, 128_000, ("minimal", *_THREE)),
    "gpt-4.1": _caps(1_000_000, 32_768),
    "gpt-4o": _caps(128_000, 16_384),
    "o3": _caps(200_000, 100_000, _THREE),
    "o4-mini": _caps(200_000, 100_000, _THREE),
    "o1": _caps(200_000, 100_000, _THREE),
    "gpt-oss-120b": _caps(131_072, 32_768, _THREE, images=False),
    "gpt-oss-20b": _caps(131_072, 32_768, _THREE, images=False),
}

_OPENAI_MENU = (
    *("gpt-6.1-sol", "gpt-6.2-sol", "gpt-6.2-astra", "gpt-6-astra", "gpt-6.1-terra"),
    *("gpt-6-sol", "gpt-6-luna", "gpt-5.5", "gpt-5.4", "gpt-5.4-mini", "gpt-5.4-nano"),
)

GEMINI: dict[str, ModelCaps] = {
    "gemini-3.8-flash": _caps(1_000_000, 65_536, _THREE),
    "gemini-4-argon": _caps(1_048_576, 65_536, _THREE),
    "gemini-3.5-flash-lite": _caps(1_000_000, 65_536, _THREE),
    "gemini-2.5-flash": _caps(1_048_576, 65_536, ("none", *_THREE)),
    "gemini-2.5-pro": _caps(1_048_576, 65_536, _THREE),
}

DEEPSEEK: dict[str, ModelCaps] = {
    "deepseek-v4-pro": _caps(1_000_000, 64_000, images=False),
    "deepseek-v4-flash": _caps(1_000_000, 64_000, images=False),
}


def entries(
    provider: str, rows: dict[str, ModelCaps], names: tuple[str, ...] = ()
) -> tuple[ModelEntry, ...]:
    """Rows of the menu; the first is what is taken when nobody names a model."""
    return tuple(
        ModelEntry(name=name, provider=provider, caps=rows[name]) for name in names or rows
    )


ANTHROPIC_MODELS = entries("anthropic", ANTHROPIC)
OPENAI_MODELS = entries("openai", OPENAI, _OPENAI_MENU)
GEMINI_MODELS = entries("gemini", GEMINI)
DEEPSEEK_MODELS = entries("deepseek", DEEPSEEK)
