from __future__ import annotations

from pathlib import Path

import pytest

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.errors import InvalidInput, SettingsError
from bamboo_mcp.providers.scripted.file import parse_script
from bamboo_mcp.providers.scripted.provider import make


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("steps:\n  - text: [\n", ":3:", "not YAML"),
        ("steps:\n  - text: a\n  - txt: b\n", ":3:", "did you mean 'text'"),
        ("steps:\n  - text: a\n    calls:\n      - name: 3\n", ":4:", "Expected `str`"),
        (
            "steps:\n  - text: a\n\n  - when: {tools: look}\n    text: b\n",
            ":4:",
            "Expected `array`",
        ),
        ("steps:\n  - text: a\n    when: {last_user: /(/}\n", "", "regular expression"),
        ("steps:\n  - usage: {input: 1}\n", ":2:", "answers nothing"),
        ("steps:\n  - error: {kind: rate_limt}\n", ":2:", "rate_limt"),
        ("steps:\n  - {text: a, repeat: true}\n  - text: b\n", ":2:", "never be reached"),
        ("steps:\n  - {text: a, chunk: -1}\n", ":2:", "negative"),
        ("steps:\n  - {text: a, error: {kind: server, after: -1}}\n", ":2:", "negative"),
        ("steps:\n  - blocks: [{kind: x}]\n", ":2:", "needs a `type`"),
        (
            "steps:\n  - calls: [{name: a, args: {b: 1}, raw_json: '{'}]\n",
            ":2:",
            "give one of them",
        ),
        ("steps: []\n", ":1:", "no steps"),
        ("", ":1:", "Expected `object`"),
        ("- a\n", ":1:", "Expected `object`"),
        ("steps: [{text: a}]\nconversations: [{steps: [{text: b}]}]\n", ":1:", "not both"),
        ("conversations:\n  - steps:\n      - text: 5\n", ":3:", "Expected `str`"),
    ],
)
def test_a_broken_script_is_told_with_file_and_line(text: str, where: str, what: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_script(text, "demo.yaml")
    assert "demo.yaml" + where in caught.value.message
    assert what in caught.value.message


def test_a_script_that_is_not_text_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\x00")
    provider = make(ProviderConfig(name="s", type="scripted", options={"folder": str(tmp_path)}))
    with pytest.raises(InvalidInput, match=r"bad\.yaml"):
        provider.caps("bad")


@pytest.mark.parametrize("options", [{"folder": 3}, {"foldr": "x"}])
def test_a_wrong_option_is_named(options: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=r"providers\.s\.options"):
        make(ProviderConfig(name="s", type="scripted", options=options))
