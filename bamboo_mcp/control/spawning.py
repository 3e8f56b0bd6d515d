"""Starting and resuming subagents as tools: what may be asked for, checked before it begins."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

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
from bamboo_mcp.domain.subagents import (
    MAX_TASK_CHARS,
    RUN_STRIDE,
    Context,
    Subagent,
    SubagentSpec,
)
from bamboo_mcp.ports import Notices, SubagentPort, ToolContext
from bamboo_mcp.tools.function import tool
from bamboo_mcp.tools.output_schema import check_schema


class SpawnLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of a subagent's run; what is left out has the server's, which are the widest."""

    max_rounds: Annotated[int, Meta(description="Model calls.", ge=1, le=10_000)] | None = None
    timeout_s: Annotated[float, Meta(description="Seconds of run time.", gt=0)] | None = None
    max_tokens: Annotated[int, Meta(description="Tokens in and out.", ge=1)] | None = None
    max_cost_usd: (
        Annotated[float, Meta(description="US dollars its model may cost.", gt=0)] | None
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
    context: Annotated[
        Context,
        Meta(
            description="fresh: it knows its task alone; fork: also the end of the conversation "
            "of its parent (you, if you are a subagent, else parent_id)."
        ),
    ] = "fresh"
    fork_messages: Annotated[
        int, Meta(description="With fork: at most so many messages.", ge=1, le=1_000)
    ] = 20
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
    output_schema: (
        Annotated[
            dict[str, Any],
            Meta(description="JSON Schema its answer must fit; the answer is then in output."),
        ]
        | None
    ) = None
    wait_s: Annotated[
        float, Meta(description="Wait up to this long for the result.", ge=0, le=86_400)
    ] = 0
    idempotency_key: Annotated[
        str,
        Meta(
            description="Your name for this call: repeated within 24 h it starts nothing again.",
            max_length=200,
        ),
    ] = ""


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
        Not for one file to read or one command: call that tool directly; nor for more work of one
        that has ended: resume_subagent. It knows nothing of your conversation, so the task must say
        everything. It goes on when this call returns; wait with await_subagents, correct with
        steer_subagent.

        Returns subagent_id, session_id, run_id, status and a cursor; with wait_s also what
        await_subagents gives.

        Example: {"task": "List the ten largest Python files under src/ with their line counts.",
        "title": "largest files"}
        """
        child = await self._subagents.spawn(await self._spec(context, args))
        return await self._started(context, child, args.wait_s)

    @tool(title="Resume a subagent", effect="control", group="control", open_world=True)
    async def resume_subagent(
        self,
        context: ToolContext,
        *,
        subagent_id: Annotated[str, Meta(description="One that has ended: sub_…", min_length=1)],
        message: Annotated[str, Meta(description="What it shall do now.")],
        wait_s: Annotated[
            float, Meta(description="Wait up to this long for the result.", ge=0, le=86_400)
        ] = 0,
    ) -> Spawned:
        """Let a subagent that has ended work on, with its whole conversation and your message.

        Use it for a follow-up question, for the rest of a task, or when its status is lost,
        cancelled or error: it goes on from what it had. Not while it is at work: that is
        steer_subagent. Its model, tools and permissions stay; its limits begin anew.

        Returns what spawn_subagent returns: the same subagent_id with a new run_id. From now on its
        status, result and steers are those of the new run; get_subagent with run_id shows an
        earlier one.

        Example: {"subagent_id": "sub_k3…", "message": "Now do the same for tests/."}
        """
        check_text("message", message, MAX_TASK_CHARS)
        child = await self._subagents.resume(
            SubagentId(subagent_id), message, caller=caller_of(context)
        )
        return await self._started(context, child, wait_s)

    async def _started(self, context: ToolContext, child: Subagent, wait_s: float) -> Spawned:
        self._notices.watch(child)
        self._notices.told(child, caller_of(context))
        if wait_s > 0:
            wanted = [child.subagent_id]
            waited = await self._waiting.wait(context, wanted, "all", wait_s, "", field="wait_s")
            return _spawned(child, waited)
        return Spawned(
            subagent_id=child.subagent_id,
            session_id=child.session_id,
            run_id=child.run_id,
            status=child.status,
            # Nothing of its run was shown yet, however far it is by now.
            cursor=cursor_of({child.subagent_id: len(child.earlier_runs) * RUN_STRIDE}),
            subagents=None,
            done=None,
            notices=list(self._notices.take(caller_of(context))),
        )

    async def _spec(self, context: ToolContext, args: SpawnArguments) -> SubagentSpec:
        check_text("task", args.task, MAX_TASK_CHARS)
        check_length("system_prompt", args.system_prompt, MAX_TASK_CHARS)
        if args.output_schema is not None:
            check_schema(args.output_schema)
        caller = caller_of(context)
        parent, depth = await self._parent(context, args.parent_id, caller)
        if args.context == "fork" and parent is None:
            raise InvalidInput(
                "context 'fork' copies the conversation of a parent, and there is none: parent_id "
                "is empty",
                hint="Name a subagent that is at work in parent_id, or say all it must know in the "
                "task.",
            )
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
            context=args.context,
            fork_messages=args.fork_messages,
            output_schema=args.output_schema,
            idempotency_key=args.idempotency_key,
            asked=_asked(args) if args.idempotency_key else "",
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


def _asked(args: SpawnArguments) -> str:
    """What two calls with one key must have in common; how long to wait is not part of it."""
    plain = SpawnArguments(task=args.task)
    given = {
        name: value
        for name, value in msgspec.structs.asdict(args).items()
        if name not in ("wait_s", "idempotency_key")
        and (name == "task" or value != getattr(plain, name))
    }
    return hashlib.sha256(msgspec.json.encode(given, order="sorted")).hexdigest()


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
