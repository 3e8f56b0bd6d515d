"""Starting a subagent as a tool: what may be asked for, checked before anything begins."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from bamboo_mcp.control.answers import Awaited, Spawned
from bamboo_mcp.control.caller import caller_of
from bamboo_mcp.control.paging import cursor_of
from bamboo_mcp.control.sizes import check_length, check_text
from bamboo_mcp.control.waiting import Waiting
from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.domain.ids import SubagentId, Subject
from bamboo_mcp.domain.models import Effort
from bamboo_mcp.domain.questions import PermissionMode
from bamboo_mcp.domain.runs import Limits
from bamboo_mcp.domain.subagents import MAX_TASK_CHARS, Subagent, SubagentSpec
from bamboo_mcp.ports import Notices, SubagentPort, ToolContext
from bamboo_mcp.tools.function import tool


class SpawnLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of a subagent's run; what is left out has the server's, which are the widest."""

    max_rounds: Annotated[int, Meta(description="Model calls.", ge=1, le=10_000)] | None = None
    timeout_s: Annotated[float, Meta(description="Seconds of run time.", gt=0)] | None = None
    max_tokens: Annotated[int, Meta(description="Tokens in and out.", ge=1)] | None = None
    max_cost_usd: (
        Annotated[float, Meta(description="US dollars; carried along, not enforced yet.", gt=0)]
        | None
    ) = None


class SpawnArguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Empty text means the server's default."""

    task: Annotated[str, Meta(description="What to do and what to hand back, in full.")]
    title: Annotated[str, Meta(description="A few words for lists.", max_length=200)] = ""
    role: Annotated[str, Meta(description="Who it is: reviewer.", max_length=200)] = ""
    model: Annotated[str, Meta(description="provider:model, or a role such as fast.")] = ""
    effort: Annotated[Effort, Meta(description="How hard to think.")] | None = None
    system_prompt: Annotated[str, Meta(description="Put before the task.")] = ""
    isolation: Annotated[str, Meta(description="in_process, or another launcher.")] = ""
    workspace: Annotated[str, Meta(description="A folder inside the server's workspace.")] = ""
    parent_id: Annotated[str, Meta(description="Make it a child of this subagent.")] = ""
    allow_tools: (
        Annotated[
            tuple[str, ...],
            Meta(description="Only these tools; naming spawn_subagent lets it spawn too."),
        ]
        | None
    ) = None
    deny_tools: Annotated[tuple[str, ...], Meta(description="Not these tools.")] = ()
    limits: Annotated[SpawnLimits, Meta(description="Bounds of its run.")] | None = None
    permission_mode: (
        Annotated[PermissionMode, Meta(description="Only narrower than the server's counts.")]
        | None
    ) = None
    wait_s: Annotated[
        float, Meta(description="Wait up to this long for the result.", ge=0, le=86_400)
    ] = 0


class SubagentSpawning:
    """`limits` are the server's defaults."""

    def __init__(
        self, subagents: SubagentPort, notices: Notices, waiting: Waiting, *, limits: Limits
    ) -> None:
        self._subagents = subagents
        self._notices = notices
        self._waiting = waiting
        self._limits = limits

    @tool(title="Start a subagent", effect="control", group="control", open_world=True)
    async def spawn_subagent(self, context: ToolContext, args: SpawnArguments) -> Spawned:
        """Start an agent that works on a task by itself, with its own model, context and tools.

        Use it for work that takes several steps, can run beside yours, or would fill your context.
        Not for one file to read or one command: call that tool directly. It knows nothing of your
        conversation, so the task must say everything. It goes on when this call returns; wait with
        await_subagents, correct with steer_subagent.

        Returns subagent_id, session_id, run_id, status and a cursor; with wait_s also what
        await_subagents gives.

        Example: {"task": "List the ten largest Python files under src/ with their line counts.",
        "title": "largest files"}
        """
        child = await self._subagents.spawn(await self._spec(context, args))
        self._notices.watch(child)
        if args.wait_s > 0:
            wanted = [child.subagent_id]
            waited = await self._waiting.wait(
                context, wanted, "all", args.wait_s, "", field="wait_s"
            )
            return _spawned(child, waited)
        return Spawned(
            subagent_id=child.subagent_id,
            session_id=child.session_id,
            run_id=child.run_id,
            status=child.status,
            # Nothing of its run was shown yet, however far it is by now.
            cursor=cursor_of({child.subagent_id: 0}),
            subagents=None,
            done=None,
            notices=list(self._notices.take(caller_of(context))),
        )

    async def _spec(self, context: ToolContext, args: SpawnArguments) -> SubagentSpec:
        check_text("task", args.task, MAX_TASK_CHARS)
        check_length("system_prompt", args.system_prompt, MAX_TASK_CHARS)
        caller = caller_of(context)
        parent, depth = await self._parent(context, args.parent_id, caller)
        return SubagentSpec(
            task=args.task,
            title=args.title,
            role=args.role,
            model=args.model,
            effort=args.effort,
            system_prompt=args.system_prompt,
            isolation=args.isolation,
            workspace=args.workspace,
            allow_tools=args.allow_tools,
            deny_tools=args.deny_tools,
            limits=self._limits_of(args.limits),
            permission_mode=args.permission_mode,
            caller=caller,
            parent_id=parent,
            depth=depth,
            may_spawn=args.allow_tools is not None and "spawn_subagent" in args.allow_tools,
        )

    async def _parent(
        self, context: ToolContext, parent_id: str, caller: Subject
    ) -> tuple[SubagentId | None, int]:
        """Whose child the new one is, and how deep it is then."""
        if context.subagent_id is not None:
            if parent_id not in ("", context.subagent_id):
                raise InvalidInput(
                    f"parent_id {parent_id!r} is not you: a subagent's children are its own",
                    hint="Leave parent_id out.",
                )
            return context.subagent_id, context.depth + 1
        if not parent_id:
            return None, context.depth + 1
        parent = await self._subagents.get(SubagentId(parent_id), caller=caller)
        return parent.subagent_id, parent.spec.depth + 1

    def _limits_of(self, wanted: SpawnLimits | None) -> Limits:
        """The server's limits, narrowed by what is wanted; a caller never raises its own bound."""
        if wanted is None:
            return self._limits
        given: dict[str, float] = {}
        for name, value in msgspec.structs.asdict(wanted).items():
            most = getattr(self._limits, name)
            if value is not None and most is not None and value > most:
                raise InvalidInput(
                    f"limits.{name} {value:g} is more than this server allows: {most:g}",
                    hint=f"Leave it out, or let a person raise limits.{name} in the settings.",
                )
            if value is not None:
                given[name] = value
        return msgspec.structs.replace(self._limits, **given)


def _spawned(child: Subagent, waited: Awaited) -> Spawned:
    return Spawned(
        subagent_id=child.subagent_id,
        session_id=child.session_id,
        run_id=child.run_id,
        status=waited.subagents[0].status,
        cursor=waited.cursor,
        subagents=waited.subagents,
        done=waited.done,
        notices=waited.notices,
    )
