"""`open_app`: the agent, opened and closed in order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec
from anyio.abc import TaskGroup

from bamboo_mcp.app.crew import Crew, make_crew
from bamboo_mcp.app.report import report
from bamboo_mcp.app.sinks import attach_sinks
from bamboo_mcp.app.storage import Storage, home_storage, memory_storage
from bamboo_mcp.app.toolbox import Toolbox
from bamboo_mcp.contributions import Services
from bamboo_mcp.domain.runs import Outcome, RunRequest
from bamboo_mcp.domain.value import Value
from bamboo_mcp.plugin_host.host import PluginHost
from bamboo_mcp.plugin_host.sources import ModuleSource, PluginSource
from bamboo_mcp.ports import (
    NO_PARTS,
    EventLog,
    Execute,
    Inbox,
    Models,
    Questions,
    RunBody,
    RunParts,
    Runs,
    SessionStore,
    SubagentPort,
    ToolExecutor,
)
from bamboo_mcp.providers.catalog import ROLES, ProviderCatalog, Wrap
from bamboo_mcp.settings import Settings
from bamboo_mcp.workspace.chosen import Workspace

BUILTINS = (
    "bamboo_mcp.builtins.models",
    "bamboo_mcp.builtins.tools",
    "bamboo_mcp.builtins.launchers",
    "bamboo_mcp.builtins.metrics",
)
"""In order of precedence; each is a plugin like anybody's."""


class App(Value, frozen=True, kw_only=True):
    """The agent, open: what servers and the command line use."""

    settings: Settings
    home: Path
    workspace: Workspace
    tools: ToolExecutor
    """For clients: under the rules of direct calls, only the exposed groups."""
    subagents: SubagentPort
    models: Models
    sessions: SessionStore
    log: EventLog
    listen: Callable[..., Callable[[], None]]
    """`listen(listener, kinds)`: be told of this process's events; see `runs.listeners`."""
    runs: Runs
    questions: Questions
    health: Callable[[], Awaitable[Mapping[str, Any]]]
    plugins: PluginHost
    model_problem: str
    """Why subagents that name no model will fail; "" when nothing is known against it."""


@asynccontextmanager
async def open_app(
    settings: Settings,
    *,
    sources: Sequence[PluginSource] = (),
    in_memory: bool = False,
    wrap: Wrap | None = None,
) -> AsyncIterator[App]:
    """Open the agent; leaving stops every subagent, writes what is unwritten, closes the rest.

    `sources` are plugins beside those that ship. With `in_memory` nothing is written to the home
    folder: sessions, runs and results end with the process. `wrap` is put around every provider.

    Raises:
        BambooError: A setting cannot be honoured (the workspace), or the home folder not be used.
    """
    workspace = Workspace(settings.workspace.root)
    with ExitStack() as files:
        home = settings.home
        storage = memory_storage(home) if in_memory else home_storage(settings, files)
        host = _load_plugins(settings, sources)
        try:
            async with _catalog(settings, host, wrap) as models, anyio.create_task_group() as group:
                if storage.background is not None:
                    await group.start(storage.background)
                try:
                    yield _assemble(settings, workspace, storage, host, models, group, files)
                finally:
                    group.cancel_scope.cancel()
        except BaseExceptionGroup as wrapped:
            raise _innermost(wrapped) from None


