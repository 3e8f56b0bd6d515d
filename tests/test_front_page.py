from __future__ import annotations

import subprocess
import sys

import bamboo_mcp


def test_every_name_of_the_front_page_is_there_and_no_other() -> None:
    assert sorted(bamboo_mcp.__all__) == dir(bamboo_mcp)
    for name in bamboo_mcp.__all__:
        assert getattr(bamboo_mcp, name) is not None
    assert set(bamboo_mcp._HOME) == set(bamboo_mcp.__all__)


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ("mcp", "anthropic", "openai", "pydantic", "tinydb", "yaml", "rich", "pluggy")
    code = f"import sys, bamboo_mcp; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
