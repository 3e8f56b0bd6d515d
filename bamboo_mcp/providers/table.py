"""What a model can do, looked up by its name; who makes it; the effort it gets.

A model that nobody knows has the defaults of `ModelCaps`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import get_args

from bamboo_mcp.domain.models import Effort, ModelCaps, ModelFacts
from bamboo_mcp.providers.known_models import ANTHROPIC, DEEPSEEK, GEMINI, OPENAI

EFFORTS: tuple[Effort, ...] = get_args(Effort)
"""From no thinking to the most."""

_ROWS: dict[str, ModelCaps] = ANTHROPIC | OPENAI | GEMINI | DEEPSEEK
_PREFIXES = sorted(_ROWS, key=len, reverse=True)
_VENDORS = (
    ("claude-", "anthropic"),
    *((prefix, "openai") for prefix in ("gpt-", "o1", "o3", "o4-", "chatgpt-")),
    ("gemini-", "gemini"),
    ("deepseek-", "deepseek"),
)
_SNAPSHOT = re.compile(r"(?:[-@]20\d\d-?\d\d-?\d\d|-latest)$")
_UNKNOWN = ModelCaps()
NOTHING_SAID: Mapping[str, ModelFacts] = {}


def caps_of(model: str) -> ModelCaps:
    """The row whose id `model` is or continues (`claude-opus-5-5-20261001`), else the defaults."""
    name = family_of(model)
    if (row := _ROWS.get(name)) is not None:
        return row
    for prefix in _PREFIXES:
        if name.startswith(prefix) and name[len(prefix)] in "-@:":
            return _ROWS[prefix]
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
    """The provider a bare model name belongs to by its prefix, "" when nothing tells."""
    return next((vendor for prefix, vendor in _VENDORS if model.startswith(prefix)), "")


def clamp_effort(effort: Effort, allowed: Sequence[Effort]) -> Effort | None:
    """The nearest allowed level, rounding down, else up; None when the model knows no levels."""
    wanted = EFFORTS.index(effort)
    known = sorted(EFFORTS.index(level) for level in allowed)
    if not known:
        return None
    below = [level for level in known if level <= wanted]
    return EFFORTS[below[-1] if below else known[0]]
