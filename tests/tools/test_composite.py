from __future__ import annotations

from collections.abc import Sequence

import anyio

from bamboo_mcp.domain.tools import ToolCall, ToolResult, ToolSpec
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.testing.contracts.tool_executor import quiet_context
from bamboo_mcp.tools.composite import CompositeExecutor, Member, MemberFault, ShadowedTool
from tests.tools.small_tools import SmallTools, call, spec


class Broken:
    """An executor that fails in listing, in the way it is given."""

    def __init__(self, error: BaseException | None = None, answer: object = None) -> None:
        self.error = error
        self.answer = answer
        self.lists = 0

    async def list_tools(self) -> Sequence[ToolSpec]:
        self.lists += 1
        if self.error is not None:
            raise self.error
        return self.answer  # type: ignore[return-value]

    async def call_tool(self, call: ToolCall, context: ToolContext) -> ToolResult:
        raise AssertionError("never listed, never called")


class Hanging:
    """An executor whose list never comes."""

    async def list_tools(self) -> Sequence[ToolSpec]:
        await anyio.sleep_forever()
        raise AssertionError("unreachable")

    async def call_tool(self, call: ToolCall, context: ToolContext) -> ToolResult:
        raise AssertionError("never listed, never called")


async def names(composite: CompositeExecutor) -> list[str]:
    with anyio.fail_after(5):
        return [spec.name for spec in await composite.list_tools()]


async def text_of(composite: CompositeExecutor, name: str) -> str:
    with anyio.fail_after(5):
        return (await composite.call_tool(call(name), quiet_context())).text


async def test_tools_are_listed_by_group_then_by_name_whatever_the_members_order() -> None:
    composite = CompositeExecutor(
        [
            Member(name="plugin", group="plugins", executor=SmallTools("b_plugin", "a_plugin")),
            Member(name="files", group="workspace", executor=SmallTools("z_file")),
            Member(name="agents", group="control", executor=SmallTools("spawn")),
        ]
    )
    assert await names(composite) == ["spawn", "z_file", "a_plugin", "b_plugin"]


async def test_a_member_cannot_claim_another_group_than_its_own() -> None:
    tools = SmallTools("pretender")
    tools.specs = [spec("pretender", group="control")]
    composite = CompositeExecutor([Member(name="p", group="plugins", executor=tools)])
    [listed] = await composite.list_tools()
    assert listed.group == "plugins"


async def test_a_name_taken_twice_is_served_by_the_first_member_and_reported() -> None:
    first, second = SmallTools("same"), SmallTools("same", "other")
    composite = CompositeExecutor(
        [
            Member(name="builtin", group="workspace", executor=first),
            Member(name="plugin", group="plugins", executor=second),
        ]
    )
    assert await names(composite) == ["same", "other"]
    await composite.call_tool(call("same"), quiet_context())
    assert (len(first.calls), len(second.calls)) == (1, 0)
    assert composite.shadowed == (ShadowedTool(tool="same", member="plugin", by="builtin"),)


async def test_a_member_that_lists_a_name_twice_shadows_itself() -> None:
    composite = CompositeExecutor(
        [Member(name="m", group="plugins", executor=SmallTools("same", "same"))]
    )
    assert await names(composite) == ["same"]
    assert composite.shadowed == (ShadowedTool(tool="same", member="m", by="m"),)


async def test_a_member_whose_list_fails_is_left_out_and_said_so() -> None:
    composite = CompositeExecutor(
        [
            Member(name="bad", group="plugins", executor=Broken(RuntimeError("secret /path"))),
            Member(name="exits", group="plugins", executor=Broken(SystemExit(3))),
            Member(name="none", group="plugins", executor=Broken()),
            Member(name="good", group="plugins", executor=SmallTools("works")),
        ]
    )
    assert await names(composite) == ["works"]
    assert composite.faults == (
        MemberFault(member="bad", message="listing its tools failed with RuntimeError"),
        MemberFault(member="exits", message="listing its tools failed with SystemExit"),
        MemberFault(member="none", message="its list is null"),
    )
    assert await text_of(composite, "works") == "works"


async def test_a_member_that_hangs_in_listing_costs_only_its_own_tools() -> None:
    composite = CompositeExecutor(
        [
            Member(name="hangs", group="upstream", executor=Hanging()),
            Member(name="hangs_too", group="upstream", executor=Hanging()),
            Member(name="good", group="plugins", executor=SmallTools("works")),
        ],
        list_timeout_s=0.01,
    )
    assert await names(composite) == ["works"]
    assert [fault.member for fault in composite.faults] == ["hangs", "hangs_too"]
    assert "within 0.01 s" in composite.faults[0].message


async def test_bad_tools_of_a_list_are_left_out_one_by_one() -> None:
    tools = SmallTools("good")
    tools.specs += [
        spec("Bad-Name"),
        spec("x" * 65),
        spec("no_object", schema={"type": "string"}),
        "not a spec",  # type: ignore[list-item]
    ]
    composite = CompositeExecutor([Member(name="m", group="plugins", executor=tools)])
    assert await names(composite) == ["good"]
    messages = [fault.message for fault in composite.faults]
    assert '"Bad-Name"' in messages[0]
    assert len(messages[1]) < 200
    assert "'no_object'" in messages[2]
    assert '"not a spec"' in messages[3]


