from __future__ import annotations

import logging

import anyio
import pytest
from msgspec.structs import replace

from bamboo_mcp.domain.errors import WorkspaceError
from bamboo_mcp.domain.messages import ImageBlock, RawBlock, TextBlock
from bamboo_mcp.domain.tools import Group, ToolCall, ToolResult, error_result, text_result
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.testing.contracts.tool_executor import quiet_context
from bamboo_mcp.tools.bounded import BoundedExecutor
from bamboo_mcp.tools.catalogue import Listed
from bamboo_mcp.tools.cutting import ResultLimits
from bamboo_mcp.tools.validation import Validators
from tests.tools.small_tools import TEXT_SCHEMA, Body, SmallTools, call, echo, hang, spec


def bounded(body: Body, *, timeout_s: float | None = None, default_s: float = 5) -> BoundedExecutor:
    tools = SmallTools((spec("tool", timeout_s=timeout_s), body))
    limits = ResultLimits(text=1000, media=1000, structured=1000)
    return BoundedExecutor(
        Listed(tools), validators=Validators(), timeout_s=default_s, limits=limits
    )


def answering(result: ToolResult) -> Body:
    async def body(call: ToolCall, context: ToolContext) -> ToolResult:
        return result

    return body


def raising(error: BaseException) -> Body:
    async def body(call: ToolCall, context: ToolContext) -> ToolResult:
        raise error

    return body


async def run(executor: BoundedExecutor, context: ToolContext | None = None) -> ToolResult:
    with anyio.fail_after(5):
        return await executor.call_tool(call("tool"), context or quiet_context())


async def test_a_tool_that_takes_too_long_is_stopped_at_its_own_limit() -> None:
    result = await run(bounded(hang, timeout_s=0.01, default_s=60))
    assert (result.is_error, result.error_code) == (True, "timeout")
    assert "0.01 s" in result.text


async def test_a_tool_without_a_limit_of_its_own_has_the_default() -> None:
    assert (await run(bounded(hang, default_s=0.01))).error_code == "timeout"


async def test_the_callers_deadline_is_kept_even_when_it_has_passed() -> None:
    context = replace(quiet_context(), deadline=anyio.current_time() - 1)
    assert (await run(bounded(hang, default_s=60), context)).error_code == "timeout"


async def test_a_tool_is_told_when_its_time_is_up() -> None:
    seen: list[float] = []

    async def body(call: ToolCall, context: ToolContext) -> ToolResult:
        seen.append(context.deadline - anyio.current_time())
        return text_result("ok")

    await run(bounded(body, timeout_s=3))
    assert 0 < seen[0] <= 3


async def test_what_a_tool_says_when_it_is_stopped_does_not_hide_that_it_was() -> None:
    async def turns_cancellation_into_an_error(call: ToolCall, context: ToolContext) -> ToolResult:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            raise RuntimeError("torn down") from None
        raise AssertionError("unreachable")

    result = await run(bounded(turns_cancellation_into_an_error, default_s=0.01))
    assert result.error_code == "timeout"


async def test_a_tools_own_timeout_error_is_not_taken_for_ours() -> None:
    assert (await run(bounded(raising(TimeoutError("dns"))))).error_code == "internal_error"


async def test_cancellation_from_outside_passes_through() -> None:
    executor = bounded(hang, default_s=60)
    answered: list[ToolResult] = []

    async def ask() -> None:
        answered.append(await run(executor))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert answered == []


