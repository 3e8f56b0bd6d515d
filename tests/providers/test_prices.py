from __future__ import annotations

import subprocess
import sys

import pytest
from genai_prices import Usage as Counted
from genai_prices import calc_price

from bamboo_mcp.domain.models import ModelFacts
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.providers.known_models import ANTHROPIC_MODELS, OPENAI_MODELS
from bamboo_mcp.providers.prices import Prices

OPUS = "claude-opus-5-5"
TIERED = "claude-haiku-5-5"
GEMINI = "https://generativelanguage.googleapis.com/v1beta/openai/"
MILLION = Usage(input=1_000_000, output=1_000_000)


def test_a_vendor_model_has_a_price_per_million_tokens() -> None:
    assert Prices().of("anthropic", OPUS) == (4.0, 20.0)
    assert Prices().cost("anthropic", OPUS, MILLION) == pytest.approx(24.0)
    found = Prices().of("openai", "gpt-6-sol")
    assert found is not None
    assert all(type(price) is float for price in found)


def test_a_snapshot_of_a_model_costs_what_the_model_does() -> None:
    assert Prices().of("anthropic", f"{OPUS}-20261001") == Prices().of("anthropic", OPUS)


def test_most_models_of_the_table_have_a_price() -> None:
    rows = [*ANTHROPIC_MODELS, *OPENAI_MODELS]
    priced = [row for row in rows if Prices().of(row.provider, row.name) is not None]
    assert len(priced) > len(rows) * 0.8


def test_cached_tokens_cost_what_cached_tokens_cost() -> None:
    usage = Usage(input=1000, cache_read=600, cache_write=300, output=100)
    # 100 fresh at $4, 600 read at $0.2, 300 written at $5, 100 out at $20 per million
    assert Prices().cost("anthropic", OPUS, usage) == pytest.approx(
        (100 * 4 + 600 * 0.2 + 300 * 5 + 100 * 20) / 1e6
    )


def test_reasoning_is_part_of_the_output_and_not_charged_twice() -> None:
    plain = Usage(input=10, output=100)
    thought = Usage(input=10, output=100, reasoning=90)
    assert Prices().cost("anthropic", OPUS, plain) == Prices().cost("anthropic", OPUS, thought)


def test_of_prices_in_tiers_the_first_is_shown_and_the_true_one_charged() -> None:
    shown = Prices().of("anthropic", TIERED)
    assert shown is not None
    small = Prices().cost("anthropic", TIERED, Usage(input=1000))
    large = Prices().cost("anthropic", TIERED, Usage(input=1_000_000))
    assert small is not None
    assert large is not None
    assert small == pytest.approx(shown[0] * 1000 / 1e6)
    exact = calc_price(Counted(input_tokens=1_000_000), TIERED, provider_id="anthropic")
    assert large == pytest.approx(float(exact.total_price))
    assert large > shown[0]


@pytest.mark.parametrize(
    ("base_url", "model"),
    [
        (GEMINI, "gemini-2.5-flash"),
        (GEMINI, "models/gemini-2.5-flash"),
        ("https://api.deepseek.com", "deepseek-chat"),
        ("https://api.deepseek.com/v1", "deepseek-chat"),
        ("https://openrouter.ai/api/v1", "anthropic/claude-opus-5.5"),
        ("HTTPS://API.DeepSeek.com/v1", "deepseek-chat"),
    ],
)
def test_a_compatible_service_is_known_by_its_address(base_url: str, model: str) -> None:
    found = Prices(base_url=base_url).of("openai-chat", model)
    assert found is not None
    assert found[0] > 0


@pytest.mark.parametrize(
    ("provider_type", "base_url", "model"),
    [
        ("anthropic", "", "claude-of-tomorrow"),
        ("anthropic", "", ""),
        ("openai", "", "text-embedding-3-small"),
        ("openai-chat", "", "gpt-6-sol"),
        ("openai-chat", "https://llm.example.com/v1", "gpt-6-sol"),
        ("openai-chat", "https://api.deepseek.com", "deepseek-of-tomorrow"),
        ("anthropic", "https://api.deepseek.com/anthropic", OPUS),
        ("openai-chat", "https://openrouter.ai/api/v1", "openai/gpt-oss-20b:free"),
        ("somebodys-plugin", "", OPUS),
        ("openai-chat", "https://[broken", "x"),
        ("openai-chat", "not an address", "x"),
    ],
)
def test_what_is_not_known_is_none_and_never_nothing(
    provider_type: str, base_url: str, model: str
) -> None:
    prices = Prices(base_url=base_url)
    assert prices.of(provider_type, model) is None
    assert prices.cost(provider_type, model, MILLION) is None


def test_a_proxy_of_a_vendor_costs_what_the_vendor_does() -> None:
    proxied = Prices(base_url="https://llm.example.com")
    assert proxied.of("anthropic", OPUS) == Prices().of("anthropic", OPUS)


