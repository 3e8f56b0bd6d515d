"""What each known model can do: window, longest answer, efforts, ways of thinking.

Sources: the SDK and documentation of the vendor (providers note, sections 1.2 and 4). Prices are
not known here. A model that is not in the table has the defaults of `ModelCaps`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import get_args

from bamboo_mcp.domain.models import Effort, ModelCaps, ModelEntry, ModelFacts

EFFORTS: tuple[Effort, ...] = get_args(Effort)
"""From no thinking to the most."""

_ALL_LEVELS: tuple[Effort, ...] = ("low", "medium", "high", "xhigh", "max")
_LEVELS_4_6: tuple[Effort, ...] = ("low", "medium", "high", "max")


def _caps(
    window: int, output: int, efforts: tuple[Effort, ...], thinking: tuple[str, ...]
) -> ModelCaps:
    return ModelCaps(context_window=window, max_output=output, efforts=efforts, thinking=thinking)


_ALWAYS_THINKS = _caps(1_000_000, 128_000, _ALL_LEVELS, ("adaptive",))

# `none` among the efforts means that thinking can be turned off, one way or another.
_ANTHROPIC: dict[str, ModelCaps] = {
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
    "claude-opus-4-5": _caps(200_000, 64_000, ("low", "medium", "high"), ("enabled", "disabled")),
    "claude-sonnet-4-5": _caps(200_000, 64_000, (), ("enabled", "disabled")),
    "claude-haiku-4-5": _caps(200_000, 64_000, (), ("enabled", "disabled")),
}

_ROWS: dict[str, tuple[str, ModelCaps]] = {
    prefix: ("anthropic", caps) for prefix, caps in _ANTHROPIC.items()
}
_PREFIXES = sorted(_ROWS, key=len, reverse=True)
_VENDORS = (("claude-", "anthropic"),)
_SNAPSHOT = re.compile(r"(?:[-@]20\d{6}|-latest)$")
_UNKNOWN = ModelCaps()
NOTHING_SAID: Mapping[str, ModelFacts] = {}

ANTHROPIC_MODELS: tuple[ModelEntry, ...] = tuple(
    ModelEntry(name=name, provider="anthropic", caps=caps) for name, caps in _ANTHROPIC.items()
)
"""The rows of the menu; the first is what is taken when nobody names a model."""


def caps_of(model: str) -> ModelCaps:
    """The row whose id `model` is or continues (`claude-opus-5-5-20261001`), else the defaults."""
    name = family_of(model)
    if (row := _ROWS.get(name)) is not None:
        return row[1]
    for prefix in _PREFIXES:
        if name.startswith(prefix) and name[len(prefix)] in "-@:":
            return _ROWS[prefix][1]
    return _UNKNOWN


class Knowledge:
    """What is known of a provider's models: what settings say, then what the service said, then
    the table, then the defaults of `ModelCaps`."""

    def __init__(self, said: Mapping[str, ModelFacts] = NOTHING_SAID) -> None:
        self._said = said
        self._learned: dict[str, ModelFacts] = {}
        self._caps: dict[str, ModelCaps] = {}

    def caps(self, model: str) -> ModelCaps:
        caps = self._caps.get(model)
        if caps is None:
            caps = caps_of(model)
            for facts in (self._learned.get(model), self._said.get(model)):
                caps = facts.over(caps) if facts is not None else caps
            self._caps[model] = caps
        return caps

    def learn(self, model: str, facts: ModelFacts) -> None:
        self._learned[model] = facts
        self._caps.pop(model, None)


def family_of(model: str) -> str:
    """The model without its snapshot date: one snapshot reads the signed reasoning of another."""
    return _SNAPSHOT.sub("", model)


def vendor_of(model: str) -> str:
    """The provider type a bare model name belongs to by its prefix, "" when nothing tells."""
    return next((vendor for prefix, vendor in _VENDORS if model.startswith(prefix)), "")


def clamp_effort(effort: Effort, allowed: Sequence[Effort]) -> Effort | None:
    """The nearest allowed level, rounding down, else up; None when the model knows no levels."""
    wanted = EFFORTS.index(effort)
    known = sorted(EFFORTS.index(level) for level in allowed)
    if not known:
        return None
    below = [level for level in known if level <= wanted]
    return EFFORTS[below[-1] if below else known[0]]
