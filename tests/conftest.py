"""What holds for every test: its own home folder, no keys, no network but loopback where a
connection is the subject.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CONNECTED = (
    "process",
    "providers",
    "server",
    "testing",
    "journeys",
    "conformance",
    "realmodel",
    "crosscheck",
)
"""Folders of tests that may open sockets, to this machine only."""

LOOPBACK = ["127.0.0.1", "::1"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and item.path.relative_to(here).parts[0] in CONNECTED:
            item.add_marker(pytest.mark.allow_hosts(LOOPBACK))


@pytest.fixture(autouse=True)
def nothing_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No setting, key or home folder of the person who runs the tests reaches a test.

    The home folder is named but not made: what needs it makes it.
    """
    for name in os.environ:
        if name.startswith("BAMBOO_") or name.endswith("_API_KEY"):
            monkeypatch.delenv(name)
    home = tmp_path_factory.getbasetemp() / f"home-{os.urandom(8).hex()}"
    monkeypatch.setenv("BAMBOO_HOME", str(home))
    monkeypatch.setenv("BAMBOO_CONFIG", os.devnull)
    monkeypatch.setenv("BAMBOO_MODELS__LOCAL", "false")  # no model server of theirs either
