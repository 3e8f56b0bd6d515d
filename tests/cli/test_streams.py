from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

posix = pytest.mark.skipif(sys.platform == "win32", reason="speaks to a POSIX shell")
full = pytest.mark.skipif(sys.platform != "linux", reason="needs a device that is always full")


def shell(line: str, workspace: Path) -> subprocess.CompletedProcess[str]:
    """`bamboo` in `line` is the command, with the model that is none."""
    command = f"'{sys.executable}' -m bamboo_mcp --model offline:offline --workspace '{workspace}'"
    return subprocess.run(
        ["/bin/sh", "-c", line.replace("bamboo", command)],
        env={**os.environ, "BAMBOO_CONFIG": os.devnull},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@full
def test_an_answer_that_finds_no_room_is_an_error_in_one_line(tmp_path: Path) -> None:
    result = shell("bamboo run hello > /dev/full", tmp_path)
    assert result.returncode == 1
    assert "error: standard output cannot be written: No space left on device" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr


@posix
def test_a_reader_that_leaves_ends_the_run_quietly(tmp_path: Path) -> None:
    result = shell("bamboo run hello --json | true", tmp_path)
    assert result.stderr == ""


@posix
def test_a_closed_output_is_said_before_anything_is_done(tmp_path: Path) -> None:
    result = shell("bamboo run hello >&-", tmp_path)
    assert result.returncode == 2
    assert "standard output is closed" in result.stderr


@posix
def test_a_closed_input_is_nobody_to_ask(tmp_path: Path) -> None:
    result = shell("bamboo run hello <&-", tmp_path)
    assert result.returncode == 0
    assert "/tool" in result.stdout
    assert shell("bamboo run - <&-", tmp_path).returncode == 2
