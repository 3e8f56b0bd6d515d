from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from bamboo_mcp.domain.errors import PermissionDenied
from bamboo_mcp.domain.ids import LOCAL
from bamboo_mcp.domain.questions import Answer, Question
from bamboo_mcp.domain.tools import Progress, ToolCall, ToolResult, text_result
from bamboo_mcp.domain.value import Value
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.tools.function import FunctionExecutor, answer, tool, tools_of


async def nobody(question: Question) -> Answer:
    return Answer(by="expiry")


def unheard(progress: Progress) -> None: ...


CONTEXT = ToolContext(caller=LOCAL, mode="default", ask=nobody, progress=unheard)


class Weather(Value, frozen=True, kw_only=True):
    place: str
    degrees: float
    days: tuple[str, ...] = ()

    def as_text(self) -> str:
        return f"{self.degrees} degrees in {self.place}"


class Plain(Value, frozen=True, kw_only=True):
    name: str
    parts: tuple[int, ...]


class Trip(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    place: Annotated[str, Meta(description="Where to.")]
    days: Annotated[int, Meta(ge=1)] = 1


class LooseTrip(msgspec.Struct, frozen=True, kw_only=True):
    place: str


class Family:
    def __init__(self) -> None:
        self.calls: list[object] = []

    @tool(title="Forecast", effect="read", group="workspace")
    async def forecast(
        self,
        context: ToolContext,
        *,
        place: Annotated[str, Meta(description="A town.", min_length=1)],
        days: Annotated[int, Meta(description="How many.", ge=1, le=7)] = 1,
        unit: Annotated[Literal["c", "f"], Meta(description="Which degrees.")] = "c",
        note: Annotated[str | None, Meta(description="For the log.")] = None,
        tags: tuple[str, ...] = (),
    ) -> Weather:
        """Tell the weather.

        First line
        goes on.
        """
        self.calls.append((place, days, unit, note, tags, context.caller))
        return Weather(place=place, degrees=21.5)

    @tool(title="Say", effect="write", idempotent=True)
    async def say(self, context: ToolContext, *, text: str) -> str:
        """Say it."""
        return text

    @tool(title="Travel", effect="network", open_world=True, output=Plain)
    async def travel(self, context: ToolContext, args: Trip) -> ToolResult:
        """Go there."""
        return answer(Plain(name=args.place, parts=(args.days,)), "went")

    @tool(title="Facts", effect="read")
    async def facts(self, context: ToolContext) -> Plain:
        """Without words of its own."""
        return Plain(name="x", parts=(1, 2))

    @tool(title="Refuse", effect="execute")
    async def refuse(self, context: ToolContext) -> str:
        """Never allowed."""
        raise PermissionDenied("not today", hint="Ask tomorrow.")

    @tool(title="Break", effect="execute")
    async def break_down(self, context: ToolContext) -> str:
        """Has a bug."""
        raise RuntimeError("the key is sk-verysecret")

    @tool(title="Odd", effect="read")
    async def odd(self, context: ToolContext) -> object:
        """Returns something that is no answer."""
        return 7


async def call(name: str, arguments: Mapping[str, Any], family: Family | None = None) -> ToolResult:
    executor = FunctionExecutor(tools_of(family or Family()))
    return await executor.call_tool(ToolCall(id="1", name=name, arguments=arguments), CONTEXT)


async def test_the_signature_becomes_a_flat_closed_schema() -> None:
    specs = {spec.name: spec for spec in await FunctionExecutor(tools_of(Family())).list_tools()}
    forecast = specs["forecast"]
    assert forecast.input_schema == {
        "type": "object",
        "properties": {
            "place": {"type": "string", "description": "A town.", "minLength": 1},
            "days": {
                "type": "integer",
                "description": "How many.",
                "minimum": 1,
                "maximum": 7,
                "default": 1,
            },
            "unit": {"enum": ["c", "f"], "description": "Which degrees.", "default": "c"},
            "note": {"type": "string", "description": "For the log."},
            "tags": {"type": "array", "items": {"type": "string"}, "default": []},
        },
        "required": ["place"],
        "additionalProperties": False,
    }
    assert forecast.output_schema is not None
    assert forecast.output_schema["type"] == "object"
    assert forecast.description == "Tell the weather.\n\nFirst line goes on."
    assert forecast.group == "workspace"
    assert forecast.annotations.read_only is True
    assert forecast.annotations.destructive is False
    assert specs["say"].annotations.destructive is True
    assert specs["say"].annotations.idempotent is True
    assert specs["say"].output_schema is None
    assert specs["travel"].annotations.open_world is True
    assert specs["travel"].output_schema is not None


async def test_tools_are_listed_in_the_order_they_are_written() -> None:
    specs = await FunctionExecutor(tools_of(Family())).list_tools()
    names = [spec.name for spec in specs]
    assert names[:3] == ["forecast", "say", "travel"]
    assert names == [spec.name for spec in await FunctionExecutor(tools_of(Family())).list_tools()]


async def test_checked_arguments_and_the_context_reach_the_function() -> None:
    family = Family()
    result = await call("forecast", {"place": "Ulm", "days": 3, "tags": ["a"]}, family)
    assert family.calls == [("Ulm", 3, "c", None, ("a",), LOCAL)]
    assert result.structured == {"place": "Ulm", "degrees": 21.5}
    assert result.text == "21.5 degrees in Ulm"
    assert not result.is_error


async def test_a_struct_can_hold_the_arguments() -> None:
    result = await call("travel", {"place": "Ulm", "days": 2})
    assert result.structured == {"name": "Ulm", "parts": [2]}
    assert result.text == "went"


async def test_a_struct_without_words_is_told_field_by_field() -> None:
    assert (await call("facts", {})).text == "name: x\nparts: [1,2]"


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ({}, "missing field 'place'", "A town."),
        ({"place": "x", "plcae": 1}, "unknown field 'plcae'", "place, days, unit, note, tags"),
        ({"place": 7}, "'place' is 7: Expected `str`, got `int`", '"minLength":1'),
        ({"place": ""}, "'place' is '': Expected `str` of length >= 1", ""),
        ({"place": "x", "days": "7"}, "'days' is '7': Expected `int`, got `str`", '"maximum":7'),
        ({"place": "x", "days": 0}, "'days' is 0: Expected `int` >= 1", ""),
        ({"place": "x", "days": 10**30}, "Expected `int` <= 7", ""),
        ({"place": "x", "days": True}, "'days' is True", ""),
        ({"place": "x", "unit": "k"}, "'unit' is 'k'", '"enum":["c","f"]'),
        ({"place": "x", "tags": ["a", 3]}, "'tags[1]' is 3: Expected `str`", ""),
        ({"place": None}, "'place' is None", ""),
    ],
)
async def test_a_bad_argument_is_refused_before_anything_happens_naming_field_value_and_rule(
    arguments: dict[str, Any], message: str, hint: str
) -> None:
    family = Family()
    result = await call("forecast", arguments, family)
    assert result.is_error
    assert result.error_code == "invalid_input"
    error = msgspec.json.decode(result.text)["error"]
    assert message in error["message"]
    assert "\n" not in error["message"]
    assert hint in error["hint"]
    assert family.calls == []