def _innermost(error: BaseException) -> BaseException:
    """What happened inside, without the group around it that only says that there was a group."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _load_plugins(settings: Settings, sources: Sequence[PluginSource]) -> PluginHost:
    shipped = ModuleSource(BUILTINS)
    chosen = [shipped, *sources] if settings.plugins.enabled else [shipped]
    return PluginHost(chosen, disabled=settings.plugins.disabled)


def _catalog(settings: Settings, host: PluginHost, wrap: Wrap | None) -> ProviderCatalog:
    chosen = settings.models
    return ProviderCatalog(
        host.providers,
        providers=settings.providers,
        roles={role: getattr(chosen, role) for role in ROLES},
        fallbacks={role: fallbacks_of(settings, role) for role in ROLES},
        local=chosen.local,
        wrap=wrap,
    )


def fallbacks_of(settings: Settings, role: str) -> Sequence[str]:
    """Not for a model that was named on the command line: it, and no other, is what is wanted."""
    key = f"models.{role}"
    named = settings.source_of(key).startswith("--")
    if named and not settings.source_of(f"{key}_fallbacks").startswith("--"):
        return ()
    names: Sequence[str] = getattr(settings.models, f"{role}_fallbacks")
    return names


def _assemble(
    settings: Settings,
    workspace: Workspace,
    storage: Storage,
    host: PluginHost,
    models: ProviderCatalog,
    group: TaskGroup,
    files: ExitStack,
) -> App:
    from bamboo_mcp.agent.run import Agent
    from bamboo_mcp.compaction.stop import StopWhenFull
    from bamboo_mcp.permissions.questions import QuestionBroker
    from bamboo_mcp.runs.endings import RunEndings
    from bamboo_mcp.runs.execution import RunExecution

    questions = QuestionBroker(allow_model_approvals=settings.permissions.allow_model_approvals)
    execution = RunExecution(
        log=storage.log, sessions=storage.sessions, owner=storage.owner, board=storage.board
    )

    def execute(
        request: RunRequest, inbox: Inbox, parts: RunParts = NO_PARTS, /
    ) -> Coroutine[Any, Any, Outcome]:
        return execution.execute(request, body_for(parts), inbox, parts)

    def body_for(parts: RunParts) -> RunBody:
        if parts.tools is None and parts.provider is None:
            return tidied
        tools_for = None if parts.tools is None else toolbox.in_place(parts.tools)
        return endings.around(agent.using(provider=parts.provider, tools_for=tools_for))

    async def health() -> Mapping[str, Any]:
        return await report(host, toolbox, workspace)

    crew = make_crew(
        settings,
        storage,
        workspace=workspace,
        models=models,
        questions=questions,
        execution=execution,
        group=group,
    )
    endings = RunEndings()
    services = msgspec.structs.replace(
        _services(settings, storage, models, questions, crew, execute, health),
        reserve=execution.reserve,
        start=group.start,
        at_run_end=endings.add,
    )
    toolbox = Toolbox(settings, host, services)
    agent = Agent(
        models=models,
        tools_for=toolbox.for_run,
        questions=questions,
        compactor=StopWhenFull(),
        roles_said=[role for role in ROLES if getattr(settings.models, role)],
    )
    tidied = endings.around(agent)
    crew.launchers.update(host.make_launchers(services))
    attach_sinks(host.make_event_sinks(services), storage.log, files)
    return App(
        settings=settings,
        home=storage.home,
        workspace=workspace,
        tools=toolbox.for_clients(),
        subagents=crew.subagents,
        models=models,
        sessions=storage.sessions,
        log=storage.log,
        listen=storage.log.listen,
        runs=storage.board,
        questions=questions,
        health=health,
        plugins=host,
        model_problem=models.problem(),
    )


def _services(
    settings: Settings,
    storage: Storage,
    models: Models,
    questions: Questions,
    crew: Crew,
    execute: Execute,
    health: Callable[[], Awaitable[Mapping[str, Any]]],
) -> Services:
    """What plugins may use. A listener of theirs that raises is dropped, ours is not."""
    from bamboo_mcp.runs.listeners import until_it_raises

    return Services(
        settings=settings,
        home=storage.home,
        in_memory=storage.in_memory,
        subagents=crew.subagents,
        models=models,
        questions=questions,
        sessions=storage.sessions,
        log=storage.log,
        runs=storage.board,
        health=health,
        execute=execute,
        listen=partial(until_it_raises, storage.log.listen),
        notices=crew.notices,
    )
