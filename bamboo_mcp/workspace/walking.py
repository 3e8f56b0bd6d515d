"""Every file below a folder in name order, without following links and without build leftovers."""

from __future__ import annotations

from collections.abc import Iterator

from anyio.from_thread import check_cancelled

from bamboo_mcp.domain.errors import WorkspaceError
from bamboo_mcp.workspace.door import Door

SKIPPED = frozenset(
    ".git .hg .svn node_modules target dist build .next .cache coverage "
    "__pycache__ .venv venv .mypy_cache .ruff_cache .pytest_cache .tox".split()
)
"""Folders that are not entered; name one as the `path` to look into it."""

MAX_VISITED = 50_000
_MAX_DEPTH = 100


class Walk:
    """Iterate once; afterwards `cut` tells whether there was more than `MAX_VISITED`.

    For worker threads: a cancelled call ends it at the next folder.
    """

    def __init__(self, door: Door, start: str, limit: int = MAX_VISITED) -> None:
        self._door = door
        self._start = start
        self._limit = limit
        self._visited = 0
        self.cut = False

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """(path from the workspace, path from the start) of each plain file."""
        return self._below(self._start, "", 0)

    def _below(self, folder: str, seen_from_start: str, depth: int) -> Iterator[tuple[str, str]]:
        check_cancelled()
        try:
            entries = self._door.entries(folder)
        except WorkspaceError:
            if depth == 0:
                raise
            return  # removed, or not ours to read: one folder does not end a search
        for entry in sorted(entries, key=lambda entry: entry.name):
            self._visited += 1
            if self._visited > self._limit:
                self.cut = True
                return
            path = entry.name if folder == "." else f"{folder}/{entry.name}"
            seen = f"{seen_from_start}{entry.name}"
            if entry.kind == "file":
                yield path, seen
            elif entry.kind == "folder" and entry.name not in SKIPPED and depth < _MAX_DEPTH:
                yield from self._below(path, f"{seen}/", depth + 1)
