"""Paths as people write them: `~` expanded, relative ones from where they were said."""

from __future__ import annotations

from pathlib import Path


def expanded(path: Path) -> Path:
    """`~name` of nobody stays as it is: a path that does not exist."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def absolute(path: str | Path, base: Path) -> Path:
    return Path(base, expanded(Path(path))).absolute()


def checked_folder(value: object) -> object:
    """Raises ValueError for what can be no folder; other types are left for the check to refuse."""
    if isinstance(value, str | Path):
        if not str(value).strip():
            raise ValueError("must name a folder")
        if "\0" in str(value):
            raise ValueError("must not hold a NUL character")
    return value
