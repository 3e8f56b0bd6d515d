"""An async function with typed, documented parameters becomes a tool; some of them, an executor.

A family of tools is a class whose methods share what the constructor got, or a module of functions:

    class Notes:
        def __init__(self, store: NoteStore) -> None:
            self._store = store

        @tool(title="Write note", group="workspace", effect="write")
        async def write_note(
            self,
            context: ToolContext,
            *,
            topic: Annotated[str, Meta(description="What it is about.", min_length=1)],
            text: Annotated[str, Meta(description="The note itself.")],
            pinned: Annotated[bool, Meta(description="Keep it on top.")] = False,
        ) -> str:
            \"\"\"Keep a note for later rounds. Not for files: use `write_file`.\"\"\"
            ...

    executor = FunctionExecutor(tools_of(Notes(store)))

The docstring is the description a model reads, the annotations are the JSON Schema, and arguments
are checked against it before the body runs. An optional one with bounds is written
`Annotated[str, Meta(max_length=9)] | None`: bounds belong to the string. A tool answers with a
`str`, with a `ToolResult`, or with a msgspec Struct (structured content, whose text is `as_text()`
when it has one). It fails by raising a `BambooError`.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import msgspec

from bamboo_mcp.domain.errors import BambooError, UnknownTool
from bamboo_mcp.domain.tools import (
    Effect,
    Group,
    ToolAnnotations,
    ToolCall,
    ToolResult,
    ToolSpec,
    error_result,
    result_of_error,
    text_result,
)
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.tools.signature import Signature, ToolFunction, invalid_arguments

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[a-z0-9_]{1,64}")


@runtime_checkable
class Readable(Protocol):
    """A Struct that words its own answer."""

    def as_text(self) -> str: ...


def answer(value: msgspec.Struct, text: str = "") -> ToolResult:
    """Facts as structured content, with `text` (default: the value's own words) beside them."""
    # By way of JSON, so that it is what a client will get: lists, not tuples.
    structured: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))
    if not text:
        text = value.as_text() if isinstance(value, Readable) else _lines(structured)
    return text_result(text, structured=structured)


def _lines(structured: Mapping[str, Any]) -> str:
    return "\n".join(
        f"{name}: {value if isinstance(value, str) else msgspec.json.encode(value).decode()}"
        for name, value in structured.items()
    )


class FunctionTool:
    """A function as a tool. Read from an instance of its class, it is bound to that instance."""

    def __init__(
        self,
        signature: Signature,
        make_spec: Callable[[], ToolSpec],
        name: str,
        owner: Any = None,
    ) -> None:
        self._signature = signature
        self._make_spec = make_spec
        self._owner = owner
        self.name = name

    def __get__(self, instance: Any, owner: Any = None) -> FunctionTool:
        if instance is None:
            return self
        return FunctionTool(self._signature, self._make_spec, self.name, instance)

    @cached_property
    def spec(self) -> ToolSpec:
        return self._make_spec()

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        """Check the arguments, run the body, and word what it returned.

        Raises:
            InvalidInput: An argument is unknown, missing, of the wrong type or out of range.
            BambooError: What the body raised.
        """
        signature = self._signature
        try:
            checked = msgspec.convert(arguments, signature.arguments)
        except msgspec.ValidationError as error:
            raise invalid_arguments(self.spec, arguments, str(error)) from None
        bound = () if self._owner is None else (self._owner,)
        if signature.takes_struct:
            returned = await signature.function(*bound, context, checked)
        else:
            returned = await signature.function(*bound, context, **msgspec.structs.asdict(checked))
        match returned:
            case ToolResult():
                return returned
            case str():
                return text_result(returned)
            case msgspec.Struct():
                return answer(returned)
        raise TypeError(f"tool {self.name!r} returned {type(returned).__name__}")


