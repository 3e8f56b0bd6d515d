"""What the README and the examples say is true: they are run, or compared with the code."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bamboo_mcp.plugin_host import hookspecs
from bamboo_mcp.providers.scripted.file import parse_script
from bamboo_mcp.settings import load_settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_hook_table_names_every_hook_and_its_arguments() -> None:
    table = README.split("<!-- hooks -->")[1].split("<!-- /hooks -->")[0]
    told = set(re.findall(r"^\| `(\w+)\((.*?)\)`", table, flags=re.MULTILINE))
    hooks = {
        (name, ", ".join(function.__code__.co_varnames[: function.__code__.co_argcount]))
        for name, function in vars(hookspecs).items()
        if getattr(function, "bamboo_mcp_spec", None) is not None
    }
    assert hooks
    assert told == hooks


def test_every_relative_link_of_the_readme_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", README):
        assert (ROOT / target).exists(), target


def environ(home: Path) -> dict[str, str]:
    (home / "config.toml").write_text("", encoding="utf-8")
    return {
        **os.environ,
        "BAMBOO_HOME": str(home / "home"),
        "BAMBOO_CONFIG": str(home / "config.toml"),
    }


COMMANDS = [
    line.split("#")[0].strip()
    for block in blocks("sh")
    for line in block.splitlines()
    if line.startswith(".venv/bin/bamboo-mcp")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_readme_run(command: str, tmp_path: Path) -> None:
    words = shlex.split(command)
    done = subprocess.run(
        [sys.executable, "-m", "bamboo_mcp", *words[1:]],
        cwd=ROOT,
        env=environ(tmp_path),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).strip()


def test_the_json_of_the_readme_and_the_examples_is_json() -> None:
    found = blocks("json")
    assert found
    for text in [*found, (ROOT / "examples/claude_desktop_config.json").read_text("utf-8")]:
        assert json.loads(text)["mcpServers"]["bamboo"]["args"][0] == "serve"


def test_the_scripted_models_of_the_readme_can_be_read() -> None:
    steps = [len(parse_script(text, "README.md").steps) for text in blocks("yaml")]
    assert steps == [3, 5]


def test_the_settings_of_the_readme_are_settings(tmp_path: Path) -> None:
    [text] = blocks("toml")
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    settings = load_settings(config=tmp_path / "config.toml", environ={})
    assert settings.providers["desk"].facts["qwen3"].context_window == 40_000
    assert settings.models.primary_fallbacks[-1] == "ollama:qwen3"


def test_the_client_example_runs(tmp_path: Path) -> None:
    (tmp_path / "here.txt").write_text("x", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "examples/stdio_client.py", str(tmp_path)],
        cwd=ROOT,
        env=environ(tmp_path),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "completed" in done.stdout
    assert "here.txt" in done.stdout


def test_the_demo_runs_to_its_end_and_shows_what_it_promises() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bamboo_mcp", "demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for told in (
        "steers ranking",
        "asks:",
        "delivered",
        "on ",
        "cancels watching",
        "claude mcp add",
    ):
        assert told in done.stdout, told
