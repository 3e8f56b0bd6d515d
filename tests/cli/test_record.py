from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bamboo_mcp.cli import cli
from bamboo_mcp.testing.scripted import Call, Fault, ScriptedProvider, Step, Tokens
from tests.cli.small_app import Desk, command

TWO_ROUNDS = (
    Step(text="I look.", calls=(Call(name="list_directory", args={"path": "."}),)),
    Step(text="Füße:\n{ two lines", usage=Tokens(input=30, output=4)),
)


def _play(task: str, file: Path, *options: str) -> Result:
    """By the real agent, with nothing but the file."""
    arguments = ("run", task, "--model", f"scripted:{file}", "--workspace", str(file.parent))
    return CliRunner().invoke(cli, [*arguments, *options])


def test_a_recorded_run_plays_again_without_the_model(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    live = command("run", "do it", "--record", str(file), provider=ScriptedProvider(*TWO_ROUNDS))
    assert live.exit_code == 0
    assert f"recorded 2 answers in 1 conversation: {file}" in live.stderr
    # The small agent has no list_directory, the real one has: another course.
    played = _play("do it", file)
    assert (played.exit_code, "NO  is_error: true" in played.stderr) == (1, True)

    again = tmp_path / "again.yaml"
    (tmp_path / "source.yaml").write_text(
        file.read_text(encoding="utf-8").replace("is_error: true", "is_error: false"),
        encoding="utf-8",
    )
    first = _play("do it", tmp_path / "source.yaml", "--record", str(again))
    second = _play("do it", again)
    assert first.stdout == second.stdout == "Füße:\n{ two lines\n"
    assert (first.exit_code, second.exit_code) == (0, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    command("run", "do it", "--record", str(file), provider=ScriptedProvider("Done."))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["run.yaml"]


def test_a_file_that_is_there_is_replaced_only_by_force(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("mine", encoding="utf-8")
    result = command("run", "do it", "--record", str(file))
    assert (result.exit_code, file.read_text(encoding="utf-8")) == (2, "mine")
    assert "is there already" in result.stderr
    assert "--force" in result.stderr
    model = ScriptedProvider("Done.")
    result = command("run", "do it", "--record", str(file), "--force", provider=model)
    assert result.exit_code == 0
    assert "Done." in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("run.txt", "must end in .yaml"),
        ("none/run.yaml", "there is no folder"),
        ("folder.yaml", "is a folder"),
    ],
)
def test_a_file_that_cannot_be_is_said_before_the_run(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "folder.yaml").mkdir()
    result = command("run", "do it", "--record", str(tmp_path / name))
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_force_without_record_is_a_misuse() -> None:
    result = command("run", "do it", "--force")
    assert (result.exit_code, "--record" in result.stderr) == (2, True)


def test_a_run_that_fails_is_recorded_as_far_as_it_came(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    model = ScriptedProvider(TWO_ROUNDS[0], Step(error=Fault(kind="auth", message="no such key")))
    result = command("run", "do it", "--record", str(file), provider=model)
    assert result.exit_code == 1
    text = file.read_text(encoding="utf-8")
    assert "kind: authentication_failed, message: no such key" in text
    assert "I look." in text


def test_a_run_that_asks_no_model_writes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    result = _play("do it", tmp_path / "absent.yaml", "--record", str(file))
    assert result.exit_code != 0
    assert "nothing was recorded" in result.stderr
    assert not file.exists()


def test_json_stays_json(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    model = ScriptedProvider("Done.")
    result = command("run", "do it", "--json", "--record", str(file), provider=model)
    assert (result.exit_code, result.stderr) == (0, "")
    assert file.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="raises a POSIX signal in this process")
def test_a_cancelled_run_is_recorded_with_what_there_was(tmp_path: Path) -> None:
    import signal

    from bamboo_mcp.domain.models import ModelRequest

    def press(request: ModelRequest) -> Step:
        signal.raise_signal(signal.SIGINT)
        return Step(text="half an answer", chunk=4, cut_after=2, stall=True)

    file = tmp_path / "run.yaml"
    model = ScriptedProvider(TWO_ROUNDS[0], press)
    result = command("run", "do it", "--record", str(file), provider=model, tools=Desk().tools)
    assert result.exit_code == 130
    text = file.read_text(encoding="utf-8")
    assert "I look." in text
    assert "cut_after:" in text
