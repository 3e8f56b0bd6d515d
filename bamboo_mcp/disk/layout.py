"""Where things are in a home folder, and which ids may become part of a path."""

from __future__ import annotations

import re
from pathlib import Path

_match_plain = re.compile(r"[A-Za-z0-9_-]{1,80}").fullmatch


def is_plain(name: str) -> bool:
    """Ids come from callers too: one with a slash or a dot must not leave its folder."""
    return _match_plain(name) is not None


def sessions_folder(home: Path) -> Path:
    return home / "sessions"


def runs_folder(home: Path) -> Path:
    return home / "runs"


def owners_folder(home: Path) -> Path:
    return home / "owners"


def index_file(home: Path) -> Path:
    return home / "index.json"


def index_database(home: Path) -> Path:
    """Takes over from `index_file` when there are many sessions."""
    return home / "index.db"


def search_file(home: Path) -> Path:
    return home / "search.db"