async def test_a_thousand_bad_tools_are_not_a_thousand_faults() -> None:
    tools = SmallTools("good")
    tools.specs += [spec(f"Bad-{i}") for i in range(1000)]
    composite = CompositeExecutor([Member(name="m", group="plugins", executor=tools)])
    await names(composite)
    assert len(composite.faults) == 20


async def test_a_call_of_a_known_tool_awaits_nobodys_list() -> None:
    tools = SmallTools("works")
    composite = CompositeExecutor([Member(name="m", group="plugins", executor=tools)])
    for _ in range(5):
        assert await text_of(composite, "works") == "works"
    assert tools.lists == 1
    await names(composite)
    assert tools.lists == 1


async def test_an_unknown_name_is_looked_for_anew_and_then_refused_with_a_suggestion() -> None:
    tools = SmallTools("read_file")
    composite = CompositeExecutor([Member(name="m", group="plugins", executor=tools)])
    result = await composite.call_tool(call("raed_file"), quiet_context())
    assert result.error_code == "unknown_tool"
    assert "read_file" in result.text
    tools.specs.append(spec("came_later"))
    tools.bodies["came_later"] = tools.bodies["read_file"]
    assert await text_of(composite, "came_later") == "came_later"


async def test_an_absurd_name_is_refused_in_a_short_message_without_asking_anybody() -> None:
    tools = SmallTools("works")
    composite = CompositeExecutor([Member(name="m", group="plugins", executor=tools)])
    await names(composite)
    result = await composite.call_tool(call("x" * 5_000_000), quiet_context())
    assert result.error_code == "unknown_tool"
    assert len(result.text) < 500
    assert tools.lists == 1


async def test_a_member_that_says_it_changed_is_asked_again_and_only_that_one() -> None:
    one, two = SmallTools("one"), SmallTools("two")
    composite = CompositeExecutor(
        [
            Member(name="one", group="plugins", executor=one),
            Member(name="two", group="plugins", executor=two),
        ]
    )
    before = await composite.list_tools()
    one.specs = [spec("uno")]
    composite.changed("one")
    assert await names(composite) == ["two", "uno"]
    assert (one.lists, two.lists) == (2, 1)
    assert (await composite.call_tool(call("one"), quiet_context())).error_code == "unknown_tool"
    assert await composite.list_tools() is not before


async def test_an_unchanged_list_stays_the_same_object() -> None:
    tools = SmallTools("one")
    composite = CompositeExecutor([Member(name="one", group="plugins", executor=tools)])
    before = await composite.list_tools()
    composite.changed()
    assert await composite.list_tools() is before


async def test_a_changed_member_that_hangs_delays_no_call_of_anothers_tools() -> None:
    class HangsLater(SmallTools):
        async def list_tools(self) -> Sequence[ToolSpec]:
            specs = await super().list_tools()
            if self.lists > 1:
                await anyio.sleep_forever()
            return specs

    late = HangsLater("late")
    composite = CompositeExecutor(
        [
            Member(name="good", group="plugins", executor=SmallTools("works")),
            Member(name="late", group="upstream", executor=late),
        ],
        list_timeout_s=60,
    )
    await names(composite)
    composite.changed("late")
    assert await text_of(composite, "works") == "works"
    assert late.lists == 1


async def test_a_failed_member_is_tried_again_after_a_while_and_not_before() -> None:
    now = 0.0
    flaky = Broken(RuntimeError("not yet"))
    composite = CompositeExecutor(
        [Member(name="flaky", group="plugins", executor=flaky)], retry_s=30, clock=lambda: now
    )
    assert await names(composite) == []
    flaky.error, flaky.answer = None, [spec("recovered")]
    now = 29.0
    assert await names(composite) == []
    await composite.call_tool(call("anything"), quiet_context())
    assert flaky.lists == 1
    now = 30.0
    assert await names(composite) == ["recovered"]
    assert composite.faults == ()


async def test_a_cancelled_listing_is_done_again_by_the_next_who_asks() -> None:
    class HangsOnce(SmallTools):
        async def list_tools(self) -> Sequence[ToolSpec]:
            specs = await super().list_tools()
            if self.lists == 1:
                await anyio.sleep_forever()
            return specs

    composite = CompositeExecutor(
        [Member(name="m", group="plugins", executor=HangsOnce("works"))], list_timeout_s=60
    )
    async with anyio.create_task_group() as group:
        group.start_soon(composite.list_tools)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert await names(composite) == ["works"]


async def test_many_at_once_share_one_listing() -> None:
    tools = SmallTools("works")
    composite = CompositeExecutor([Member(name="m", group="plugins", executor=tools)])
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(composite.call_tool, call("works"), quiet_context())
    assert tools.lists == 1
    assert len(tools.calls) == 20


async def test_a_composite_of_nothing_has_no_tools() -> None:
    composite = CompositeExecutor([])
    assert await names(composite) == []
    assert (await composite.call_tool(call("x"), quiet_context())).error_code == "unknown_tool"
