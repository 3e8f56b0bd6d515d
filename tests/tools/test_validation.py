from __future__ import annotations

from types import MappingProxyType
from typing import Any

import msgspec
import pytest

from bamboo_mcp.domain.tools import EMPTY_SCHEMA, ToolCall
from bamboo_mcp.tools.validation import MAX_COMPILED, Validators
from tests.tools.small_tools import TEXT_SCHEMA, spec

NESTED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "mode": {"enum": ["all", "any"]},
        "limit": {"type": "integer", "minimum": 1, "maximum": 100},
        "messages": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"role": {"type": "string"}},
                "additionalProperties": False,
            },
        },
        "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "additionalProperties": False,
}


def problem(schema: Any, arguments: Any) -> tuple[str, str]:
    call = ToolCall(id="1", name="tool", arguments=arguments)
    result = Validators().problem(spec("tool", schema=schema), call)
    assert result is not None
    body = msgspec.json.decode(result.text)["error"]
    assert body["code"] == result.error_code == "invalid_input"
    assert len(result.text) < 1500
    return body["message"], body["hint"]


def accepts(schema: Any, arguments: Any) -> bool:
    call = ToolCall(id="1", name="tool", arguments=arguments)
    return Validators().problem(spec("tool", schema=schema), call) is None


def test_good_arguments_have_no_problem() -> None:
    assert accepts(TEXT_SCHEMA, {"text": "a", "count": 3})
    assert accepts(EMPTY_SCHEMA, {})
    assert accepts(NESTED, MappingProxyType({"mode": "all", "messages": [{"role": "user"}]}))


def test_an_unknown_field_is_named_with_what_is_allowed() -> None:
    message, hint = problem(TEXT_SCHEMA, {"txet": "a"})
    assert '"txet"' in message
    assert "Did you mean 'text'?" in hint
    assert "count, text" in hint


def test_an_unknown_field_of_a_tool_without_arguments_says_so() -> None:
    _, hint = problem(EMPTY_SCHEMA, {"x": 1})
    assert "No fields are allowed" in hint


def test_a_missing_field_is_named() -> None:
    message, _ = problem(TEXT_SCHEMA, {})
    assert '"text" is missing' in message


def test_a_wrong_type_names_field_value_and_what_is_allowed() -> None:
    message, _ = problem(TEXT_SCHEMA, {"text": "a", "count": "three"})
    assert '"count"' in message
    assert '"three"' in message
    assert "integer" in message


def test_a_value_out_of_range_names_the_bound() -> None:
    message, _ = problem(NESTED, {"limit": 1000})
    assert '"limit"' in message
    assert "100" in message
    assert "1000" in message


def test_a_value_not_in_the_list_names_the_list() -> None:
    message, _ = problem(NESTED, {"mode": "first"})
    assert '"all"' in message
    assert '"any"' in message
    assert '"first"' in message


def test_a_field_deep_inside_is_named_with_its_path() -> None:
    message, hint = problem(NESTED, {"messages": [{"role": "a"}, {"rol": "b"}]})
    assert "messages[1].rol" in message
    assert "'role'" in hint
    message, _ = problem(NESTED, {"messages": [{"role": 7}]})
    assert "messages[0].role" in message


def test_alternatives_are_told_together() -> None:
    message, _ = problem(NESTED, {"either": 4})
    assert "string" in message
    assert "null" in message


def test_a_bad_value_of_five_megabytes_is_not_repeated() -> None:
    message, _ = problem(TEXT_SCHEMA, {"text": "a", "count": "x" * 5_000_000})
    assert "count" in message
    message, _ = problem(TEXT_SCHEMA, {"y" * 5_000_000: 1})
    assert "unknown field" in message
    problem(NESTED, {"messages": [0] * 100_000})


@pytest.mark.parametrize(
    "arguments",
    [{1: 2}, {"text": b"bytes"}, {"text": object()}, {"text": "a", "count": float("nan")}],
)
def test_what_is_not_json_is_refused(arguments: Any) -> None:
    problem(TEXT_SCHEMA, arguments)


def test_half_a_surrogate_pair_where_a_number_belongs_is_refused_not_a_crash() -> None:
    message, _ = problem(TEXT_SCHEMA, {"text": "a", "count": "\ud800"})
    assert "not JSON" in message


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "no-such-type"}}},
        {"type": "object", "properties": {"a": {"pattern": "("}}},
        {"type": "object", "$ref": "http://127.0.0.1:9/schema.json"},
        {"type": "object", "$ref": "file:///etc/hostname"},
        {"type": "object", "$schema": "http://127.0.0.1:9/meta.json"},
    ],
)
def test_a_schema_that_cannot_be_used_is_the_tools_fault_and_fetches_nothing(schema: Any) -> None:
    call = ToolCall(id="1", name="tool", arguments={"a": "b"})
    result = Validators().problem(spec("tool", schema=schema), call)
    assert result is not None
    assert result.error_code == "internal_error"
    assert "schema" in result.text


def test_a_reference_inside_the_schema_is_followed() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/small"}},
        "$defs": {"small": {"type": "integer", "maximum": 3}},
    }
    assert accepts(schema, {"a": 2})
    message, _ = problem(schema, {"a": 4})
    assert '"a"' in message


def test_a_schema_is_compiled_once_and_the_cache_is_bounded() -> None:
    validators = Validators()
    for count in range(MAX_COMPILED + 10):
        schema = {"type": "object", "title": str(count)}
        assert (
            validators.problem(spec("tool", schema=schema), ToolCall(id="1", name="tool")) is None
        )
    assert len(validators._compiled) <= MAX_COMPILED
    known = dict(validators._compiled)
    one = spec("tool", schema=schema)
    validators.problem(one, ToolCall(id="1", name="tool"))
    assert validators._compiled == known
