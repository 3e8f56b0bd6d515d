"""The parameters of a function as the JSON Schema of a tool, and the check of a call against it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, get_type_hints

import msgspec

from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.domain.tools import ToolResult, ToolSpec
from bamboo_mcp.ports import ToolContext

ToolFunction = Callable[..., Awaitable[Any]]

_SHOWN_VALUE_CHARS = 80


class Signature:
    """What is read off a function once, when somebody first asks for it (start-up pays nothing)."""

    def __init__(self, function: ToolFunction, output: type[msgspec.Struct] | None) -> None:
        self.function = function
        self._output = output

    @cached_property
    def hints(self) -> dict[str, Any]:
        return get_type_hints(self.function, include_extras=True)

    @cached_property
    def parameters(self) -> Sequence[inspect.Parameter]:
        """Those a caller fills in: all but `self` and the `ToolContext`, which comes first."""
        parameters = list(inspect.signature(self.function).parameters.values())
        if parameters and parameters[0].name == "self":
            parameters = parameters[1:]
        if not parameters or self.hints.get(parameters[0].name) is not ToolContext:
            raise TypeError(f"{self.function.__qualname__}: the first parameter is no ToolContext")
        return parameters[1:]

    @cached_property
    def takes_struct(self) -> bool:
        """The one parameter is called `args` and is a Struct."""
        if [parameter.name for parameter in self.parameters] != ["args"]:
            return False
        return _is_struct(self.hints["args"])

    @cached_property
    def arguments(self) -> type[msgspec.Struct]:
        if self.takes_struct:
            struct: type[msgspec.Struct] = self.hints["args"]
            if not struct.__struct_config__.forbid_unknown_fields:
                raise TypeError(
                    f"{struct.__name__} must be declared with forbid_unknown_fields=True"
                )
            return struct
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        for parameter in self.parameters:
            if parameter.name not in self.hints:
                raise TypeError(f"{self.function.__qualname__}: {parameter.name!r} has no type")
            kind = self.hints[parameter.name]
            if parameter.default is inspect.Parameter.empty:
                fields.append((parameter.name, kind))
            else:
                fields.append((parameter.name, kind, parameter.default))
        return msgspec.defstruct(
            self.function.__name__, fields, kw_only=True, frozen=True, forbid_unknown_fields=True
        )

    @cached_property
    def input_schema(self) -> Mapping[str, Any]:
        schema = _flat_schema(self.arguments)
        for field in schema["properties"].values():
            _drop_null(field)
        return schema

    @cached_property
    def output_schema(self) -> Mapping[str, Any] | None:
        output = self._output or self.hints.get("return")
        # `ToolResult` is a Struct too, and what it carries is not known from here.
        return _flat_schema(output) if _is_struct(output) and output is not ToolResult else None


def _is_struct(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _flat_schema(struct: Any) -> dict[str, Any]:
    """The schema with its root spelled out (clients want `type: object` there)."""
    (root,), parts = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
    name = root["$ref"].rsplit("/", 1)[-1]
    # Through JSON and back: msgspec leaves tuples and the like as defaults.
    schema: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(parts.pop(name)))
    schema.pop("title", None)
    if parts:
        schema["$defs"] = msgspec.json.decode(msgspec.json.encode(parts))
    return schema


def _drop_null(field: dict[str, Any]) -> None:
    """`X | None = None` is offered as an optional X: models then just leave it out."""
    choices = field.get("anyOf", [])
    if field.get("default", ...) is None and {"type": "null"} in choices:
        field.pop("default")
        choices.remove({"type": "null"})
        if len(choices) == 1:
            field.update(field.pop("anyOf")[0])


def invalid_arguments(spec: ToolSpec, arguments: Mapping[str, Any], reason: str) -> InvalidInput:
    """msgspec's reason as one line: the field, its value, what is allowed."""
    fields: Mapping[str, Any] = spec.input_schema["properties"]
    unknown = [name for name in arguments if name not in fields]
    allowed = ", ".join(fields) or "none"
    if unknown:
        shown = ", ".join(_shown(name) for name in unknown[:5])
        return InvalidInput(
            f"{spec.name}: unknown field {shown}", hint=f"The fields are: {allowed}."
        )
    missing = [name for name in spec.input_schema.get("required", ()) if name not in arguments]
    if missing:
        shown = ", ".join(repr(name) for name in missing)
        return InvalidInput(f"{spec.name}: missing field {shown}", hint=_wanted(fields, missing[0]))
    what, _, where = reason.partition(" - at ")
    place = where.strip("`").removeprefix("$.")
    name = re.split(r"[.\[]", place, maxsplit=1)[0]
    message = f"{spec.name}: {place!r} is {_shown(_value_at(arguments, place))}: {what}"
    return InvalidInput(message, hint=_wanted(fields, name))


def _wanted(fields: Mapping[str, Any], name: str) -> str:
    field = dict(fields.get(name, {}))
    description = field.pop("description", "")
    return f"{name!r} takes {msgspec.json.encode(field).decode()}. {description}".strip()


def _value_at(arguments: Any, place: str) -> Any:
    value = arguments
    for step in re.findall(r"[^.\[\]]+", place):
        try:
            value = value[int(step)] if isinstance(value, list | tuple) else value[step]
        except (KeyError, IndexError, TypeError, ValueError):
            break  # "[...]" stands for any key or element: show what holds it
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_VALUE_CHARS else text[: _SHOWN_VALUE_CHARS - 1] + "…"
