"""What a model costs: settings first, then the offline data of `genai-prices`, else not known.

Nothing here asks a network. The library is an extra and takes a moment to import, so it is loaded
when a price is first asked for that only it can know.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Future, wait
from decimal import Decimal
from threading import Thread
from typing import TYPE_CHECKING

import anyio.to_thread

from bamboo_mcp.domain.models import ModelFacts
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.providers.addresses import is_on_this_machine

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, PriceCalculation, Provider, TieredPrices

logger = logging.getLogger(__name__)

NOTHING_SAID: Mapping[str, ModelFacts] = {}

_PER_MILLION = 1_000_000
_VENDORS = {"anthropic": "anthropic", "openai": "openai"}
"""Whose prices hold at an address that tells nothing: a proxy passes them on."""

_FREE_TYPES = ("offline", "scripted")


class Prices:
    """The prices of one provider instance, in US dollars.

    `base_url` is where it is: it tells whose service an `openai-chat` provider is, and a server on
    this machine costs nothing, which is said as 0.0. `said` are the settings on its models. What is
    not known is None, never 0.
    """

    def __init__(
        self, *, base_url: str = "", said: Mapping[str, ModelFacts] = NOTHING_SAID
    ) -> None:
        self._base_url = base_url.strip().lower()
        self._is_here = is_on_this_machine(self._base_url)
        self._said = said

    def needs_data(self, provider_type: str, model: str) -> bool:
        """Can only the library know? Then a question takes a moment until it is loaded."""
        if None not in self._stated(provider_type, model):
            return False
        return bool(self._base_url) or provider_type in _VENDORS

    def of(self, provider_type: str, model: str) -> tuple[float, float] | None:
        """Input and output, per million tokens. Of prices in tiers, the first tier."""
        known_input, known_output = self._stated(provider_type, model)
        if known_input is None or known_output is None:
            listed = self._calculated(provider_type, model, Usage(input=1, output=1))
            prices = listed.model_price if listed is not None else None
            if known_input is None:
                known_input = _first_tier(prices.input_mtok) if prices is not None else None
            if known_output is None:
                known_output = _first_tier(prices.output_mtok) if prices is not None else None
        if known_input is None or known_output is None:
            return None
        return known_input, known_output

    def cost(self, provider_type: str, model: str, usage: Usage) -> float | None:
        """Of this usage, in its true tier. Give it one call at a time: a tier is a call's, and the
        sum of many small calls would fall into a higher one.

        A price of the settings holds for cached tokens too: they do not say another.
        """
        said_input, said_output = self._stated(provider_type, model)
        if said_input is not None and said_output is not None:
            return (usage.input * said_input + usage.output * said_output) / _PER_MILLION
        listed = self._calculated(provider_type, model, usage)
        if listed is None or self.of(provider_type, model) is None:
            return None
        total = float(listed.total_price)
        if said_input is not None:
            total += usage.input * said_input / _PER_MILLION - float(listed.input_price)
        if said_output is not None:
            total += usage.output * said_output / _PER_MILLION - float(listed.output_price)
        return total

    def _stated(self, provider_type: str, model: str) -> tuple[float | None, float | None]:
        """What is known without the library."""
        free = 0.0 if self._is_here or provider_type in _FREE_TYPES else None
        said = self._said.get(model)
        if said is None:
            return free, free
        return (
            free if said.price_input is None else said.price_input,
            free if said.price_output is None else said.price_output,
        )

    def _calculated(self, provider_type: str, model: str, usage: Usage) -> PriceCalculation | None:
        vendor = _VENDORS.get(provider_type, "")
        if not vendor and not self._base_url:
            return None
        try:
            from genai_prices import Usage as Counted
        except ImportError:
            return None
        try:
            owner, listed = _listed(self._base_url, vendor, model)
            # Of the whole prompt, which parts were cached; a service that says more is mistaken.
            read = min(max(usage.cache_read, 0), usage.input)
            counted = Counted(
                input_tokens=usage.input,
                cache_read_tokens=read,
                cache_write_tokens=min(max(usage.cache_write, 0), usage.input - read),
                output_tokens=usage.output,
            )
            return listed.calc_price(counted, owner)
        except (LookupError, ValueError, ArithmeticError):
            return None


def _listed(base_url: str, vendor: str, model: str) -> tuple[Provider, ModelInfo]:
    """Raises LookupError for a service or a model that the library does not know."""
    from genai_prices.data_snapshot import get_snapshot

    snapshot = get_snapshot()
    try:
        owner = snapshot.find_provider(None, None, base_url or None)
    except LookupError:
        owner = snapshot.find_provider(None, vendor or None, None)
    return snapshot.find_provider_model(model.removeprefix("models/"), owner, None, None)


def _first_tier(price: Decimal | TieredPrices | None) -> float | None:
    if price is None:
        return None
    return float(price if isinstance(price, Decimal) else price.base)


class PriceData:
    """The library's data, brought by a thread, so that nobody else has to wait for the import.

    A thread cannot be stopped: one that is not done when the process ends is left behind.
    """

    def __init__(self) -> None:
        self._loading: Future[None] | None = None

    @property
    def loaded(self) -> bool:
        return self._loading is not None and self._loading.done()

    def begin(self) -> Future[None]:
        """Start loading, once."""
        if self._loading is None:
            self._loading = Future()
            Thread(target=_load, args=(self._loading,), name="prices", daemon=True).start()
        return self._loading

    async def wait(self, within_s: float) -> None:
        """Return when it is loaded, or not within that time."""
        loading = self.begin()
        if not loading.done():
            await anyio.to_thread.run_sync(wait, [loading], within_s, abandon_on_cancel=True)


def _load(loading: Future[None]) -> None:
    try:
        from genai_prices.data_snapshot import get_snapshot

        get_snapshot()
    except ImportError:
        pass  # an extra: without it prices are what the settings say
    except Exception:
        logger.exception("the data of prices cannot be read; only prices of the settings are known")
    finally:
        loading.set_result(None)
