"""Arguments checked against a tool's schema, with one error that names the field."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from bamboo_mcp.domain.tools import ToolCall, ToolResult, ToolSpec, error_result
from bamboo_mcp.tools.excerpts import closest, shown

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError, Validator

MAX_COMPILED = 2000
"""Past this many schemas the cache starts afresh: upstreams may send new ones for ever."""


class Validators:
    """Compiled schemas, each compiled when a call first needs it. One is shared by all wrappers."""

    def __init__(self) -> None:
        # By identity, which costs nothing; the schema is held, so its id cannot be used again.
        self._compiled: dict[int, tuple[Mapping[str, Any], Validator]] = {}

    def problem(self, spec: ToolSpec, call: ToolCall) -> ToolResult | None:
        """The error result for arguments that `spec` does not take, or None."""
        known = self._compiled.get(id(spec.input_schema))
        try:
            validator = known[1] if known else self._compile(spec.input_schema)
        except ValueError as error:
            return error_result(
                "internal_error",
                f"{call.name!r} cannot be called: its input schema is not valid ({_line(error)})",
                hint="This is a fault of the tool; use another one.",
            )
        arguments = call.arguments
        if not isinstance(arguments, dict):
            arguments = dict(arguments)
        try:
            if validator.is_valid(arguments):
                return None
            found = list(itertools.islice(validator.iter_errors(arguments), 20))
        except (ValueError, RecursionError) as error:
            return _refused(call, f"the arguments are not JSON: {_line(error)}", "")
        if not found:
            return None
        return _refused(call, *_explain(min(found, key=_urgency), spec.input_schema))

    def _compile(self, schema: Mapping[str, Any]) -> Validator:
        import jsonschema_rs

        if len(self._compiled) >= MAX_COMPILED:
            self._compiled.clear()
        # Masked: a message that quotes the value would quote megabytes.
        validator = jsonschema_rs.validator_for(
            dict(schema), mask="the value", retriever=_no_retrieval
        )
        self._compiled[id(schema)] = (schema, validator)
        return validator


def _no_retrieval(uri: str) -> NoReturn:
    """A `$ref` of somebody's schema must not make us read files or the network."""
    raise ValueError(f"it refers to {shown(uri)}, and references are followed only inside a schema")


def _urgency(error: ValidationError) -> int:
    """Unknown fields first (often the misspelt required one), then missing ones."""
    order = ("additionalProperties", "unevaluatedProperties", "required")
    return order.index(error.kind.name) if error.kind.name in order else len(order)


def _explain(error: ValidationError, schema: Mapping[str, Any]) -> tuple[str, str]:
    """What is wrong with which field, and what is allowed."""
    path, facts = error.instance_path, error.kind.as_dict()
    match error.kind.name:
        case "additionalProperties" | "unevaluatedProperties":
            name = str(facts["unexpected"][0])
            known = _properties(schema, error.schema_path[:-1])
            near = closest(name, known)
            hint = f"Did you mean {near!r}? " if near else ""
            fields = ", ".join(known[:30]) + (", …" if len(known) > 30 else "")
            hint += f"Allowed: {fields}." if known else "No fields are allowed there."
            return f"unknown field {shown(_field([*path, name]))}", hint
        case "required":
            field = _field([*path, str(facts["property"])])
            return f"field {shown(field)} is missing", "It is required."
        case "anyOf" | "oneOf" if any(facts.get("context", ())):
            forms = [str(form[0].message) for form in facts["context"] if form][:4]
            wrong = "; and ".join(dict.fromkeys(forms))
        case _:
            wrong = error.message
    field = shown(_field(path)) if path else "(the arguments as a whole)"
    return f"field {field}: {wrong[:400]}; got {shown(error.instance)}", ""


def _field(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _properties(schema: Mapping[str, Any], path: Sequence[str | int]) -> list[str]:
    """Names of the properties at a place in a schema; none when a `$ref` stands in between."""
    place: Any = schema
    for part in path:
        if isinstance(place, Mapping) and part in place:
            place = place[part]
        elif isinstance(place, list) and isinstance(part, int) and part < len(place):
            place = place[part]
        else:
            return []
    properties = place.get("properties") if isinstance(place, Mapping) else None
    return sorted(properties) if isinstance(properties, Mapping) else []


def _refused(call: ToolCall, what: str, hint: str) -> ToolResult:
    return error_result("invalid_input", f"{call.name!r} was not called: {what}", hint=hint)


def _line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:300]