@pytest.mark.parametrize("error", [ValueError("/home/me/.ssh"), SystemExit(2), TypeError("no")])
async def test_a_raising_tool_gives_a_generic_error_and_a_logged_traceback(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        result = await run(bounded(raising(error)))
    assert result.error_code == "internal_error"
    assert type(error).__name__ in result.text
    assert ".ssh" not in result.text
    assert caplog.records[0].exc_info is not None


async def test_an_error_raised_on_purpose_keeps_its_code_and_hint() -> None:
    error = WorkspaceError("'../x' is outside the workspace", hint="Use a path inside.")
    result = await run(bounded(raising(error)))
    assert result.error_code == "workspace_error"
    assert "Use a path inside." in result.text


async def test_an_answer_of_the_wrong_type_is_the_tools_fault() -> None:
    wrong: ToolResult = {"text": "hi"}  # type: ignore[assignment]
    assert (await run(bounded(answering(wrong)))).error_code == "internal_error"


async def test_structured_content_that_is_no_json_is_the_tools_fault() -> None:
    result = ToolResult(structured={"x": object()})
    assert (await run(bounded(answering(result)))).error_code == "internal_error"


async def test_a_short_answer_passes_as_the_same_object() -> None:
    answer = text_result("short", structured={"a": 1})
    assert await run(bounded(answering(answer))) is answer


async def test_a_long_answer_keeps_head_and_tail_and_says_how_much_is_missing() -> None:
    lines = "\n".join(f"line {i:04}" for i in range(1000))
    result = await run(bounded(answering(text_result(lines))))
    assert not result.is_error
    assert result.text.startswith("line 0000\n")
    assert result.text.endswith("line 0999")
    [cut] = [line for line in result.text.splitlines() if line.startswith("[")]
    kept = len(result.text) - len(cut) - 1
    assert f"{len(lines) - kept} of {len(lines)} characters" in cut
    assert len(result.text) <= 1000 + len(cut) + 2


@pytest.mark.parametrize(("group", "kept"), [("plugins", False), ("workspace", True)])
async def test_a_group_with_limits_of_its_own_keeps_to_those(group: Group, kept: bool) -> None:
    tools = SmallTools(
        (spec("loud", group=group), answering(text_result("x" * 900))),
        (spec("large", group=group), answering(text_result("ok", structured={"x": "y" * 900}))),
    )
    executor = BoundedExecutor(
        Listed(tools),
        validators=Validators(),
        group_limits={"plugins": ResultLimits(text=100, structured=100)},
    )
    loud = await executor.call_tool(call("loud"), quiet_context())
    large = await executor.call_tool(call("large"), quiet_context())
    assert (len(loud.text) == 900) is kept
    assert (large.error_code == "") is kept


async def test_an_answer_without_line_ends_is_cut_too() -> None:
    result = await run(bounded(answering(text_result("x" * 5_000_000))))
    assert len(result.text) < 1200


async def test_text_in_many_blocks_counts_together_and_images_stay() -> None:
    image = ImageBlock(media_type="image/png", data_b64="aaaa")
    blocks = tuple(TextBlock(text="y" * 600) for _ in range(3))
    result = await run(bounded(answering(ToolResult(content=(image, *blocks)))))
    texts = [item for item in result.content if isinstance(item, TextBlock)]
    assert len(texts) == 1
    assert len(texts[0].text) < 1200
    assert image in result.content


async def test_media_that_is_too_large_is_named_instead() -> None:
    image = ImageBlock(media_type="image/png", data_b64="a" * 2000)
    sound = RawBlock(raw={"type": "audio", "data": "b" * 2000})
    result = await run(bounded(answering(ToolResult(content=(image, sound)))))
    assert "image/png left out: 2000 characters" in result.text
    assert "audio left out" in result.text


async def test_structured_content_that_is_too_large_is_an_error_not_half_an_object() -> None:
    result = await run(bounded(answering(text_result("ok", structured={"x": "z" * 2000}))))
    assert (result.is_error, result.error_code) == (True, "result_too_large")


async def test_an_error_result_of_a_tool_passes() -> None:
    assert (await run(bounded(answering(error_result("nope", "no"))))).error_code == "nope"


async def test_bad_arguments_never_reach_the_tool() -> None:
    tools = SmallTools((spec("tool", schema=TEXT_SCHEMA), echo))
    executor = BoundedExecutor(Listed(tools), validators=Validators())
    result = await executor.call_tool(call("tool", text=5), quiet_context())
    assert result.error_code == "invalid_input"
    assert tools.calls == []
    good = await executor.call_tool(call("tool", text="hi"), quiet_context())
    assert good.text == "hi"
