"""`DenylistExecutor`: tools taken away by name: not listed, and refused when called."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence

from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.domain.tools import ToolCall, ToolResult, ToolSpec, error_result
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.tools.catalogue import Catalogue
from bamboo_mcp.tools.excerpts import shown


class DenylistExecutor:
    """`deny_tools` are hidden; with `allow_tools` (None: all) so is everything else.

    Names compare without case, `-` counts as `_`, `*` stands for any letters, and a `(...)` suffix
    does not save a denied tool: `Run_Command(git:*)` denies `run_command` (gap G12). Nothing in it
    belongs to one run: runs with the same names may share one.

    Raises:
        InvalidInput: An allow entry has a `(...)` suffix, and would allow more than it says.
    """

    def __init__(
        self,
        base: Catalogue,
        *,
        deny_tools: Sequence[str] = (),
        allow_tools: Sequence[str] | None = None,
    ) -> None:
        self._base = base
        self._deny = _Names(deny_tools)
        self._allow = None if allow_tools is None else _Names(map(_whole_tool, allow_tools))
        self._listed: Sequence[ToolSpec] | None = None
        self._left: Sequence[ToolSpec] = ()

    def refuses(self, name: str) -> bool:
        plain = _plain(name)
        return plain in self._deny or (self._allow is not None and plain not in self._allow)

    async def list_tools(self) -> Sequence[ToolSpec]:
        listed = await self._base.list_tools()
        if listed is not self._listed:
            self._left = tuple(spec for spec in listed if not self.refuses(spec.name))
            self._listed = listed
        return self._left

    async def find_tool(self, name: str) -> ToolSpec | None:
        return None if self.refuses(name) else await self._base.find_tool(name)

    async def call_tool(self, call: ToolCall, context: ToolContext) -> ToolResult:
        if self.refuses(call.name):
            return error_result(
                "permission_denied",
                f"{shown(call.name)} is not among the tools of this run",
                hint="Do it with the tools you have, or say in your answer what you could not do.",
            )
        return await self._base.call_tool(call, context)


class _Names:
    """A set of tool names, some with `*`."""

    __slots__ = ("_pattern", "_plain")

    def __init__(self, entries: Iterable[str]) -> None:
        plain = {_plain(entry) for entry in entries}
        wild = sorted(entry for entry in plain if "*" in entry)
        self._plain = frozenset(plain)
        self._pattern = re.compile("|".join(map(fnmatch.translate, wild))) if wild else None

    def __contains__(self, name: str) -> bool:
        if name in self._plain:
            return True
        return self._pattern is not None and self._pattern.match(name) is not None


def _plain(name: str) -> str:
    return name.partition("(")[0].strip().casefold().replace("-", "_")


def _whole_tool(entry: str) -> str:
    suffix = entry.partition("(")[2].rstrip(" )")
    if suffix not in ("", "*"):
        raise InvalidInput(
            f"allow_tools entry {shown(entry)} allows only part of a tool, which is not possible",
            hint=f"Allow the whole tool ({_plain(entry)!r}) or leave it out.",
        )
    return entry