def tool(
    *,
    title: str,
    effect: Effect,
    group: Group = "plugins",
    name: str = "",
    output: type[msgspec.Struct] | None = None,
    destructive: bool | None = None,
    idempotent: bool | None = None,
    open_world: bool = False,
    sequential: bool = False,
    timeout_s: float | None = None,
) -> Callable[[ToolFunction], FunctionTool]:
    """Make an async function a tool.

    `output` gives the output schema when the function returns a `ToolResult` (see `answer`); a
    Struct in its return annotation does so by itself. `destructive` and `idempotent` follow from
    the effect when not said: only reading is harmless and repeatable.
    """
    reads = effect == "read"
    annotations = ToolAnnotations(
        read_only=reads,
        destructive=(not reads) if destructive is None else destructive,
        idempotent=reads if idempotent is None else idempotent,
        open_world=open_world,
    )

    def decorate(function: ToolFunction) -> FunctionTool:
        tool_name: str = name or function.__name__
        if not _NAME.fullmatch(tool_name):
            raise TypeError(f"{tool_name!r} is no tool name: a-z, 0-9 and _, at most 64 characters")
        if not function.__doc__ or not inspect.iscoroutinefunction(function):
            raise TypeError(f"tool {tool_name!r} must be an async function with a docstring")
        signature = Signature(function, output)
        description = _paragraphs(function.__doc__)

        def make_spec() -> ToolSpec:
            return ToolSpec(
                name=tool_name,
                description=description,
                input_schema=signature.input_schema,
                output_schema=signature.output_schema,
                title=title,
                annotations=annotations,
                effect=effect,
                group=group,
                sequential=sequential,
                timeout_s=timeout_s,
            )

        return FunctionTool(signature, make_spec, tool_name)

    return decorate


def _paragraphs(docstring: str) -> str:
    """Lines of a paragraph joined; lists and blank lines stay."""
    return re.sub(r"(?<!\n)\n(?![\n\s*-])", " ", inspect.cleandoc(docstring))


def tools_of(family: object) -> Sequence[FunctionTool]:
    """The tools of an object (bound to it) or of a module, in the order they are written."""
    names = [
        name
        for scope in reversed([family, *type(family).__mro__])
        for name, value in getattr(scope, "__dict__", {}).items()
        if isinstance(value, FunctionTool)
    ]
    return [getattr(family, name) for name in dict.fromkeys(names)]


class FunctionExecutor:
    """`FunctionTool`s as a `ToolExecutor`, listed in the order given."""

    def __init__(self, tools: Iterable[FunctionTool]) -> None:
        self._tools: dict[str, FunctionTool] = {}
        for one in tools:
            if one.name in self._tools:
                raise ValueError(f"two tools are called {one.name!r}")
            self._tools[one.name] = one
        self._specs: Sequence[ToolSpec] | None = None

    async def list_tools(self) -> Sequence[ToolSpec]:
        if self._specs is None:
            self._specs = self._readable()
        return self._specs

    def _readable(self) -> Sequence[ToolSpec]:
        specs: list[ToolSpec] = []
        for one in self._tools.values():
            try:
                specs.append(one.spec)
            except Exception:
                # A plugin's parameters may be impossible; that costs it its tool and no one else.
                logger.exception("tool %s is left out: its parameters cannot be read", one.name)
        return specs

    async def call_tool(self, call: ToolCall, context: ToolContext) -> ToolResult:
        found = self._tools.get(call.name)
        if found is None:
            known = ", ".join(self._tools) or "none"
            unknown = UnknownTool(f"no tool {call.name!r}", hint=f"The tools are: {known}.")
            return result_of_error(unknown)
        try:
            return await found.call(call.arguments, context)
        except BambooError as error:
            return result_of_error(error)
        except Exception:
            # The border of a tool call: what broke is the operator's to read, not the model's.
            logger.exception("tool %s failed: run %s, call %s", call.name, context.run_id, call.id)
            return error_result(
                "internal_error",
                f"{call.name} failed inside; this is a fault of the tool, not of the arguments",
                hint="The server's log has the details.",
            )
