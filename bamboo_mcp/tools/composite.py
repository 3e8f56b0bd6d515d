"""`CompositeExecutor`: the one place where builtin, plugin and upstream tools meet."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence

import anyio
import msgspec

from bamboo_mcp.domain.tools import Group, ToolCall, ToolResult, ToolSpec
from bamboo_mcp.domain.value import Value
from bamboo_mcp.ports import ToolContext, ToolExecutor
from bamboo_mcp.tools.catalogue import listing_order, unknown_tool
from bamboo_mcp.tools.excerpts import shown

logger = logging.getLogger(__name__)

TOOL_NAME = re.compile(r"[a-z0-9_]{1,64}")

MAX_FAULTS = 20
"""Of one member; one that offers a thousand bad tools needs no thousand lines."""


class Member(Value, frozen=True, kw_only=True):
    """A family of tools in a composite. Its tools are listed in `group`, whatever they say."""

    name: str
    group: Group
    executor: ToolExecutor


class MemberFault(Value, frozen=True, kw_only=True):
    """Why a member's tools, or one of them, are missing."""

    member: str
    message: str


class ShadowedTool(Value, frozen=True, kw_only=True):
    """`member` offers `tool` too, but `by` came first and serves it."""

    tool: str
    member: str
    by: str


class _Listing:
    """What one member last said."""

    __slots__ = ("failed_at", "faults", "specs")

    def __init__(self) -> None:
        self.specs: tuple[ToolSpec, ...] = ()
        self.faults: tuple[str, ...] = ()
        self.failed_at = math.inf


class CompositeExecutor:
    """All members' tools as one executor. Members come in the order of their precedence.

    A member is asked for its list once, then again when `changed` names it, when a call names a
    tool nobody has, and every `retry_s` after it failed. No list is awaited for a call of a known
    tool, and none longer than `list_timeout_s`.
    """

    def __init__(
        self,
        members: Sequence[Member],
        *,
        list_timeout_s: float = 3.0,
        retry_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._members = tuple(members)
        self._listings = tuple(_Listing() for _ in self._members)
        self._list_timeout_s = list_timeout_s
        self._retry_s = retry_s
        self._clock = clock
        self._due = set(range(len(self._members)))
        self._retry_at = math.inf
        self._lock = anyio.Lock()
        self._specs: tuple[ToolSpec, ...] = ()
        self._routes: dict[str, tuple[ToolSpec, int]] = {}
        self.shadowed: tuple[ShadowedTool, ...] = ()

    @property
    def faults(self) -> tuple[MemberFault, ...]:
        """What is missing and why, for `health`."""
        pairs = zip(self._members, self._listings, strict=True)
        return tuple(
            MemberFault(member=member.name, message=message)
            for member, listing in pairs
            for message in listing.faults
        )

    def changed(self, member: str | None = None) -> None:
        """The tools of `member` (None: of all) are others now: ask again when next needed."""
        self._due.update(i for i, m in enumerate(self._members) if member in (None, m.name))

    async def list_tools(self) -> Sequence[ToolSpec]:
        if self._due or self._clock() >= self._retry_at:
            await self._refresh()
        return self._specs

    async def find_tool(self, name: str) -> ToolSpec | None:
        route = await self._route(name)
        return route[0] if route else None

    async def call_tool(self, call: ToolCall, context: ToolContext) -> ToolResult:
        route = await self._route(call.name)
        if route is None:
            return unknown_tool(call.name, tuple(self._routes))
        return await self._members[route[1]].executor.call_tool(call, context)

    async def _route(self, name: str) -> tuple[ToolSpec, int] | None:
        route = self._routes.get(name)
        # A member that must be asked again holds up only calls of its own tools.
        if route is not None and route[1] not in self._due:
            return route
        if route is None and TOOL_NAME.fullmatch(name):
            healthy = (i for i, item in enumerate(self._listings) if item.failed_at == math.inf)
            self._due.update(healthy)
        if self._due:
            await self._refresh()
        return self._routes.get(name)

    async def _refresh(self) -> None:
        async with self._lock:
            now = self._clock()
            due = self._due | {
                i for i, item in enumerate(self._listings) if now >= item.failed_at + self._retry_s
            }
            if not due:
                return
            # Cleared before asking: a `changed` that arrives meanwhile must not get lost.
            self._due = set()
            try:
                if len(due) == 1:
                    await self._ask(*due)
                else:
                    async with anyio.create_task_group() as group:
                        for index in due:
                            group.start_soon(self._ask, index)
            except BaseException:
                self._due |= due
                raise
            self._rebuild()

    async def _ask(self, index: int) -> None:
        """Take note of one member's list; what goes wrong there is noted too, not raised."""
        member, listing = self._members[index], self._listings[index]
        listed: object = None
        problem = f"its list did not come within {self._list_timeout_s} s"
        with anyio.move_on_after(self._list_timeout_s):
            try:
                listed = await member.executor.list_tools()
                problem = "" if isinstance(listed, Sequence) else f"its list is {shown(listed)}"
            except (Exception, SystemExit) as error:
                logger.exception("tools of %s could not be listed", member.name)
                problem = f"listing its tools failed with {type(error).__name__}"
        if problem or not isinstance(listed, Sequence):
            listing.specs, listing.faults, listing.failed_at = (), (problem,), self._clock()
            return
        usable, problems = _usable(listed, member.group)
        listing.specs, listing.faults, listing.failed_at = usable, problems, math.inf

    def _rebuild(self) -> None:
        routes: dict[str, tuple[ToolSpec, int]] = {}
        shadowed: list[ShadowedTool] = []
        for index, listing in enumerate(self._listings):
            for spec in listing.specs:
                if spec.name not in routes:
                    routes[spec.name] = spec, index
                    continue
                first = self._members[routes[spec.name][1]].name
                member = self._members[index].name
                shadowed.append(ShadowedTool(tool=spec.name, member=member, by=first))
        specs = tuple(sorted((spec for spec, _ in routes.values()), key=listing_order))
        if specs != self._specs:  # unchanged: stays the same object, which is how others notice
            self._specs = specs
        self._routes = routes
        self.shadowed = tuple(shadowed)
        self._retry_at = min((item.failed_at for item in self._listings), default=math.inf)
        self._retry_at += self._retry_s


def _usable(listed: Sequence[object], group: Group) -> tuple[tuple[ToolSpec, ...], tuple[str, ...]]:
    """The specs that can be offered, and what is wrong with the others."""
    usable: list[ToolSpec] = []
    problems: list[str] = []
    for spec in listed:
        if not isinstance(spec, ToolSpec):
            problems.append(f"its list has {shown(spec)} where a ToolSpec is expected")
        elif not TOOL_NAME.fullmatch(spec.name):
            problems.append(f"tool {shown(spec.name)} left out: a name is 1 to 64 of [a-z0-9_]")
        elif not _is_object_schema(spec.input_schema):
            problems.append(f"tool {spec.name!r} left out: its input schema is not of type object")
        else:
            usable.append(
                spec if spec.group == group else msgspec.structs.replace(spec, group=group)
            )
    return tuple(usable), tuple(problems[:MAX_FAULTS])


def _is_object_schema(schema: object) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "object"
