"""Which model is counted how, what is assumed of it at first, and that it is remembered."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable

import pytest

from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.domain.text_tokens import estimate_text
from bamboo_mcp.providers.catalog import ProviderCatalog
from bamboo_mcp.providers.sizing import (
    CLAUDE_FACTOR,
    EXACT_WHOLE_CHARS,
    SIZINGS_KEPT,
    Sizings,
    first_guess,
    is_openai,
    o200k_counter,
)


def count_characters() -> Callable[[str], int]:
    return len


def not_installed() -> None:
    return None


def never() -> Callable[[str], int]:
    raise AssertionError("no model of OpenAI was asked for")


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o",
        "gpt-4.1-mini",
        "gpt-5",
        "gpt-6.1-sol",
        "gpt-oss-20b",
        "o1",
        "o3",
        "o4-mini",
        "chatgpt-4o-latest",
        "openai/gpt-5.4",
        "ft:gpt-4o:acme::abc",
        "GPT-5",
    ],
)
def test_models_of_openai_are_known_by_name(model: str) -> None:
    assert is_openai(model)


@pytest.mark.parametrize(
    "model",
    ["claude-opus-5-5", "llama3", "gpt", "gpt-neox-20b", "ollama", "phi-o1x", "qwen3", "o", ""],
)
def test_models_of_others_are_not_taken_for_openais(model: str) -> None:
    assert not is_openai(model)


@pytest.mark.parametrize(
    ("model", "guess"),
    [
        ("claude-opus-5-5", CLAUDE_FACTOR),
        ("claude-opus-5", CLAUDE_FACTOR),
        ("claude-opus-4-7", CLAUDE_FACTOR),
        ("anthropic/claude-opus-4.8", CLAUDE_FACTOR),
        ("us.anthropic.claude-opus-4-8-v1:0", CLAUDE_FACTOR),
        ("claude-sonnet-10-1", CLAUDE_FACTOR),
        ("claude-opus-4-6", 1.0),
        ("claude-sonnet-4-20250514", 1.0),
        ("claude-3-5-sonnet-20241022", 1.0),
        ("claude-haiku-4-5", 1.0),
        ("claude", 1.0),
        ("gpt-6.1-sol", 1.0),
        ("llama3.3", 1.0),
        ("", 1.0),
    ],
)
def test_the_first_guess_is_higher_for_claude_since_its_new_tokenizer(
    model: str, guess: float
) -> None:
    assert first_guess(model) == guess
    assert Sizings(not_installed).of("anything", model).factor == guess


def test_what_one_run_teaches_is_there_for_the_next() -> None:
    sizings = Sizings(not_installed)
    sizings.of("ollama", "llama3").observe(10_000, 15_000)
    assert sizings.of("ollama", "llama3").factor > 1.4
    assert sizings.of("ollama", "qwen3").factor == 1.0
    assert sizings.of("vllm", "llama3").factor == 1.0


def test_the_catalog_gives_the_same_sizing_each_time() -> None:
    catalog = ProviderCatalog([], environ={})
    assert catalog.sizing("a", "m") is catalog.sizing("a", "m")
    assert catalog.sizing("a", "m") is not catalog.sizing("b", "m")


def test_a_tool_list_is_counted_once_for_all_models_with_one_ruler() -> None:
    sizings = Sizings(count_characters)
    assert sizings.of("a", "llama3").ruler is sizings.of("b", "claude-opus-5-5").ruler
    assert sizings.of("a", "gpt-5").ruler is sizings.of("b", "o3").ruler
    assert sizings.of("a", "gpt-5").ruler is not sizings.of("a", "llama3").ruler


def test_openais_models_are_counted_with_the_tokenizer() -> None:
    sizing = Sizings(count_characters).of("proxy", "gpt-5")
    assert sizing.text("x" * 12_345) == 12_345
    assert sizing.messages([user_message("x" * 1_000)]) in range(1_000, 1_010)
    long = EXACT_WHOLE_CHARS * 10
    assert sizing.text("x" * long) == long


def test_what_the_tokenizer_does_not_see_is_learned() -> None:
    sizing = Sizings(count_characters).of("openai", "gpt-5")
    sizing.observe(10_000, 10_700)
    assert 1.05 < sizing.factor < 1.08


def test_without_the_tokenizer_openais_models_are_estimated() -> None:
    sizing = Sizings(not_installed).of("openai", "gpt-5")
    text = "The agent reads the file, and then it says what is in it."
    assert sizing.text(text) == estimate_text(text)


def test_the_tokenizer_is_loaded_once_and_only_for_models_of_openai() -> None:
    other = Sizings(never)
    other.of("anthropic", "claude-opus-5-5")
    other.of("ollama", "llama3")
    loads: list[int] = []

    def load() -> None:
        loads.append(1)

    sizings = Sizings(load)
    for model in ("gpt-5", "gpt-5", "o3", "gpt-4o"):
        sizings.of("openai", model)
    assert len(loads) == 1


def test_no_more_models_are_kept_than_a_server_could_mean() -> None:
    sizings = Sizings(not_installed)
    first = sizings.of("p", "m0")
    for n in range(SIZINGS_KEPT + 10):
        sizings.of("p", f"m{n}")
    assert sizings.of("p", "m0") is not first
    assert sizings.of("p", "m500") is sizings.of("p", "m500")


def test_our_shortcut_into_the_tokenizer_counts_what_the_package_does() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = pytest.importorskip("bpe_openai")
        encoding = package.get_encoding("o200k_base")
    count = o200k_counter()
    assert count is not None
    for text in (
        "",
        "hello world",
        "def f(x): return x",
        "Größe 42,5",
        "代理先阅读任务",
        "😀 <|endoftext|>",
    ):
        assert count(text) == len(encoding.encode_ordinary(text)), text


def test_half_a_character_does_not_stop_the_count() -> None:
    count = o200k_counter()
    if count is None:
        pytest.skip("bpe-openai is not installed")
    assert count("a word \ud800 and another") > 3


def test_importing_the_catalog_loads_no_tokenizer() -> None:
    program = (
        "import sys, bamboo_mcp.providers.catalog as catalog\n"
        "catalog.ProviderCatalog([], environ={}).sizing('a', 'llama3')\n"
        "print([name for name in sys.modules if 'bpe' in name])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
