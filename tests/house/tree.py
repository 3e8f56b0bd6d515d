"""The repository seen from above: its sources, the README's tree, and its pinned packages."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.house.rules import Source, functions, parse

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("bamboo_mcp", "plugins", "tests", "examples")
START, END = "<!-- tree -->", "<!-- /tree -->"


def sources(root: Path = ROOT) -> Iterator[Source]:
    """Every Python file of the project, in order."""
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            relative = path.relative_to(root).as_posix()
            yield parse(relative, path.read_text(encoding="utf-8"))


def first_line(path: Path) -> str:
    """The line of the table of contents: the first of the module's docstring, without its stop."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0].removesuffix(".")


def render(package: Path) -> str:
    """`package` as a tree of its modules and folders, each with its first line."""
    rows = [(f"{package.name}/", "")]
    for path in sorted(package.glob("*.py")):
        if path.name != "__main__.py":
            rows.append((f"  {path.name}", first_line(path)))
    for init in sorted(package.glob("*/__init__.py")):
        rows.append((f"  {init.parent.name}/", first_line(init)))
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(f"{name:<{width}}{line}".rstrip() for name, line in rows)


def with_tree(readme: str, tree: str) -> str:
    """`readme` with what stands between its two markers replaced by `tree`.

    Raises:
        ValueError: The markers are missing.
    """
    pattern = re.compile(f"{re.escape(START)}\n.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(readme):
        raise ValueError(f"README.md needs a line {START!r} and below it a line {END!r}")
    block = f"{START}\n```text\n{tree}\n```\n{END}"
    return pattern.sub(lambda _: block, readme)


def longest(found: list[Source], count: int = 5) -> Iterator[str]:
    """The longest files and functions of the package and the tests, for a reviewer's eye."""
    for source in sorted(found, key=lambda source: -source.lines)[:count]:
        yield f"{source.lines:5} lines  {source.path}"
    long = [(length, source, node) for source in found for length, node in functions(source)]
    for length, source, node in sorted(long, key=lambda row: -row[0])[:count]:
        yield f"{length:5} lines  {source.path}:{node.lineno} {node.name}"


def pinned(text: str) -> Mapping[str, str]:
    """Name (as PyPI compares names) to version, from a constraints file."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    pairs = (line.split("==") for line in lines if line)
    return {normal(name): version for name, version in pairs}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def required(pyproject: str) -> Iterator[str]:
    """Every requirement that pyproject.toml states: run, extras, build."""
    project = tomllib.loads(pyproject)
    yield from project["build-system"]["requires"]
    yield from project["project"]["dependencies"]
    for extra in project["project"]["optional-dependencies"].values():
        yield from extra
