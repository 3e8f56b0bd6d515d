from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bamboo_mcp.domain.models import ModelCaps, ModelEntry
from bamboo_mcp.testing.scripted import ScriptedProvider
from tests.cli.small_app import command

READY = ModelEntry(
    name="one",
    provider="a",
    ready=True,
    caps=ModelCaps(context_window=200_000, efforts=("low", "medium", "high")),
    price_input=3.0,
    price_output=15.0,
)
LACKING = ModelEntry(name="b:two", provider="b", missing="no key: set B_KEY")


class Menu(ScriptedProvider):
    def __init__(self, *entries: ModelEntry) -> None:
        super().__init__()
        self._entries = entries

    async def models(self) -> Sequence[ModelEntry]:
        return self._entries


def test_the_table_shows_what_is_ready_and_then_what_each_provider_lacks() -> None:
    also = msgspec.structs.replace(LACKING, name="three")
    result = command("models", provider=Menu(READY, LACKING, also))
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[1] == ["a:one", "200,000", "3", "15", "low", "…", "high", "yes"]
    assert "b: no key: set B_KEY (2 models known)" in result.stdout
    assert "b:three" not in result.stdout
    assert result.stdout.rstrip().endswith("without a name: scripted:test")


def test_all_models_are_shown_when_asked_for() -> None:
    also = msgspec.structs.replace(LACKING, name="three")
    lines = command("models", "--all", provider=Menu(READY, LACKING, also)).stdout.splitlines()
    assert lines[2].split() == ["b:two", "128,000", "no"]
    assert lines[3].startswith("b:three")


def test_names_cannot_style_or_act_on_the_terminal() -> None:
    evil = ModelEntry(name="[red]x[/red]\x1b[2J", provider="p", missing="[b]\x07")
    shown = command("models", "--all", provider=Menu(evil)).stdout
    assert "p:[red]x[/red]\\x1b[2J" in shown
    assert "p: [b]\\x07" in shown


def test_json_is_complete_for_programs() -> None:
    result = command("models", "--json", provider=Menu(READY, LACKING))
    first, second = msgspec.json.decode(result.stdout)
    assert first == {
        "model": "a:one",
        "provider": "a",
        "context_window": 200_000,
        "max_output": 8_192,
        "efforts": ["low", "medium", "high"],
        "price_input": 3.0,
        "price_output": 15.0,
        "ready": True,
        "missing": "",
    }
    assert (second["ready"], second["missing"]) == (False, "no key: set B_KEY")


def test_an_empty_menu_says_so() -> None:
    assert "no models are known" in command("models", provider=Menu()).stderr
