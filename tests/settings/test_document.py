from __future__ import annotations

import re
import tomllib
from pathlib import Path

from bamboo_mcp.settings.document import in_force, in_force_json, plain, template, toml
from bamboo_mcp.settings.keys import leaves
from bamboo_mcp.settings.sections import Settings
from tests.settings.loaded import loaded, written

_DISABLED = re.compile(r"^#(?=[\w]+ = |\[)", re.MULTILINE)

FULL = """\
home = "{home}"
[models]
primary = "anthropic:opus"
[limits]
max_tokens = 1000
[server]
expose = ["control", "workspace"]
[providers.work]
type = "anthropic"
api_key = "env:WORK_KEY"
options = {{headers = {{authorization = "Bearer xyz"}}, retries = 2, tags = ["a", "\\u007f\\"'"]}}
"""


def test_the_first_settings_file_changes_nothing(tmp_path: Path) -> None:
    assert loaded(written(tmp_path, template())).model_dump() == Settings().model_dump()


def test_the_first_settings_file_holds_every_key_with_its_default(tmp_path: Path) -> None:
    text = _DISABLED.sub("", template())
    settings = loaded(written(tmp_path, text))
    said = {key for key in leaves() if settings.source_of(key) != "default"}
    assert said == {key for key in leaves() if not key.startswith("providers.")}
    values = settings.model_dump() | {"providers": {}}
    values["limits"] |= {"max_tokens": None, "max_cost_usd": None}
    assert values == Settings().model_dump()


def test_the_first_settings_file_shows_how_to_name_a_provider(tmp_path: Path) -> None:
    settings = loaded(written(tmp_path, _DISABLED.sub("", template())))
    assert settings.providers["anthropic"].api_key == "env:ANTHROPIC_API_KEY"
    assert settings.providers["work"].type == "anthropic"


def test_what_is_in_force_can_be_loaded_again(tmp_path: Path) -> None:
    first = loaded(written(tmp_path, FULL.format(home=(tmp_path / "h").as_posix())))
    again = loaded(written(tmp_path, in_force(first)))
    hidden = {"headers": {"authorization": "***"}, "retries": 2, "tags": ["a", "\x7f\"'"]}
    assert again.providers["work"].options == hidden
    assert again.model_dump() | {"providers": {}} == first.model_dump() | {"providers": {}}


def test_what_is_in_force_says_where_each_value_was_said(tmp_path: Path) -> None:
    file = written(tmp_path, '[models]\nprimary = "a:b"\n')
    text = in_force(loaded(file, environ={"BAMBOO_LIMITS__MAX_ROUNDS": "9"}))
    lines = text.splitlines()
    assert f'primary = "a:b"  # {file}:2' in lines
    assert "max_rounds = 9  # BAMBOO_LIMITS__MAX_ROUNDS" in lines
    assert 'fast = ""  # default' in lines
    assert "# max_tokens is not set  # default" in lines


def test_references_are_shown_and_secrets_are_not(tmp_path: Path) -> None:
    settings = loaded(written(tmp_path, FULL.format(home=tmp_path.as_posix())))
    for text in (in_force(settings), str(in_force_json(settings))):
        assert "env:WORK_KEY" in text
        assert "Bearer" not in text


def test_the_json_form_has_every_key_with_value_and_source() -> None:
    settings = loaded(flags={"providers.x.type": "y"})
    found = in_force_json(settings)
    assert set(found) == {key.replace(".NAME.", ".x.") for key in leaves()}
    assert found["providers.x.type"] == {"value": "y", "source": "--providers.x.type"}


def test_a_provider_with_a_dot_in_its_name_is_quoted(tmp_path: Path) -> None:
    file = written(tmp_path, '[providers."llm.local"]\ntype = "t"\n')
    again = loaded(written(tmp_path, in_force(loaded(file))))
    assert again.providers["llm.local"].type == "t"


def test_odd_text_survives() -> None:
    for text in ['a"b\\c', "tab\tline\nend", "\x7f\x01", "é 🎋", "'''", "# no comment"]:
        assert tomllib.loads(f"x = {toml(text)}")["x"] == text


def test_empty_secrets_are_shown_empty() -> None:
    assert plain({"token": "", "a_key": "x", "list_of_keys": ["x"]}, "") == {
        "token": "",
        "a_key": "***",
        "list_of_keys": ["***"],
    }
