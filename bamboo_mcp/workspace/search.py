"""Tool to look inside files: search_files."""

from __future__ import annotations

import shutil
import stat
from typing import Annotated

import anyio
from anyio import to_thread
from msgspec import Meta

from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.tools.function import tool
from bamboo_mcp.workspace.bounds import Bounds, cut_line, fit_lines, shown_name, shown_size
from bamboo_mcp.workspace.door import Door
from bamboo_mcp.workspace.hits import MAX_SEARCHED_BYTES, FileHits, Hits, Output, Search
from bamboo_mcp.workspace.opening import open_door
from bamboo_mcp.workspace.roots import refuse_special, relative_path, root_of
from bamboo_mcp.workspace.searchers import search_with_python, search_with_ripgrep, searchable

_SEARCH_S = 20.0
_SHOWN_LINE_CHARS = 500


class SearchTools:
    """`ripgrep` is the name or path of the program; None or not found: Python searches."""

    def __init__(self, bounds: Bounds, ripgrep: str | None, timeout_s: float = _SEARCH_S) -> None:
        self._bounds = bounds
        self._ripgrep = ripgrep
        self._timeout_s = timeout_s

    @tool(title="Search files", group="workspace", effect="read")
    async def search_files(
        self,
        call: ToolContext,
        *,
        pattern: Annotated[
            str,
            Meta(description="Regular expression, for one line.", min_length=1, max_length=4000),
        ],
        path: Annotated[
            str, Meta(description="Folder or file to search in.", max_length=4000)
        ] = ".",
        glob: Annotated[
            str,
            Meta(description="Only files like this: '*.py', 'src/**'.", max_length=1000),
        ] = "",
        ignore_case: Annotated[bool, Meta(description="Ignore upper and lower case.")] = False,
        context: Annotated[
            int, Meta(description="Lines to show around each match.", ge=0, le=20)
        ] = 0,
        output: Annotated[
            Output,
            Meta(description="Paths only, matching lines, or the number of them for each file."),
        ] = "files",
        limit: Annotated[
            int, Meta(description="Most files, or lines for content.", ge=1, le=2000)
        ] = 200,
    ) -> str:
        """Search the text of files in the workspace with a regular expression, line by line.

        `files` (the default) lists paths, `content` shows matching lines with their numbers,
        `count` counts them for each file. Hidden files are searched; .git, node_modules, build
        leftovers, links, binary files and files over 2 MiB are not. Begin with `files` or a `glob`
        when there may be many matches. To find files by name use `find_files`.
        Example: {"pattern": "def main", "glob": "*.py", "output": "content"}
        """
        root = root_of(call)
        _refuse_impossible(pattern)
        search = Search(
            pattern=pattern,
            start=relative_path(root, path),
            ignore_case=ignore_case,
            glob=glob,
            output=output,
            limit=limit,
            timeout_s=min(self._timeout_s, call.deadline - anyio.current_time()),
        )
        hits = Hits(search)
        with open_door(root) as door:
            with anyio.move_on_after(search.timeout_s) as in_time:
                await self._search(door, search, hits)
            if in_time.cancelled_caught:
                _ran_out_of_time(search, hits)
            return await to_thread.run_sync(self._told, door, search, hits, context)

    async def _search(self, door: Door, search: Search, hits: Hits) -> None:
        status = door.look(search.start)
        if not stat.S_ISDIR(status.st_mode):
            refuse_special(status.st_mode, search.start)
            if status.st_size > MAX_SEARCHED_BYTES:
                hits.more = (
                    f"{shown_name(search.start)} is larger than "
                    f"{shown_size(MAX_SEARCHED_BYTES)} and was not searched"
                )
                return
            await search_with_python(door, search, hits, one_file=True)
            return
        program = shutil.which(self._ripgrep) if self._ripgrep else None
        if program:
            with door.folder_for_child(search.start) as folder:
                if await search_with_ripgrep(program, search, folder, hits):
                    return
        await search_with_python(door, search, hits)

    # What follows blocks, and runs in worker threads.

    def _told(self, door: Door, search: Search, hits: Hits, around: int) -> str:
        lines: list[str] = []
        shown = 0
        for file in hits.files:
            told = _file_told(door, search, file, around)
            if told:
                shown += 1
                lines += told
        if not shown:
            return f"[no match{'; ' + hits.more if hits.more else ''}]"
        if not lines[-1]:
            lines.pop()
        fitting = fit_lines(lines, self._bounds.room)
        more = hits.more
        if len(fitting) < len(lines):
            more = "cut, the answer is too long; narrow the pattern, path or glob, or lower limit"
        return "\n".join([*fitting, f"[{more}]"] if more else fitting)


def _file_told(door: Door, search: Search, file: FileHits, around: int) -> list[str]:
    """Read once more, through the door: what was only nominated is not shown."""
    data = searchable(door, file.path)
    if not data:
        return []
    name = shown_name(file.path)
    match search.output:
        case "files":
            return [name]
        case "count":
            return [f"{name}: {file.count}"]
        case "content":
            return [name, *_lines_told(data, file.lines, around), ""]


def _lines_told(data: bytes, numbers: list[int], around: int) -> list[str]:
    lines = data.decode("utf-8-sig", "replace").split("\n")
    if lines[-1] == "":
        lines.pop()
    matching = {number for number in numbers if number <= len(lines)}
    told: list[str] = []
    last = 0
    for number in sorted(matching):
        for near in range(max(number - around, last + 1, 1), min(number + around, len(lines)) + 1):
            if near > number and near in matching:
                break
            if around and told and near > last + 1:
                told.append("  --")
            mark = ":" if near in matching else "-"
            text = cut_line(lines[near - 1].removesuffix("\r"), _SHOWN_LINE_CHARS)
            told.append(f"{near:6}{mark} {text}")
            last = near
    return told


def _ran_out_of_time(search: Search, hits: Hits) -> None:
    if not hits.files:
        raise InvalidInput(
            f"the search found nothing in {search.timeout_s:.0f} s and was stopped",
            hint="Search a smaller `path` or `glob`, or use a simpler pattern.",
        )
    hits.more = f"stopped after {search.timeout_s:.0f} s; narrow the path, glob or pattern"


def _refuse_impossible(pattern: str) -> None:
    try:
        pattern.encode()
    except UnicodeEncodeError:
        raise InvalidInput("'pattern' has half a character (a lone surrogate)") from None
    if "\n" in pattern or "\0" in pattern:
        raise InvalidInput(
            f"the pattern {pattern[:80]!r} contains a line end or a NUL character",
            hint="Matching is line by line; search for one of the lines.",
        )
