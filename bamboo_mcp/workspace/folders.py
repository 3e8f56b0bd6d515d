"""Tools for folders: list_directory and find_files."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Literal, TypeAlias

from anyio import to_thread
from anyio.from_thread import check_cancelled
from msgspec import Meta

from bamboo_mcp.domain.errors import WorkspaceError
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.tools.function import tool
from bamboo_mcp.workspace.bounds import Bounds, fit_lines, shown_name, shown_size
from bamboo_mcp.workspace.door import Door, Entry
from bamboo_mcp.workspace.globs import Glob
from bamboo_mcp.workspace.opening import open_door
from bamboo_mcp.workspace.roots import relative_path, root_of
from bamboo_mcp.workspace.walking import MAX_VISITED, SKIPPED, Walk

MAX_LISTED = 1000
MAX_FOUND = 1000

Order: TypeAlias = Literal["name", "largest", "newest"]

FolderPath = Annotated[
    str, Meta(description="The folder, relative to the workspace.", max_length=4000)
]


class FolderTools:
    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds

    @tool(title="List directory", group="workspace", effect="read")
    async def list_directory(
        self,
        context: ToolContext,
        *,
        path: FolderPath = ".",
        depth: Annotated[int, Meta(description="How many levels to show.", ge=1, le=5)] = 1,
    ) -> str:
        """Show what is in a folder of the workspace: folders first, then files with their sizes.

        Use it to get to know a project. To find files by name use `find_files`. With `depth` over 1
        folders are opened too, but not .git, node_modules and build leftovers. Shows at most 1000
        names. Example: {"path": "src", "depth": 2}
        """
        return await to_thread.run_sync(self._list, context, path, depth)

    @tool(title="Find files", group="workspace", effect="read")
    async def find_files(
        self,
        context: ToolContext,
        *,
        pattern: Annotated[str, Meta(description="A glob.", min_length=1, max_length=1000)],
        path: FolderPath = ".",
        order: Annotated[
            Order, Meta(description="By name, or by size or time of change, shown then.")
        ] = "name",
    ) -> str:
        """Find files by name, one path (relative to the workspace) a line.

        A pattern without `/` finds names at any depth ("*.py"), with `/` it is matched against the
        path below `path` ("src/**/test_*.py"; `**` is any number of folders, {a,b} either). Skips
        .git, node_modules and build leftovers, does not follow links, gives at most 1000; ordered
        by size or time they are the first 1000 of all, and the last line counts them. To look
        inside files use `search_files`. Example: {"pattern": "*.{yml,yaml}", "order": "largest"}
        """
        find = self._find if order == "name" else partial(self._rank, order)
        return await to_thread.run_sync(find, context, pattern, path)

    # What follows blocks, and runs in worker threads.

    def _list(self, context: ToolContext, path: str, depth: int) -> str:
        root = root_of(context)
        inside = relative_path(root, path)
        lines: list[str] = []
        with open_door(root) as door:
            _add_listing(door, inside, depth, "", lines)
        if not lines:
            return f"[{shown_name(inside)} is empty]"
        fitting = fit_lines(lines[:MAX_LISTED], self._bounds.room)
        if len(fitting) < len(lines):
            fitting.append(
                f"[the first {len(fitting)} names; list a folder below, or use find_files]"
            )
        return "\n".join(fitting)

    def _find(self, context: ToolContext, pattern: str, path: str) -> str:
        root = root_of(context)
        inside = relative_path(root, path)
        glob = Glob(pattern)
        found: list[str] = []
        more = ""
        with open_door(root) as door:
            walk = Walk(door, inside)
            for full, seen in walk:
                if not glob.matches(seen):
                    continue
                if len(found) == MAX_FOUND:
                    more = f"the first {MAX_FOUND} files; narrow the pattern or the path"
                    break
                found.append(shown_name(full))
            if walk.cut:
                more = f"stopped after {MAX_VISITED} names; narrow the path"
        if not found:
            return f"[no file matches{'; ' + more if more else ''}]"
        fitting = fit_lines(found, self._bounds.room)
        if len(fitting) < len(found):
            more = f"the first {len(fitting)} files; narrow the pattern or the path"
        return "\n".join([*fitting, f"[{more}]"] if more else fitting)

    def _rank(self, order: Order, context: ToolContext, pattern: str, path: str) -> str:
        root = root_of(context)
        inside = relative_path(root, path)
        glob = Glob(pattern)
        ranked: list[tuple[float, int, str]] = []
        with open_door(root) as door:
            walk = Walk(door, inside)
            for full, seen in walk:
                if not glob.matches(seen):
                    continue
                try:
                    look = door.look(full)
                except WorkspaceError:
                    continue  # gone since it was listed
                rank = look.st_size if order == "largest" else look.st_mtime
                ranked.append((-rank, look.st_size, full))
        if not ranked:
            return "[no file matches]"
        ranked.sort()
        lines = [
            f"{shown_size(size):>10}  {_moment(-rank) if order == 'newest' else ''}"
            f"{shown_name(full)}"
            for rank, size, full in ranked[:MAX_FOUND]
        ]
        total = f"{len(ranked)} files, {shown_size(sum(size for _, size, _ in ranked))} in all"
        if walk.cut:
            total += f"; stopped after {MAX_VISITED} names, narrow the path"
        fitting = fit_lines(lines, self._bounds.room)
        if len(fitting) < len(ranked):
            total += f"; shown are the first {len(fitting)}"
        return "\n".join([*fitting, f"[{total}]"])


def _moment(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d %H:%M  ")


def _add_listing(door: Door, folder: str, depth: int, indent: str, lines: list[str]) -> None:
    check_cancelled()
    entries = door.entries(folder, details=True)
    for entry in sorted(entries, key=lambda entry: (entry.kind != "folder", entry.name)):
        if len(lines) > MAX_LISTED:
            return
        lines.append(indent + _line(entry))
        if entry.kind == "folder" and depth > 1 and entry.name not in SKIPPED:
            below = entry.name if folder == "." else f"{folder}/{entry.name}"
            try:
                _add_listing(door, below, depth - 1, indent + "  ", lines)
            except WorkspaceError:
                lines[-1] += "  [cannot be opened]"


def _line(entry: Entry) -> str:
    name = shown_name(entry.name)
    match entry.kind:
        case "folder":
            return f"{name}/"
        case "file":
            return f"{name}  {shown_size(entry.size)}"
        case "link":
            return f"{name} -> {shown_name(entry.target)}"
        case "other":
            return f"{name}  [device, FIFO or socket]"
