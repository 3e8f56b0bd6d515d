"""`python -m tests.house`: hold the repository to its rules and show what is longest."""

from __future__ import annotations

import sys
from importlib.metadata import distributions

from tests.house.rules import FILE_REVIEW, FUNCTION_REVIEW, faults, functions
from tests.house.tree import ROOT, longest, normal, render, sources, with_tree

HEAD = """\
# What continuous integration installs: every package at one version, the newest tried.
# `make constraints` writes it anew; run `make test` after it.
"""


def main(arguments: list[str]) -> int:
    match arguments:
        case []:
            return report()
        case ["--write-tree"]:
            return write_tree()
        case ["--write-constraints"]:
            return write_constraints()
    print(f"unknown arguments {arguments!r}; allowed: --write-tree, --write-constraints")
    return 2


def report() -> int:
    found = list(sources())
    broken = [fault for source in found for fault in faults(source)]
    for fault in broken:
        print(fault)
    files = sum(source.lines > FILE_REVIEW for source in found)
    many = sum(length > FUNCTION_REVIEW for source in found for length, _ in functions(source))
    if files or many or broken:
        print(f"for review: {files} files over {FILE_REVIEW} lines, ", end="")
        print(f"{many} functions over {FUNCTION_REVIEW}; the longest:")
        for line in longest(found):
            print(line)
    return 1 if broken else 0


def write_tree() -> int:
    readme = ROOT / "README.md"
    text = with_tree(readme.read_text(encoding="utf-8"), render(ROOT / "bamboo_mcp"))
    readme.write_text(text, encoding="utf-8")
    return 0


def write_constraints() -> int:
    """From what is installed in the environment that runs this."""
    own = {"bamboo-mcp", "pip", "setuptools"}
    pins = {normal(found.name): found.version for found in distributions()}
    lines = [f"{name}=={pins[name]}\n" for name in sorted(pins.keys() - own)]
    (ROOT / "constraints.txt").write_text(HEAD + "".join(lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