@pytest.mark.parametrize(
    "base_url",
    [
        "http://127.0.0.1:11434/v1",
        "http://127.9.9.9:1",
        "http://localhost:8080/v1",
        "http://LOCALHOST",
        "http://llm.localhost:1234",
        "http://[::1]:8000/v1",
        "http://0.0.0.0:8000/v1",
    ],
)
def test_a_server_on_this_machine_costs_nothing_and_says_so(base_url: str) -> None:
    prices = Prices(base_url=base_url)
    assert prices.of("openai-chat", "whatever:7b") == (0.0, 0.0)
    assert prices.cost("openai-chat", "whatever:7b", MILLION) == 0.0


@pytest.mark.parametrize("base_url", ["http://192.168.1.2:8000", "http://localhost.example.com"])
def test_a_server_in_the_next_room_is_not_on_this_machine(base_url: str) -> None:
    assert Prices(base_url=base_url).of("openai-chat", "whatever:7b") is None


@pytest.mark.parametrize("provider_type", ["offline", "scripted"])
def test_what_is_no_service_costs_nothing(provider_type: str) -> None:
    assert Prices().of(provider_type, "demo") == (0.0, 0.0)


def test_the_prices_of_the_settings_go_before_all_others() -> None:
    said = {
        OPUS: ModelFacts(price_input=1.0, price_output=2.0),
        "mine": ModelFacts(price_input=0.5, price_output=0.0),
    }
    for base_url in ("", "http://127.0.0.1:1", "https://llm.example.com"):
        prices = Prices(base_url=base_url, said=said)
        assert prices.of("anthropic", OPUS) == (1.0, 2.0)
        assert prices.cost("anthropic", OPUS, MILLION) == pytest.approx(3.0)
        assert prices.of("openai-chat", "mine") == (0.5, 0.0)
        assert prices.cost("openai-chat", "mine", MILLION) == pytest.approx(0.5)


def test_settings_that_say_half_take_the_other_half_from_the_list() -> None:
    prices = Prices(said={OPUS: ModelFacts(price_input=1.0), "mine": ModelFacts(price_output=3.0)})
    assert prices.of("anthropic", OPUS) == (1.0, 20.0)
    assert prices.cost("anthropic", OPUS, MILLION) == pytest.approx(21.0)
    assert prices.of("anthropic", "mine") is None
    assert prices.cost("anthropic", "mine", MILLION) is None
    local = Prices(base_url="http://127.0.0.1:1", said={"mine": ModelFacts(price_output=3.0)})
    assert local.of("openai-chat", "mine") == (0.0, 3.0)


def test_settings_that_speak_of_windows_only_say_no_price() -> None:
    prices = Prices(said={OPUS: ModelFacts(context_window=1000)})
    assert prices.of("anthropic", OPUS) == Prices().of("anthropic", OPUS)


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input=10, cache_read=50, cache_write=70, output=1),
        Usage(input=10, cache_read=-5, output=1),
        Usage(),
    ],
)
def test_counts_that_cannot_be_right_still_give_a_price(usage: Usage) -> None:
    cost = Prices().cost("anthropic", OPUS, usage)
    assert cost is not None
    assert 0 <= cost < 0.001


def test_counts_below_nothing_give_no_price_and_no_error() -> None:
    assert Prices().cost("anthropic", OPUS, Usage(input=-1, output=-1)) is None


def _python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=25, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_library_is_loaded_only_when_only_it_can_know() -> None:
    program = """
import sys
from bamboo_mcp.domain.models import ModelFacts
from bamboo_mcp.providers.prices import Prices
both = ModelFacts(price_input=1.0, price_output=1.0)
Prices(base_url="http://127.0.0.1:1").of("openai-chat", "x")
Prices(said={"x": both}).of("anthropic", "x")
Prices().of("somebodys-plugin", "x")
print("genai_prices" in sys.modules)
Prices().of("anthropic", "claude-opus-5-5")
print("genai_prices" in sys.modules)
"""
    assert _python(program).split() == ["False", "True"]


def test_without_the_library_prices_are_unknown_and_the_settings_still_hold() -> None:
    program = """
import sys
sys.modules["genai_prices"] = None
from bamboo_mcp.domain.models import ModelFacts
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.providers.prices import Prices
said = {"x": ModelFacts(price_input=1.0, price_output=1.0)}
print(Prices().of("anthropic", "claude-opus-5-5"))
print(Prices().cost("anthropic", "claude-opus-5-5", Usage(input=1)))
print(Prices(said=said).of("anthropic", "x"))
print(Prices(base_url="http://localhost").of("openai-chat", "x"))
"""
    assert _python(program).splitlines() == ["None", "None", "(1.0, 1.0)", "(0.0, 0.0)"]


def test_asking_for_a_price_opens_no_socket_and_starts_no_thread() -> None:
    program = """
import socket, threading
def refuse(*args, **more):
    raise SystemExit("a socket was opened")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
from bamboo_mcp.providers.prices import Prices
assert Prices().of("anthropic", "claude-opus-5-5")
print(threading.active_count())
"""
    assert _python(program) == "1"
