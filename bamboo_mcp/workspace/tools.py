"""The workspace tools put together: the package's front door."""

from __future__ import annotations

from collections.abc import Mapping

from bamboo_mcp.ports import ToolExecutor
from bamboo_mcp.tools.function import FunctionExecutor, tools_of
from bamboo_mcp.workspace.background import BackgroundCommands
from bamboo_mcp.workspace.bounds import MIB, Bounds
from bamboo_mcp.workspace.command_control import CommandTools
from bamboo_mcp.workspace.files import FileTools
from bamboo_mcp.workspace.folders import FolderTools
from bamboo_mcp.workspace.reads import ReadMarks
from bamboo_mcp.workspace.search import SearchTools
from bamboo_mcp.workspace.shell import ShellTools


def workspace_tools(
    *,
    max_result_chars: int = 40_000,
    max_read_bytes: int = 10 * MIB,
    max_write_bytes: int = 10 * MIB,
    environment: Mapping[str, str] | None = None,
    ripgrep: str | None = "rg",
    background: BackgroundCommands | None = None,
    max_wait_s: float = 45.0,
) -> ToolExecutor:
    """File, search and shell tools on `ToolContext.workspace`.

    `environment` is added to what a command sees; `ripgrep` is the program to search with when it
    can be found, None for never. `background` holds commands that are not waited for; without it
    there are none, nor the tools to look at them, which wait for `max_wait_s` at most.
    """
    bounds = Bounds(
        max_result_chars=max_result_chars,
        max_read_bytes=max_read_bytes,
        max_write_bytes=max_write_bytes,
    )
    families: list[object] = [
        FileTools(bounds, ReadMarks()),
        FolderTools(bounds),
        SearchTools(bounds, ripgrep),
        ShellTools(bounds, environment or {}, background),
    ]
    if background is not None:
        families.append(CommandTools(bounds, background, max_wait_s))
    return FunctionExecutor(one for family in families for one in tools_of(family))
