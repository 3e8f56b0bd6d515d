from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import msgspec
import pytest

from bamboo_mcp.settings.sections import Settings
from tests.cli.small_app import command
from tests.settings.loaded import loaded

KEY = "sk-ant-secret-0123456789"


def test_init_show_and_path_speak_of_the_same_file(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "config.toml"
    named = ("--config", str(file))
    before = command(*named, "config", "path")
    assert (before.exit_code, before.stdout) == (0, f"{file}\n")
    assert "does not exist yet" in before.stderr

    made = command(*named, "config", "init")
    assert (made.exit_code, made.stdout) == (0, f"{file}\n")
    assert loaded(file).model_dump() == Settings().model_dump()
    assert command(*named, "config", "path").stderr == ""

    file.write_text(file.read_text("utf-8").replace("#max_rounds = 200", "max_rounds = 9"), "utf-8")
    shown = command(*named, "config", "show")
    assert shown.exit_code == 0
    assert f"max_rounds = 9  # {file}:" in shown.stdout


def test_init_refuses_to_replace_unless_forced(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("mine", encoding="utf-8")
    refused = command("config", "init", "--config", str(file))
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "is there already" in refused.stderr and "--force" in refused.stderr
    assert file.read_text("utf-8") == "mine"
    assert command("config", "init", "--force", "--config", str(file)).exit_code == 0
    assert loaded(file).model_dump() == Settings().model_dump()
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(sys.platform == "win32", reason="permission bits and links are POSIX's")
def test_a_new_file_is_the_owners_alone_and_a_link_stays_one(tmp_path: Path) -> None:
    real, link = tmp_path / "real.toml", tmp_path / "config.toml"
    assert command("config", "init", "--config", str(real)).exit_code == 0
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    link.symlink_to(real)
    real.write_text("", encoding="utf-8")
    assert command("config", "init", "--force", "--config", str(link)).exit_code == 0
    assert link.is_symlink()
    assert "[models]" in real.read_text("utf-8")


def test_init_where_nothing_can_be_written_says_so(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    result = command("config", "init", "--config", str(in_the_way / "config.toml"))
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


def test_init_can_print_instead(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    result = command("config", "init", "--print", "--config", str(file))
    assert result.exit_code == 0
    assert "[permissions]" in result.stdout
    assert not file.exists()


def test_the_variable_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    result = command("config", "path", environ={"BAMBOO_CONFIG": str(file)})
    assert result.stdout == f"{file}\n"


def test_show_tells_flag_variable_file_and_default_apart(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[models]\nfast = "a:file"\n', encoding="utf-8")
    result = command(
        *("--config", str(file), "--model", "a:before", "config", "show", "--model", "a:after"),
        environ={"BAMBOO_MODELS__BACKGROUND": "a:env"},
    )
    lines = result.stdout.splitlines()
    assert 'primary = "a:after"  # --model' in lines
    assert 'background = "a:env"  # BAMBOO_MODELS__BACKGROUND' in lines
    assert f'fast = "a:file"  # {file}:2' in lines
    assert 'summarisation = ""  # default' in lines


def test_show_as_json() -> None:
    result = command(
        "config", "show", "--json", "--workspace", "here", environ={"BAMBOO_CONFIG": os.devnull}
    )
    found = msgspec.json.decode(result.stdout)
    assert found["workspace.root"] == {"value": str(Path.cwd() / "here"), "source": "--workspace"}
    assert found["limits.max_tokens"] == {"value": None, "source": "default"}


def test_show_refuses_a_literal_key_without_showing_it_even_with_tracebacks(
    tmp_path: Path,
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'[providers.work]\napi_key = "{KEY}"\n', encoding="utf-8")
    result = command("-v", "--config", str(file), "config", "show")
    assert result.exit_code == 2
    assert f"{file}:2: providers.work.api_key must say where the key is" in result.stderr
    assert "Traceback" in result.stderr
    assert KEY not in result.output


def test_a_corrupt_file_is_two_lines_and_no_traceback(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[models\n", encoding="utf-8")
    result = command("--config", str(file), "config", "show")
    assert (result.exit_code, result.stdout) == (2, "")
    first, second = result.stderr.splitlines()
    assert first.startswith(f"error: {file}:1:8: not valid TOML")
    assert second.startswith("text needs quotes")
