from __future__ import annotations

import logging
import stat
import sys
from pathlib import Path

import pytest

from bamboo_mcp.cli.logs import FILE_BYTES, SharedLogFile, configure_logging, log_file
from bamboo_mcp.settings import Settings
from bamboo_mcp.settings.sections import LoggingSettings

ours = logging.getLogger("bamboo_mcp.somewhere")
theirs = logging.getLogger("another.library")


def settings(home: Path, **said: object) -> Settings:
    return Settings(home=home, logging=LoggingSettings.model_validate(said))


def test_standard_error_has_warnings_and_the_file_has_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with configure_logging(settings(tmp_path)):
        ours.info("run_id=%s started", "run_1")
        ours.warning("run_id=%s slow", "run_1")
        theirs.info("chatter")
        theirs.warning("odd")
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.split(" ", 2)[2] for line in said.err.splitlines()] == [
        "WARNING bamboo_mcp.somewhere run_id=run_1 slow",
        "WARNING another.library odd",
    ]
    assert [
        line.split(" ", 2)[2] for line in log_file(tmp_path).read_text("utf-8").splitlines()
    ] == [
        "INFO bamboo_mcp.somewhere run_id=run_1 started",
        "WARNING bamboo_mcp.somewhere run_id=run_1 slow",
        "WARNING another.library odd",
    ]


def test_verbose_shows_what_the_file_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with configure_logging(settings(tmp_path), verbose=True):
        ours.info("started")
    assert "started" in capsys.readouterr().err


def test_the_level_is_a_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with configure_logging(settings(tmp_path, level="debug")):
        ours.debug("detail")
    assert "detail" in capsys.readouterr().err
    with configure_logging(settings(tmp_path, level="critical")):
        ours.error("bad")
    assert capsys.readouterr().err == ""
    assert "bad" in log_file(tmp_path).read_text("utf-8")


def test_the_file_can_be_left_out(tmp_path: Path) -> None:
    with configure_logging(settings(tmp_path, file=False)):
        ours.warning("x")
    assert list(tmp_path.iterdir()) == []


def test_everything_is_as_before_afterwards(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = root.level, list(root.handlers), logging.getLogger("bamboo_mcp").level
    with configure_logging(settings(tmp_path)):
        pass
    assert (root.level, root.handlers, logging.getLogger("bamboo_mcp").level) == before


def test_a_home_folder_that_cannot_be_used_costs_the_file_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    in_the_way = tmp_path / "home"
    in_the_way.touch()
    with configure_logging(settings(in_the_way)):
        ours.warning("still heard")
    said = capsys.readouterr().err
    assert "no log file" in said
    assert "still heard" in said


@pytest.mark.skipif(sys.platform == "win32", reason="permission bits are POSIX's")
def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    with configure_logging(settings(tmp_path / "home")):
        ours.warning("x")
    file = log_file(tmp_path / "home")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("bamboo_mcp", logging.WARNING, "", 0, text, (), None)


def test_a_full_file_is_put_aside_and_only_a_few_are_kept(tmp_path: Path) -> None:
    file = SharedLogFile(tmp_path / "x.log")
    for _ in range(6):
        file.emit(record("y" * FILE_BYTES))
    file.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.log", "x.log.1", "x.log.2", "x.log.3"]


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be renamed there")
def test_two_servers_of_one_home_go_on_in_the_new_file_after_one_rotated(tmp_path: Path) -> None:
    one, other = SharedLogFile(tmp_path / "x.log"), SharedLogFile(tmp_path / "x.log")
    other.emit(record("early"))
    one.emit(record("y" * FILE_BYTES))
    one.emit(record("from one"))
    other.emit(record("from the other"))
    one.close()
    other.close()
    assert (tmp_path / "x.log").read_text("utf-8") == "from one\nfrom the other\n"
    assert not (tmp_path / "x.log.3").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="needs a device that is always full")
def test_a_full_disk_is_said_once_and_stops_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    file = SharedLogFile(Path("/dev/full"))
    file.maxBytes = 0
    for _ in range(3):
        file.emit(record("x"))
    with pytest.raises(OSError, match="No space"):
        file.close()
    assert capsys.readouterr().err.count("the log cannot be written") == 1
