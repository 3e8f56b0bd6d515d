from __future__ import annotations

import pytest

from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.tools.output_schema import OutputCheck, answer_in, check_schema, wanted

SCHEMA = {
    "type": "object",
    "properties": {"count": {"type": "integer"}, "names": {"$ref": "#/$defs/names"}},
    "required": ["count"],
    "$defs": {"names": {"type": "array", "items": {"type": "string"}}},
}


@pytest.mark.parametrize(
    "text",
    [
        '{"count": 1}',
        '  {"count": 1, "names": []}\n',
        '```json\n{"count": 1}\n```',
        '```\n{"count":\n1}\n```\n',
    ],
)
def test_json_that_fits_is_taken_with_or_without_a_fence(text: str) -> None:
    assert OutputCheck(SCHEMA).problem(text) == ""
    assert answer_in(text)["count"] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("forty-two", "not JSON"),
        ('Here it is: {"count": 1}', "not JSON"),
        ('{"count": 1} {"count": 2}', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("{}", "count"),
        ('{"count": "1"}', "/count"),
        ('{"count": 1, "names": ["a", 2]}', "/names/1"),
        ('"\ud800"', "not JSON"),
    ],
)
def test_what_does_not_fit_is_said_with_its_place_and_never_quoted_at_length(
    text: str, said: str
) -> None:
    problem = OutputCheck(SCHEMA).problem(text)
    assert said in problem
    assert len(problem) < 2_000


def test_a_megabyte_that_does_not_fit_is_not_repeated_to_the_model() -> None:
    assert len(OutputCheck({"type": "integer"}).problem('"' + "x" * 1_000_000 + '"')) < 500


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "no such type"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "file:///etc/hostname"},
        {"$ref": "http://127.0.0.1:1/schema.json"},
        {"description": "x" * 60_000},
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_before_anything_runs(
    schema: dict[str, object],
) -> None:
    with pytest.raises(InvalidInput, match="output_schema"):
        check_schema(schema)


def test_the_model_is_told_the_schema_itself() -> None:
    assert '"required":["count"]' in wanted(SCHEMA)
