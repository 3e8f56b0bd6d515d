from __future__ import annotations

import pytest

from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.testing.contracts.tool_executor import quiet_context
from bamboo_mcp.tools.catalogue import Listed
from bamboo_mcp.tools.denylist import DenylistExecutor
from tests.tools.small_tools import SmallTools, call


def tools() -> SmallTools:
    return SmallTools("read_file", "run_command", "git__log", "git__push")


async def names(executor: DenylistExecutor) -> list[str]:
    return [spec.name for spec in await executor.list_tools()]


async def test_a_denied_tool_is_neither_listed_nor_found_nor_called() -> None:
    base = tools()
    executor = DenylistExecutor(Listed(base), deny_tools=["run_command"])
    assert await names(executor) == ["read_file", "git__log", "git__push"]
    assert await executor.find_tool("run_command") is None
    result = await executor.call_tool(call("run_command"), quiet_context())
    assert (result.is_error, result.error_code) == (True, "permission_denied")
    assert "run_command" in result.text
    assert base.calls == []


@pytest.mark.parametrize(
    "entry", ["Run_Command", "run_command(git:*)", "RUN-COMMAND", " run_command ", "run_command()"]
)
async def test_a_denial_is_not_escaped_by_case_or_by_a_suffix(entry: str) -> None:
    executor = DenylistExecutor(Listed(tools()), deny_tools=[entry])
    assert "run_command" not in await names(executor)
    for name in ("run_command", "Run_Command", "run_command(ls)"):
        result = await executor.call_tool(call(name), quiet_context())
        assert result.error_code == "permission_denied", name


async def test_a_star_denies_a_whole_family() -> None:
    executor = DenylistExecutor(Listed(tools()), deny_tools=["git__*"])
    assert await names(executor) == ["read_file", "run_command"]


async def test_an_allow_list_hides_everything_else() -> None:
    executor = DenylistExecutor(Listed(tools()), allow_tools=["Read_File", "git__*"])
    assert await names(executor) == ["read_file", "git__log", "git__push"]
    result = await executor.call_tool(call("run_command"), quiet_context())
    assert result.error_code == "permission_denied"


async def test_an_empty_allow_list_allows_nothing_and_none_allows_all() -> None:
    assert await names(DenylistExecutor(Listed(tools()), allow_tools=[])) == []
    assert len(await names(DenylistExecutor(Listed(tools()), allow_tools=None))) == 4


async def test_a_denial_wins_over_an_allowance() -> None:
    executor = DenylistExecutor(
        Listed(tools()), allow_tools=["read_file", "run_command"], deny_tools=["run_command"]
    )
    assert await names(executor) == ["read_file"]


def test_an_allow_entry_for_part_of_a_tool_is_refused_instead_of_widened() -> None:
    with pytest.raises(InvalidInput, match="run_command"):
        DenylistExecutor(Listed(tools()), allow_tools=["run_command(git status)"])


async def test_an_allowed_call_passes_untouched() -> None:
    executor = DenylistExecutor(Listed(tools()), deny_tools=["run_command"])
    assert (await executor.call_tool(call("read_file"), quiet_context())).text == "read_file"
    unknown = await executor.call_tool(call("nothing_like_it"), quiet_context())
    assert unknown.error_code == "unknown_tool"
