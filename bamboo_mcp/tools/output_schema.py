"""Answers that must be JSON of a schema: said to the model, read from its text, and judged."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from bamboo_mcp.domain.errors import InvalidInput

if TYPE_CHECKING:
    from jsonschema_rs import Validator

MAX_SCHEMA_CHARS = 50_000
"""It stands in the system prompt of every round."""

_FAULTS = 5
_FAULT_CHARS = 300

_FENCED = re.compile(r"```[a-zA-Z]*\s*\n(.*)\n\s*```", re.DOTALL)


class OutputCheck:
    """Judges the answers of one run."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._validator = _compiled(schema)

    def problem(self, text: str) -> str:
        """What is wrong with an answer, in words for the model; "" when it fits."""
        try:
            value = answer_in(text)
        except ValueError as error:
            return f"it is not JSON ({error})"
        try:
            found = list(itertools.islice(self._validator.iter_errors(value), _FAULTS))
        except (ValueError, RecursionError) as error:
            return f"it could not be checked ({_line(error)})"
        return "; ".join(
            f"at {_place(error.instance_path)}: {error.message[:_FAULT_CHARS]}" for error in found
        )


def answer_in(text: str) -> Any:
    """The JSON value that an answer is; a code fence around it does not count.

    Raises:
        ValueError: It is none.
    """
    body = text.strip()
    if fenced := _FENCED.fullmatch(body):
        body = fenced[1]
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise ValueError(_line(error)) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def wanted(schema: Mapping[str, Any]) -> str:
    """What a model is told about the form of its answer."""
    return (
        "Your final answer must be one JSON value that fits the JSON Schema below, and nothing "
        "else: no words before or after it, no code fence. What you write while you still call "
        f"tools is free.\n{msgspec.json.encode(schema).decode()}"
    )


def check_schema(schema: Mapping[str, Any]) -> None:
    """Can answers be judged by it?

    Raises:
        InvalidInput: It is too long, or no JSON Schema.
    """
    size = len(msgspec.json.encode(schema))
    if size > MAX_SCHEMA_CHARS:
        raise InvalidInput(
            f"output_schema has {size:,} characters; at most {MAX_SCHEMA_CHARS:,} are taken",
            hint="Ask for less in one answer.",
        )
    try:
        _compiled(schema)
    except ValueError as error:
        raise InvalidInput(
            f"output_schema is no JSON Schema: {_line(error)}",
            hint='For example {"type": "object", "properties": {"count": {"type": "integer"}}, '
            '"required": ["count"]}. References are followed only inside it.',
        ) from error


def _compiled(schema: Mapping[str, Any]) -> Validator:
    import jsonschema_rs  # late: most runs have no schema

    # Masked: a message that quotes the value would quote the whole answer.
    return jsonschema_rs.validator_for(dict(schema), mask="the value", retriever=_no_retrieval)


def _no_retrieval(uri: str) -> Any:
    """A `$ref` must not make us read files or the network."""
    raise ValueError(f"it refers to {uri[:200]!r}")


def _place(path: list[str | int]) -> str:
    return "/" + "/".join(str(part) for part in path) if path else "the top"


def _line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:_FAULT_CHARS]
