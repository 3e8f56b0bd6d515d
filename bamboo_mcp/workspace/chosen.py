"""Which folder this server works in, and which one a subagent asked for may have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bamboo_mcp.domain.errors import WorkspaceError
from bamboo_mcp.workspace.roots import checked_root


class Workspace:
    """The folder from settings, else a client's root, else where the server was started.

    The starting folder does not count when it is `/` or the home folder: that is where desktop
    programs start their servers (mcp-surface, Workspace).

    Raises:
        WorkspaceError: On construction, when the folder from settings may not be a workspace.
    """

    def __init__(self, root: str = "") -> None:
        self._given = bool(root)
        self._root = checked_root(root) if root else _checked_or_none(Path.cwd())

    @property
    def root(self) -> Path | None:
        return self._root

    def offer(self, roots: Sequence[Path]) -> None:
        """A client's roots: the first that may be a workspace is taken, unless one was given."""
        if self._given:
            return
        for root in roots:
            if (checked := _checked_or_none(root)) is not None:
                self._root = checked
                return

    def resolve(self, asked: str, base: str) -> str:
        """The folder a subagent works in, "" for none: `asked` inside `base`, else inside ours.

        Raises:
            WorkspaceError: It lies outside, or may not be a workspace.
        """
        outer = base or (str(self._root) if self._root else "")
        if not asked:
            return outer
        if not outer:
            raise WorkspaceError(
                f"the workspace {asked!r} was asked for, and this server has none",
                hint="start the server with `--workspace PATH`",
            )
        inner = checked_root(Path(outer, asked))
        if not inner.is_relative_to(outer):
            raise WorkspaceError(
                f"the workspace {asked!r} lies outside that of who spawns",
                hint="name a folder inside it",
            )
        return str(inner)


def _checked_or_none(path: Path) -> Path | None:
    try:
        return checked_root(path)
    except WorkspaceError:
        return None
