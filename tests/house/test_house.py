"""The repository keeps the rules of the house."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement

from tests.house.rules import Source, faults
from tests.house.tree import ROOT, normal, pinned, render, required, sources, with_tree

SOURCES = list(sources())
NOT_IN_CI = ("xllamacpp",)
"""What only `make realmodel` installs, 195 MB."""


@pytest.mark.parametrize("source", SOURCES, ids=[str(source.path) for source in SOURCES])
def test_a_file_keeps_the_rules(source: Source) -> None:
    assert not faults(source), "\n".join(map(str, faults(source)))


def test_the_readme_shows_the_tree_that_the_modules_describe() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme == with_tree(readme, render(ROOT / "bamboo_mcp")), "run: make tree"


def test_the_changelog_has_an_entry_for_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## {project['version']}" in changelog


def test_what_pyproject_requires_is_pinned_within_its_range() -> None:
    pins = pinned((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wanted = [Requirement(line) for line in required(text)]
    for requirement in wanted:
        if requirement.name not in ("bamboo-mcp", *NOT_IN_CI):
            version = pins.get(normal(requirement.name))
            assert version is not None, f"not in constraints.txt: {requirement.name}"
            assert requirement.specifier.contains(version), f"{requirement} is pinned to {version}"


def test_the_constraints_name_no_host_path_or_hash() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert not [line for line in lines if any(sign in line for sign in ("/", "@", "--", " "))]


HEAVY = (
    {"anthropic", "openai", "mcp", "mcp_types", "httpx2", "starlette", "uvicorn"}  # the edges
    | {"tinydb", "jsonschema_rs", "yaml", "rich", "pydantic"}  # what a run needs
)
"""What the command line loads only for those commands that need it."""


def test_the_command_line_loads_nothing_heavy_before_it_knows_the_command() -> None:
    program = "import sys, bamboo_mcp.cli; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(loaded.stdout.split())
