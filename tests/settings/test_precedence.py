from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bamboo_mcp.domain.runs import Limits
from bamboo_mcp.settings import config_file
from bamboo_mcp.settings.keys import leaves
from bamboo_mcp.settings.sections import LimitSettings, Settings
from bamboo_mcp.settings.sources import FLAGS
from tests.settings.loaded import loaded, written


def test_without_any_source_every_value_is_the_default() -> None:
    settings = loaded()
    assert settings.model_dump() == Settings().model_dump()
    assert {settings.source_of(key) for key in leaves()} == {"default"}


def test_the_file_wins_over_the_default(tmp_path: Path) -> None:
    file = written(tmp_path, '[models]\nprimary = "a:file"\n')
    settings = loaded(file)
    assert settings.models.primary == "a:file"
    assert settings.source_of("models.primary") == f"{file}:2"
    assert settings.source_of("models.fast") == "default"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, '[models]\nprimary = "a:file"\nfast = "a:small"\n')
    settings = loaded(file, environ={"BAMBOO_MODELS__PRIMARY": "a:env"})
    assert settings.models.primary == "a:env"
    assert settings.models.fast == "a:small"
    assert settings.source_of("models.primary") == "BAMBOO_MODELS__PRIMARY"
    assert settings.source_of("models.fast") == f"{file}:3"


def test_a_flag_wins_over_the_environment() -> None:
    settings = loaded(environ={"BAMBOO_MODEL": "a:env"}, flags={"models.primary": "a:flag"})
    assert settings.models.primary == "a:flag"
    assert settings.source_of("models.primary") == "--model"


def test_a_flag_wins_over_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "[permissions]\nallow_commands = true\n")
    settings = loaded(file, flags={"permissions.allow_commands": False})
    assert settings.permissions.allow_commands is False
    assert settings.source_of("permissions.allow_commands") == "--allow-commands"


def test_a_flag_that_was_not_given_says_nothing(tmp_path: Path) -> None:
    file = written(tmp_path, "[limits]\nmax_rounds = 7\n")
    settings = loaded(file, flags={"limits.max_rounds": None})
    assert settings.limits.max_rounds == 7


def test_one_provider_may_be_put_together_from_all_three(tmp_path: Path) -> None:
    file = written(tmp_path, '[providers.work]\ntype = "anthropic"\noptions = {a = 1, b = 2}\n')
    settings = loaded(
        file,
        environ={"BAMBOO_PROVIDERS__WORK__OPTIONS__B": "3"},
        flags={"providers.work.api_key": "env:WORK_KEY"},
    )
    work = settings.providers["work"]
    assert (work.type, work.api_key, work.options) == (
        "anthropic",
        "env:WORK_KEY",
        {"a": 1, "b": 3},
    )
    assert settings.source_of("providers.work.options") == (
        f"{file}:3, BAMBOO_PROVIDERS__WORK__OPTIONS__B"
    )


def test_the_named_file_wins_over_the_variable_and_that_over_the_usual_place() -> None:
    named, variable = Path("/named.toml").absolute(), Path("/variable.toml").absolute()
    environ = {"BAMBOO_CONFIG": str(variable)}
    assert config_file(named, environ) == (named, "--config")
    assert config_file(None, environ) == (variable, "BAMBOO_CONFIG")
    usual, who = config_file(None, {})
    assert (usual.name, who) == ("config.toml", "default")


@pytest.mark.skipif(sys.platform != "linux", reason="the usual places are the platform's")
def test_the_usual_file_is_read_when_it_is_there_and_not_missed_when_it_is_not(
    tmp_path: Path,
) -> None:
    program = (
        "from bamboo_mcp.settings import load_settings; s = load_settings();"
        "print(s.models.primary, s.home)"
    )
    environ = {"HOME": str(tmp_path), "PYTHONPATH": str(Path.cwd())}

    def said() -> str:
        return subprocess.run(
            [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True
        ).stdout

    home = tmp_path / ".local/share/bamboo-mcp"
    assert said() == f" {home}\n"
    folder = tmp_path / ".config/bamboo-mcp"
    folder.mkdir(parents=True)
    written(folder, '[models]\nprimary = "a:usual"')
    assert said() == f"a:usual {home}\n"


def test_a_relative_folder_is_meant_from_where_it_was_said(tmp_path: Path) -> None:
    file = written(tmp_path, 'home = "data"\n[workspace]\nroot = "../project"\n')
    settings = loaded(file)
    assert settings.home == tmp_path / "data"
    assert Path(settings.workspace.root).resolve() == (tmp_path / "../project").resolve()
    settings = loaded(file, flags={"home": "here"}, environ={"BAMBOO_WORKSPACE__ROOT": "there"})
    assert settings.home == Path.cwd() / "here"
    assert settings.workspace.root == str(Path.cwd() / "there")


def test_a_tilde_is_the_home_of_the_person(tmp_path: Path) -> None:
    settings = loaded(written(tmp_path, 'home = "~/agent"\nworkspace.root = "~nobody-has-this/x"'))
    assert settings.home == Path.home() / "agent"
    assert settings.workspace.root.endswith("~nobody-has-this/x".replace("/", os.sep))


def test_the_freest_mode_bounds_the_other_modes(tmp_path: Path) -> None:
    file = written(tmp_path, '[permissions]\ndefault_mode = "accept_edits"\n')
    permissions = loaded(file, flags={"permissions.max_mode": "plan"}).permissions
    assert (permissions.default_mode, permissions.direct_mode) == ("plan", "plan")


def test_the_limits_are_those_of_a_run_one_for_one() -> None:
    assert set(LimitSettings.model_fields) == set(Limits.__struct_fields__)
    assert LimitSettings().limits() == Limits()
    assert loaded(flags={"limits.max_tokens": 5}).limits.limits() == Limits(max_tokens=5)


def test_settings_cannot_be_changed_after_loading() -> None:
    with pytest.raises(ValueError, match="frozen"):
        loaded().models.primary = "x"


def test_every_flag_is_a_key() -> None:
    assert set(FLAGS) <= set(leaves())
