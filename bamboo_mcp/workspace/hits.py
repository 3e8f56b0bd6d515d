"""What a search is for, and what it has found so far, the same for both ways to search."""

from __future__ import annotations

from typing import Literal

from bamboo_mcp.domain.value import Value
from bamboo_mcp.workspace.globs import Glob

MAX_SEARCHED_BYTES = 2 * 1024 * 1024
"""Of one file; larger ones are passed over."""

Output = Literal["files", "content", "count"]


class Search(Value, frozen=True, kw_only=True):
    """`start` is the folder (from the workspace) where to search; `glob` empty: every file."""

    pattern: str
    start: str
    ignore_case: bool = False
    glob: str = ""
    output: Output = "files"
    limit: int = 200
    timeout_s: float = 20.0

    def from_workspace(self, seen: str) -> str:
        """A path below `start` as a path of the workspace."""
        return seen if self.start == "." else f"{self.start}/{seen}"


class FileHits:
    """Matching lines of one file. `lines` are numbers from 1, perhaps not all of `count`."""

    def __init__(self, path: str, count: int, lines: list[int]) -> None:
        self.path = path
        self.count = count
        self.lines = lines


class Hits:
    """Takes hits in path order until there are more than the limit: files, or lines for content."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._glob = Glob(search.glob) if search.glob else None
        self._number = 0
        self.files: list[FileHits] = []
        self.more = ""
        """Why there may be more than is here; empty when this is all."""

    @property
    def room(self) -> int:
        return self._search.limit - self._number

    def wants(self, seen: str) -> bool:
        """Is a file (its path from the start of the search) to be searched at all?"""
        return self._glob is None or self._glob.matches(seen)

    def add(self, path: str, count: int, lines: list[int]) -> bool:
        """False when it is enough: `more` then says so, and the surplus is not kept."""
        in_lines = self._search.output == "content"
        if self.room <= 0 or (in_lines and len(lines) > self.room):
            kind = "matching lines" if in_lines else "files"
            self.more = f"the first {self._search.limit} {kind}; narrow the pattern, path or glob"
            lines = lines[: max(self.room, 0)]
            if not lines:
                return False
        self._number += len(lines) if in_lines else 1
        if self.files and self.files[-1].path == path:
            self.files[-1].count += count
            self.files[-1].lines += lines
        else:
            self.files.append(FileHits(path, count, lines))
        return not self.more
