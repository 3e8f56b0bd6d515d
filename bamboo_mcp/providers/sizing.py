"""How each model's tokens are counted: OpenAI's exactly where the extra is there, else estimated.

Rulers are shared by all models they fit; what a model's reports teach is kept for each provider and
model by itself, as long as the process lives.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import logging
import re
from collections.abc import Callable
from typing import Any

from bamboo_mcp.domain.text_tokens import estimate_text
from bamboo_mcp.domain.tokens import Ruler, Sizing

logger = logging.getLogger(__name__)

CLAUDE_FACTOR = 1.35
"""From 4.7 on Claude makes about so many tokens of what are one to OpenAI (providers note, 4)."""
_CLAUDE_SINCE = (4, 7)
_CLAUDE = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?!\d)(?:[-.](\d{1,2})(?!\d))?")
_OPENAI = re.compile(r"(?:^|[/:])(?:gpt-(?:\d|oss)|chatgpt-|o\d+(?:-|$))")

EXACT_WHOLE_CHARS = 200_000
"""3 ms of exact counting; a longer text is counted in a sample."""
SIZINGS_KEPT = 500


class Sizings:
    """One `Sizing` for each provider and model, the same one to everybody who asks."""

    def __init__(self, tokenizer: Callable[[], Callable[[str], int] | None] | None = None) -> None:
        """`tokenizer` gives what counts OpenAI's tokens, or None; it is asked once, when needed."""
        self._load = tokenizer or o200k_counter
        self._estimated = Ruler()
        self._exact: Ruler | None = None
        self._sizings: dict[tuple[str, str], Sizing] = {}

    def of(self, provider: str, model: str) -> Sizing:
        key = (provider, model)
        sizing = self._sizings.get(key)
        if sizing is None:
            if len(self._sizings) >= SIZINGS_KEPT:
                del self._sizings[next(iter(self._sizings))]
            sizing = self._sizings[key] = Sizing(self._ruler(model), factor=first_guess(model))
        return sizing

    def _ruler(self, model: str) -> Ruler:
        if not is_openai(model):
            return self._estimated
        if self._exact is None:
            count = self._load()
            exact = None if count is None else Ruler(count, whole_up_to=EXACT_WHOLE_CHARS)
            self._exact = exact or self._estimated
        return self._exact


def is_openai(model: str) -> bool:
    """By its name alone, so also where another service or a gateway serves it."""
    return _OPENAI.search(model.lower()) is not None


def first_guess(model: str) -> float:
    """What a model makes of an estimated token, before it has reported anything."""
    found = _CLAUDE.search(model.lower())
    if found is None:
        return 1.0
    version = int(found[1]), int(found[2] or 0)
    return CLAUDE_FACTOR if version >= _CLAUDE_SINCE else 1.0


def o200k_counter() -> Callable[[str], int] | None:
    """The tokenizer of the `tokens` extra; None when it is not installed or does not load.

    Takes 50 ms and holds the interpreter lock all the while, so a thread would not spare anybody
    the wait.
    """
    if importlib.util.find_spec("bpe_openai") is None:
        return None
    try:
        tokenizer = _load_bindings().tokenizer_for_encoding("o200k_base")
    except (ImportError, AttributeError, OSError, ValueError):
        logger.warning(
            "bpe-openai is installed but does not load: OpenAI's tokens are estimated",
            exc_info=True,
        )
        return None

    def count(text: str) -> int:
        try:
            counted: int = tokenizer.count(text)
        except UnicodeEncodeError:  # half a character, as a cut in a wrong place leaves it
            return estimate_text(text)
        return counted

    return count


def _load_bindings() -> Any:
    """The compiled part of bpe-openai alone.

    Importing the package reads its vocabularies once more, in Python: ten times the wait and twice
    the memory, and of all that we need one function.
    """
    package = importlib.util.find_spec("bpe_openai")
    places = package.submodule_search_locations if package is not None else None
    spec = importlib.machinery.PathFinder.find_spec("bpe_openai._bindings", places)
    if spec is None or spec.loader is None:
        raise ImportError("bpe_openai has no _bindings")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
