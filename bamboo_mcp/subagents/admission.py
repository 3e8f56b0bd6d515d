"""Who may become a subagent: what was asked, checked and completed, before anything is started."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping

import msgspec

from bamboo_mcp.domain.errors import InvalidInput, LimitReached
from bamboo_mcp.domain.ids import RunId, SessionId, SubagentId
from bamboo_mcp.domain.questions import PermissionMode, narrower
from bamboo_mcp.domain.runs import Limits, RunRequest
from bamboo_mcp.domain.subagents import MAX_TASK_CHARS, SubagentSpec
from bamboo_mcp.domain.value import Value
from bamboo_mcp.ports import Launcher, Models
from bamboo_mcp.tools.output_schema import check_schema


class SubagentRules(Value, frozen=True, kw_only=True):
    """The bounds of this process, from settings."""

    default_isolation: str = "in_process"
    max_depth: int = 4
    max_concurrent: int = 16
    """Side by side at each depth, so that a parent that waits never starves its children."""
    max_unfinished: int = 1_000
    default_mode: PermissionMode = "default"
    max_mode: PermissionMode = "accept_edits"
    spawn_tools: tuple[str, ...] = ()
    """What a subagent that may not spawn is denied."""


class Admission:
    """Completes a spec from the rules and its parent.

    `resolve_workspace(asked, parent's or "")` gives the folder to work in, "" for none; it raises
    `WorkspaceError` for one outside.
    """

    def __init__(
        self,
        rules: SubagentRules,
        *,
        launchers: Mapping[str, Launcher],
        models: Models,
        resolve_workspace: Callable[[str, str], str],
    ) -> None:
        self._rules = rules
        self._launchers = launchers
        self._models = models
        self._resolve_workspace = resolve_workspace

    def check_task(self, spec: SubagentSpec, unfinished: int) -> None:
        """What can be said without looking anything up.

        Raises:
            InvalidInput, LimitReached: With the value and the bound.
        """
        if not spec.task.strip():
            raise InvalidInput("the task is empty", hint="say what the subagent shall do")
        if len(spec.task) > MAX_TASK_CHARS:
            raise InvalidInput(
                f"the task has {len(spec.task)} characters, at most {MAX_TASK_CHARS} are taken",
                hint="write the material to a file and name the file in the task",
            )
        if spec.output_schema is not None:
            check_schema(spec.output_schema)
        if spec.depth > self._rules.max_depth:
            raise LimitReached(
                f"a subagent at depth {spec.depth} is refused, the deepest is "
                f"{self._rules.max_depth}",
                hint="do the work in this agent, or raise subagents.max_depth",
            )
        if unfinished >= self._rules.max_unfinished:
            raise LimitReached(
                f"{unfinished} subagents are unfinished, no more are taken",
                hint="await or cancel some, or raise subagents.max_queued",
            )

    async def complete(self, spec: SubagentSpec, parent: SubagentSpec | None) -> SubagentSpec:
        """Fill in what was left open; never freer than the parent.

        Raises:
            UnknownModel, AuthenticationFailed, WorkspaceError, InvalidInput: What cannot be had.
        """
        isolation = spec.isolation or self._rules.default_isolation
        if isolation not in self._launchers:
            known = ", ".join(sorted(self._launchers))
            raise InvalidInput(f"isolation {isolation!r} is not known; there is: {known}")
        asked = spec.model or (_asked(parent) if parent is not None else "")
        provider, model = await self._models.resolve(asked)
        mode = narrower(spec.permission_mode or self._rules.default_mode, self._rules.max_mode)
        base = ""
        if parent is not None:
            mode = narrower(mode, parent.permission_mode or self._rules.default_mode)
            base = parent.workspace
            spec = _within(parent, spec)
        return msgspec.structs.replace(
            spec,
            model=f"{provider.name}:{model}",
            # A role is asked again at each start if it can go on to another model; else what it
            # came to now is what will answer, however long it waits for its turn.
            model_asked=asked if self._models.goes_on(asked) else None,
            isolation=isolation,
            permission_mode=mode,
            workspace=self._resolve_workspace(spec.workspace, base),
        )

    async def complete_again(self, spec: SubagentSpec) -> SubagentSpec:
        """For a new run of one that was admitted: its model, by what the settings say now.

        Raises:
            As `complete`.
        """
        return await self.complete(msgspec.structs.replace(spec, model=_asked(spec)), None)

    def launcher(self, spec: SubagentSpec) -> Launcher:
        return self._launchers[spec.isolation]

    def request(
        self, spec: SubagentSpec, subagent_id: SubagentId, session_id: SessionId, run_id: RunId
    ) -> RunRequest:
        denied = spec.deny_tools if spec.may_spawn else spec.deny_tools + self._rules.spawn_tools
        return RunRequest(
            run_id=run_id,
            session_id=session_id,
            subagent_id=subagent_id,
            model=_asked(spec),
            effort=spec.effort,
            system_prompt=_instructions(spec),
            limits=spec.limits,
            mode=spec.permission_mode or self._rules.default_mode,
            workspace=spec.workspace,
            allow_tools=spec.allow_tools,
            deny_tools=denied,
            depth=spec.depth,
            output_schema=spec.output_schema,
        )


def _asked(spec: SubagentSpec) -> str:
    return spec.model if spec.model_asked is None else spec.model_asked


def _instructions(spec: SubagentSpec) -> str:
    if not spec.role:
        return spec.system_prompt
    role = f"Your role: {spec.role}."
    return f"{role}\n\n{spec.system_prompt}" if spec.system_prompt else role


def _within(parent: SubagentSpec, spec: SubagentSpec) -> SubagentSpec:
    """`spec` with no tool and no bound beyond its parent's."""
    return msgspec.structs.replace(
        spec,
        deny_tools=tuple(dict.fromkeys(parent.deny_tools + spec.deny_tools)),
        allow_tools=_common(parent.allow_tools, spec.allow_tools),
        limits=_tighter(parent.limits, spec.limits),
    )


def _common(outer: tuple[str, ...] | None, inner: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The entries of `inner` that `outer` allows; None allows all. `*` stands for any letters."""
    if outer is None or inner is None:
        return inner if outer is None else outer
    plain = [entry.lower().replace("-", "_") for entry in outer]
    return tuple(
        entry
        for entry in inner
        if any(fnmatch.fnmatchcase(entry.lower().replace("-", "_"), pattern) for pattern in plain)
    )


def _tighter(outer: Limits, inner: Limits) -> Limits:
    """Each bound the smaller of the two; None is no bound."""
    pairs = (
        (name, getattr(outer, name), getattr(inner, name)) for name in Limits.__struct_fields__
    )
    return Limits(
        **{
            name: mine if theirs is None else theirs if mine is None else min(theirs, mine)
            for name, theirs, mine in pairs
        }
    )
