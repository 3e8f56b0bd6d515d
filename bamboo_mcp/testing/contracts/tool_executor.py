"""What every `ToolExecutor` promises, as tests: subclass, say how to make one, run pytest.

```python
class TestDice(ToolExecutorContract):
    def make(self) -> ToolExecutor:
        return make_dice()

    good_call = ToolCall(id="1", name="roll_dice", arguments={"sides": 6})
    bad_call = ToolCall(id="2", name="roll_dice", arguments={"sides": "six"})
    bad_field = "sides"
```
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

import anyio
import msgspec

from bamboo_mcp.domain.ids import LOCAL
from bamboo_mcp.domain.questions import Answer, Question
from bamboo_mcp.domain.tools import Progress, ToolCall, ToolResult, ToolSpec
from bamboo_mcp.ports import ToolContext, ToolExecutor


async def _nobody_answers(question: Question) -> Answer:
    return Answer(decision="deny", by="expiry", reason="there is nobody in a contract test")


def _no_progress(progress: Progress) -> None: ...


def quiet_context() -> ToolContext:
    """A call from nowhere in particular: nobody to ask, no workspace, no deadline."""
    return ToolContext(
        caller=LOCAL, mode="accept_edits", ask=_nobody_answers, progress=_no_progress
    )


class ToolExecutorContract:
    """Override `make`; give the calls that fit, and what a call needs of its surroundings."""

    good_call: ClassVar[ToolCall | None] = None
    """A call that must succeed."""
    bad_call: ClassVar[ToolCall | None] = None
    """A call whose argument `bad_field` is wrong."""
    bad_field: ClassVar[str] = ""
    slow_call: ClassVar[ToolCall | None] = None
    """A call that takes longer than anybody waits, and can be cancelled."""
    validates: ClassVar[bool] = True
    """False when the executor leaves the checking of arguments to what wraps it."""

    def make(self) -> ToolExecutor:
        raise NotImplementedError("override make()")

    def context(self) -> ToolContext:
        return quiet_context()

    async def test_the_list_is_the_same_each_time(self) -> None:
        executor = self.make()
        with anyio.fail_after(5):
            first = [spec.name for spec in await executor.list_tools()]
            assert [spec.name for spec in await executor.list_tools()] == first
            assert [spec.name for spec in await self.make().list_tools()] == first
        assert len(set(first)) == len(first), f"a name is there twice: {first}"

    async def test_names_and_schemas_are_what_clients_accept(self) -> None:
        with anyio.fail_after(5):
            listed = await self.make().list_tools()
        for spec in listed:
            assert isinstance(spec, ToolSpec), spec
            assert re.fullmatch(r"[a-z0-9_]{1,64}", spec.name), spec.name
            assert spec.description.strip(), f"{spec.name} does not say what it is for"
            for schema in (spec.input_schema, spec.output_schema):
                if schema is not None:
                    assert isinstance(schema, Mapping), (spec.name, schema)
                    assert schema.get("type") == "object", (spec.name, schema)
                    _compiles(schema)

    async def test_an_unknown_tool_is_an_error_result(self) -> None:
        call = ToolCall(id="1", name="no_such_tool_anywhere")
        with anyio.fail_after(5):
            result = await self.make().call_tool(call, self.context())
        assert result.is_error
        assert result.error_code == "unknown_tool", result.text
        assert "no_such_tool_anywhere" in result.text

    async def test_a_good_call_answers_something_that_is_json(self) -> None:
        if self.good_call is None:
            return
        with anyio.fail_after(5):
            result = await self.make().call_tool(self.good_call, self.context())
        assert isinstance(result, ToolResult)
        assert not result.is_error, result.text
        msgspec.json.encode(result)

    async def test_bad_arguments_are_an_error_result_that_names_the_field(self) -> None:
        if self.bad_call is None or not self.validates:
            return
        with anyio.fail_after(5):
            result = await self.make().call_tool(self.bad_call, self.context())
        assert result.is_error
        assert result.error_code == "invalid_input", result.text
        assert self.bad_field in result.text

    async def test_cancellation_passes_through_a_call(self) -> None:
        if self.slow_call is None:
            return
        executor, context = self.make(), self.context()
        answered: list[ToolResult] = []

        async def call() -> None:
            assert self.slow_call is not None
            answered.append(await executor.call_tool(self.slow_call, context))

        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(call)
                await anyio.wait_all_tasks_blocked()
                group.cancel_scope.cancel()
        assert not answered, f"a cancelled call answered {answered[0].text!r}"


def _compiles(schema: Mapping[str, object]) -> None:
    import jsonschema_rs

    jsonschema_rs.validator_for(dict(schema))
