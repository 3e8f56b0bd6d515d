from __future__ import annotations

import os
from pathlib import Path

import pytest

from bamboo_mcp.domain.errors import SettingsError
from bamboo_mcp.settings import resolve_reference
from bamboo_mcp.settings.document import in_force
from tests.settings.loaded import loaded

KEY = "sk-ant-secret-0123456789"


def refusal(reference: str, environ: dict[str, str] | None = None) -> SettingsError:
    with pytest.raises(SettingsError) as raised:
        resolve_reference(reference, environ or {})
    assert KEY not in f"{raised.value.message} {raised.value.hint}"
    return raised.value


def test_a_variable_gives_its_value() -> None:
    assert resolve_reference("env:WORK_KEY", {"WORK_KEY": f" {KEY}\n"}).reveal() == KEY


def test_a_file_gives_its_text_without_the_last_line_end(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\r\n", encoding="utf-8")
    secret = resolve_reference(f"file:{file}", {})
    assert secret.reveal() == KEY
    assert KEY not in f"{secret} {secret!r}"


def test_no_reference_gives_an_empty_secret() -> None:
    assert not resolve_reference("", {})


def test_a_variable_that_is_not_set_is_named() -> None:
    assert refusal("env:WORK_KEY").message == "'env:WORK_KEY' is not set"
    assert refusal("env:WORK_KEY", {"WORK_KEY": " "}).hint == "set WORK_KEY"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(f"file:{tmp_path / 'none'}").message
    assert "cannot be read" in refusal(f"file:{tmp_path}").message


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.touch()
    assert "is an empty file" in refusal(f"file:{file}").message


@pytest.mark.parametrize("content", [f"{KEY}\n{KEY}", f"export A={KEY}", f"“{KEY}”", f"\0{KEY}"])
def test_what_cannot_be_a_key_is_refused_and_not_shown(content: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(content, encoding="utf-8")
    assert "is not a key" in refusal(f"file:{file}").message


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(os.urandom(64) + b"\xff")
    assert "is not" in refusal(f"file:{file}").message


@pytest.mark.parametrize("reference", [KEY, f"env:{KEY}", "env:", "file:", f"${KEY}", "key"])
def test_what_is_no_reference_is_taken_for_a_key_and_not_shown(reference: str) -> None:
    assert "must say where the key is" in refusal(reference).message


@pytest.mark.parametrize(
    "reference",
    [
        f"keyring:{KEY}",
        f"keyring:bamboo/{KEY}",
        f"cmd:{KEY}",
        f"cmd:echo {KEY}",
        "env:ghp_0123456789abcdefghijKLMN",
    ],
)
def test_a_key_inside_a_reference_is_refused_and_not_shown(reference: str) -> None:
    message = refusal(reference).message
    assert "must say where the key is" in message
    assert reference.partition(":")[2] not in message


def test_a_file_may_be_called_like_a_key(tmp_path: Path) -> None:
    file = tmp_path / KEY
    file.write_text(f"{KEY[::-1]}\n", encoding="utf-8")
    assert resolve_reference(f"file:{file}", {}).reveal() == KEY[::-1]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", "must say where the key is"),
        ("  ", "must say where the key is"),
        ("''", "names no command"),
        ("# comment", "no such program"),
        ("pass 'show", "a quote that is not closed"),
        ("pass\0show", "names no command"),
        ("./give-key", "relative path"),
        ("bin/give-key --now", "relative path"),
    ],
)
def test_what_is_no_command_is_refused(command: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        resolve_reference(f"cmd:{command}", {"PATH": os.defpath}).reveal()


@pytest.mark.parametrize(
    "reference",
    [
        "keyring:bamboo/work",
        "cmd:op read 'op://vault/work key/credential'",
        r"cmd:'C:\Program Files\op.exe' read x",
        "cmd:/usr/bin/pass show work",
        "cmd:~/bin/give-key",
    ],
)
def test_settings_take_every_form_and_look_nothing_up(reference: str) -> None:
    settings = loaded(flags={"providers.work.api_key": reference})
    assert settings.providers["work"].api_key == reference
    assert resolve_reference(reference, {}).pending


def test_settings_in_force_show_where_a_key_is() -> None:
    for reference in ("keyring:bamboo/my work", "cmd:op read 'op://vault/x'"):
        shown = in_force(loaded(flags={"providers.work.api_key": reference}))
        assert f'api_key = "{reference}"' in shown


def test_a_relative_file_is_refused_since_nobody_knows_from_where() -> None:
    assert "relative path" in refusal("file:key.txt").message


def test_settings_keep_the_reference_and_never_look_behind_it() -> None:
    flags = {"providers.work.api_key": "env:NOT_SET_ANYWHERE"}
    assert loaded(flags=flags).providers["work"].api_key == "env:NOT_SET_ANYWHERE"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_in_the_place_of_a_file_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key")
    with pytest.raises(SettingsError, match="no ordinary file"):
        resolve_reference(f"file:{tmp_path / 'key'}", {})
