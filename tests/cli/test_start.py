from __future__ import annotations

import subprocess
import sys

import click
import pytest

from bamboo_mcp.cli import COMMANDS, cli
from bamboo_mcp.domain.errors import LimitReached, StorageError, UnknownModel
from bamboo_mcp.settings.sources import FLAGS
from bamboo_mcp.testing.scripted import ScriptedProvider
from tests.cli.small_app import command

HEAVY = (
    *("anthropic", "openai", "mcp", "mcp_types", "tinydb", "yaml", "rich", "starlette"),
    *("jsonschema_rs", "uvicorn", "httpx2", "pluggy"),
)


def imported_by(program: str) -> set[str]:
    listing = "import sys; print('\\n'.join(sys.modules), file=sys.__stderr__)"
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import atexit; atexit.register(lambda: exec({listing!r}))\n{program}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in result.stderr.split()}


def test_the_version_is_told_without_importing_anything_heavy() -> None:
    program = "import sys; sys.argv[1:] = ['--version']; from bamboo_mcp.cli import main; main()"
    assert not {*HEAVY, "pydantic", "anyio", "msgspec"} & imported_by(program)


def test_help_lists_every_command_without_importing_one() -> None:
    program = "import sys; sys.argv[1:] = ['--help']; from bamboo_mcp.cli import main; main()"
    assert not {*HEAVY, "pydantic", "anyio"} & imported_by(program)
    shown = command("--help").stdout
    assert all(name in shown and entry.summary in shown for name, entry in COMMANDS.items())


def test_the_commands_import_only_what_they_need_before_they_do_anything() -> None:
    for name in ("serve", "run", "config", "models"):
        assert not set(HEAVY) & imported_by(f"import bamboo_mcp.cli.{name}"), name


def test_python_m_is_the_same_command() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "bamboo_mcp", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.startswith("bamboo-mcp ")


def test_every_command_can_be_loaded_and_says_what_it_is_for() -> None:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        loaded = cli.get_command(context, name)
        assert loaded is not None and loaded.name == name
        assert loaded.help


def test_an_unknown_command_is_a_misuse() -> None:
    result = command("srve")
    assert result.exit_code == 2
    assert "No such command 'srve'" in result.stderr


def test_every_setting_with_a_flag_is_an_option_of_some_command() -> None:
    context = click.Context(cli)
    commands = [cli.get_command(context, name) for name in COMMANDS]
    options = {
        spelling
        for loaded in (cli, *commands)
        if loaded is not None
        for parameter in loaded.params
        for spelling in parameter.opts
    }
    assert set(FLAGS.values()) <= options


def test_global_options_stand_before_or_after_the_command() -> None:
    for arguments in (
        ("--model", "a:b", "config", "show"),
        ("config", "--model", "a:b", "show"),
        ("config", "show", "--model", "a:b"),
    ):
        assert 'primary = "a:b"  # --model' in command(*arguments).stdout


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LimitReached("too many", hint="wait"), 1),
        (StorageError("no disk", hint="wait"), 1),
        (UnknownModel("no model 'x'", hint="wait"), 2),
    ],
)
def test_an_error_of_ours_is_two_lines_without_a_traceback(error: Exception, code: int) -> None:
    class Failing(ScriptedProvider):
        async def models(self) -> list[object]:  # type: ignore[override]
            raise error

    result = command("models", provider=Failing())
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.splitlines() == [f"error: {error}", "wait"]
    assert "Traceback" in command("-v", "models", provider=Failing()).stderr


def test_a_bug_is_not_dressed_up_as_an_error_of_the_user() -> None:
    class Failing(ScriptedProvider):
        async def models(self) -> list[object]:  # type: ignore[override]
            raise ZeroDivisionError

    result = command("models", provider=Failing())
    assert result.stderr == ""
    assert "ZeroDivisionError" in repr(result.exception)


def test_a_reader_that_left_ends_the_command_quietly() -> None:
    class Failing(ScriptedProvider):
        async def models(self) -> list[object]:  # type: ignore[override]
            raise ExceptionGroup("one", [BrokenPipeError(32, "Broken pipe")])

    result = command("models", provider=Failing())
    assert result.exit_code == 1
    assert "Traceback" not in result.output


def test_a_mode_freer_than_the_freest_is_refused_with_what_to_add() -> None:
    result = command("serve", "--permission-mode", "bypass")
    assert result.exit_code == 2
    assert "--max-mode bypass" in " ".join(result.stderr.split())
