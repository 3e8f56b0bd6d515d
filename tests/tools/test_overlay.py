from __future__ import annotations

from bamboo_mcp.domain.tools import ToolCall, ToolResult, text_result
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.testing.contracts.tool_executor import quiet_context
from bamboo_mcp.tools.composite import CompositeExecutor, Member
from bamboo_mcp.tools.filtered import FilteredExecutor
from bamboo_mcp.tools.overlay import OverlayExecutor
from tests.tools.small_tools import SmallTools, call, spec


async def laid_over(call: ToolCall, context: ToolContext) -> ToolResult:
    return text_result("from above")


async def test_a_tool_of_the_same_name_is_replaced_and_the_list_stays_sorted() -> None:
    base = SmallTools("b", "c")
    composite = CompositeExecutor([Member(name="m", group="plugins", executor=base)])
    over = SmallTools("d", (spec("b", effect="write"), laid_over), "a")
    overlay = OverlayExecutor(over, composite)
    assert [spec.name for spec in await overlay.list_tools()] == ["a", "b", "c", "d"]
    found = await overlay.find_tool("b")
    assert found is not None
    assert found.effect == "write"
    assert (await overlay.call_tool(call("b"), quiet_context())).text == "from above"
    assert (await overlay.call_tool(call("c"), quiet_context())).text == "c"
    assert [one.name for one in base.calls] == ["c"]


async def test_an_unknown_name_is_answered_by_the_base() -> None:
    overlay = OverlayExecutor(SmallTools("a"), CompositeExecutor([]))
    assert (await overlay.call_tool(call("z"), quiet_context())).error_code == "unknown_tool"


async def test_a_group_that_is_not_exposed_is_neither_listed_nor_called() -> None:
    hidden = SmallTools("hidden")
    composite = CompositeExecutor(
        [
            Member(name="shown", group="control", executor=SmallTools("shown")),
            Member(name="hidden", group="workspace", executor=hidden),
        ]
    )
    filtered = FilteredExecutor(composite, ["control"])
    assert [spec.name for spec in await filtered.list_tools()] == ["shown"]
    assert await filtered.find_tool("hidden") is None
    result = await filtered.call_tool(call("hidden"), quiet_context())
    assert result.error_code == "unknown_tool"
    assert "--expose" in result.text
    assert hidden.calls == []
    assert (await filtered.call_tool(call("shown"), quiet_context())).text == "shown"
