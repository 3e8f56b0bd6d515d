"""What a call costs, as the catalog tells it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from bamboo_mcp.domain.models import ModelFacts
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.providers.catalog import ProviderCatalog
from bamboo_mcp.providers.prices import PriceData
from bamboo_mcp.providers.shipped import shipped_providers

USAGE = Usage(input=1_000_000, output=1_000_000)
OPUS = "claude-opus-5-5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The settings of one provider."""

    type: str = ""
    base_url: str = ""
    api_key: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, ModelFacts] = field(default_factory=dict)


def catalog(**providers: Said) -> ProviderCatalog:
    return ProviderCatalog(shipped_providers(), providers=providers, environ={})


async def test_a_listed_model_costs_what_the_list_says_once_it_is_loaded() -> None:
    async with catalog() as models:
        assert models.cost("anthropic", OPUS, USAGE) is None, "nobody waits for the list here"
        with anyio.fail_after(10):
            await models.load_prices("anthropic", OPUS)
        assert models.cost("anthropic", OPUS, USAGE) == pytest.approx(24.0)
        assert models.cost("anthropic", "claude-of-tomorrow", USAGE) is None
        assert models.cost("nobody", OPUS, USAGE) is None


async def test_a_price_of_the_settings_needs_no_list() -> None:
    said = Said(
        type="openai-chat",
        base_url="https://llm.example.com/v1",
        facts={"m": ModelFacts(price_input=1.0, price_output=2.0)},
    )
    async with catalog(work=said) as models:
        assert models.cost("work", "m", USAGE) == pytest.approx(3.0)
        assert models.cost("work", "other", USAGE) is None


@pytest.mark.parametrize("name", ["offline", "scripted", "ollama", "llama.cpp"])
async def test_what_runs_on_this_machine_costs_nothing(name: str) -> None:
    async with catalog() as models:
        assert models.cost(name, "any", USAGE) == 0.0


async def test_all_prices_can_be_waited_for_at_once() -> None:
    async with catalog() as models:
        with anyio.fail_after(10):
            await models.load_prices()
        assert models.cost("openai", "gpt-6-sol", USAGE) is not None


async def test_the_list_is_loaded_once_for_all_who_wait() -> None:
    data = PriceData()
    first = data.begin()
    assert data.begin() is first
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(data.wait, 5.0)
    assert data.loaded


def test_a_model_that_is_free_does_not_have_the_list_loaded() -> None:
    program = """
import anyio, sys
from bamboo_mcp.providers.catalog import ProviderCatalog
from bamboo_mcp.providers.shipped import shipped_providers
from bamboo_mcp.domain.usage import Usage
async def main():
    async with ProviderCatalog(shipped_providers(), environ={}) as models:
        await models.resolve("offline")
        await models.load_prices("offline", "offline")
        assert models.cost("offline", "offline", Usage(input=1)) == 0.0
anyio.run(main)
print("genai_prices" in sys.modules)
"""
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "False"
