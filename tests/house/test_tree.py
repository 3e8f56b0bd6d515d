"""The README's tree and the pins are read and written as they should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house.tree import pinned, render, required, with_tree


def test_the_tree_shows_modules_then_folders_with_their_first_lines(tmp_path: Path) -> None:
    package = tmp_path / "bamboo"
    (package / "agent").mkdir(parents=True)
    (package / "__init__.py").write_text('"""The front page.\n\nMore."""', encoding="utf-8")
    (package / "ports.py").write_text('"""Every seam."""', encoding="utf-8")
    (package / "agent" / "__init__.py").write_text('"""One run."""', encoding="utf-8")
    assert render(package).splitlines() == [
        "bamboo/",
        "  __init__.py  The front page",
        "  ports.py     Every seam",
        "  agent/       One run",
    ]


def test_only_what_is_between_the_markers_changes_and_writing_twice_changes_nothing() -> None:
    readme = "# Title\n<!-- tree -->\nold\n<!-- /tree -->\nEnd \\1\n"
    once = with_tree(readme, "new \\1")
    assert once.startswith("# Title\n<!-- tree -->\n```text\nnew \\1\n```\n")
    assert once.endswith("<!-- /tree -->\nEnd \\1\n")
    assert with_tree(once, "new \\1") == once


def test_a_readme_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="tree"):
        with_tree("# Title\n", "tree")


def test_pins_are_read_without_comments_and_compared_as_the_index_compares_names() -> None:
    assert pinned("# head\nPyYAML==6.0.3\npydantic_core==2.50.4  # why\n\n") == {
        "pyyaml": "6.0.3",
        "pydantic-core": "2.50.4",
    }


def test_requirements_are_read_from_every_table() -> None:
    text = """
        [build-system]
        requires = ["hatchling"]
        [project]
        dependencies = ["anyio>=4"]
        [project.optional-dependencies]
        dev = ["pytest>=9"]
    """
    assert list(required(text)) == ["hatchling", "anyio>=4", "pytest>=9"]