async def test_a_huge_bad_value_is_not_repeated_back() -> None:
    result = await call("forecast", {"place": "x", "days": "9" * 1_000_000})
    assert len(result.text) < 1000


async def test_an_error_on_purpose_becomes_the_failure_form() -> None:
    result = await call("refuse", {})
    assert result.error_code == "permission_denied"
    assert msgspec.json.decode(result.text)["error"]["hint"] == "Ask tomorrow."


async def test_a_bug_is_logged_and_its_words_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        result = await call("break_down", {})
    assert result.is_error
    assert result.error_code == "internal_error"
    assert "sk-verysecret" not in result.text
    assert "RuntimeError" in caplog.text


async def test_a_return_value_that_is_no_answer_is_a_fault_of_the_tool() -> None:
    assert (await call("odd", {})).error_code == "internal_error"


async def test_an_unknown_tool_is_named_with_what_there_is() -> None:
    result = await call("fly", {})
    assert result.error_code == "unknown_tool"
    assert "'fly'" in result.text
    assert "forecast" in result.text


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="forecast"):
        FunctionExecutor([*tools_of(Family()), *tools_of(Family())])


async def test_a_tool_whose_parameters_cannot_be_read_costs_only_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @tool(title="Loose", effect="read")
    async def loose(context: ToolContext, args: LooseTrip) -> str:
        """Too trusting."""
        return ""

    executor = FunctionExecutor([*tools_of(Family()), loose])
    assert "loose" not in [spec.name for spec in await executor.list_tools()]
    assert "forbid_unknown_fields" in caplog.text
    result = await executor.call_tool(ToolCall(id="1", name="loose"), CONTEXT)
    assert result.error_code == "internal_error"


def test_a_tool_needs_a_description_and_a_short_plain_name() -> None:
    async def undocumented(context: ToolContext) -> ToolResult:
        return text_result("")

    async def documented(context: ToolContext) -> ToolResult:
        """Yes."""
        return text_result("")

    with pytest.raises(TypeError, match="docstring"):
        tool(title="x", effect="read")(undocumented)
    with pytest.raises(TypeError, match="no tool name"):
        tool(title="x", effect="read", name="do-it")(documented)


async def test_plain_functions_are_tools_too() -> None:
    @tool(title="Echo", effect="read", name="echo_text")
    async def echo(context: ToolContext, *, text: str = "hi") -> str:
        """Say it back."""
        return text

    executor = FunctionExecutor([echo])
    result = await executor.call_tool(ToolCall(id="1", name="echo_text"), CONTEXT)
    assert result.text == "hi"


async def test_a_tool_that_builds_its_own_result_promises_no_structure() -> None:
    @tool(title="Own", effect="read")
    async def own(context: ToolContext) -> ToolResult:
        """Answer in its own form."""
        return text_result("own")

    [spec] = await FunctionExecutor([own]).list_tools()
    assert spec.output_schema is None
