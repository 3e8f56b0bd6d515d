"""The subagents' side of the agent: their rules, lives and manager."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from anyio.abc import TaskGroup

from bamboo_mcp.app.storage import Storage
from bamboo_mcp.domain.runs import Outcome
from bamboo_mcp.ports import Launcher, Models, Questions
from bamboo_mcp.runs.execution import RunExecution
from bamboo_mcp.settings import Settings
from bamboo_mcp.subagents.admission import Admission, SubagentRules
from bamboo_mcp.subagents.child import Child
from bamboo_mcp.subagents.directory import Directory
from bamboo_mcp.subagents.lifetimes import Lifetimes
from bamboo_mcp.subagents.manager import SubagentManager
from bamboo_mcp.workspace.chosen import Workspace

SPAWN_TOOLS = (
    "spawn_subagent",
    "await_subagents",
    "steer_subagent",
    "answer_subagent",
    "cancel_subagent",
    "get_subagent",
    "list_subagents",
)
"""What a subagent does not have unless it may spawn (reference 10.1)."""


def make_subagents(
    settings: Settings,
    storage: Storage,
    *,
    workspace: Workspace,
    models: Models,
    questions: Questions,
    execution: RunExecution,
    launchers: Mapping[str, Launcher],
    group: TaskGroup,
    on_end: Callable[[Child, Outcome], None],
) -> SubagentManager:
    """`launchers` may still be empty; it is looked into at each spawn.

    `on_end` is told of each end once it is safe on the disk.
    """
    chosen = settings.subagents
    rules = SubagentRules(
        default_isolation=chosen.isolation,
        max_depth=chosen.max_depth,
        max_concurrent=chosen.max_concurrent,
        max_unfinished=chosen.max_concurrent + chosen.max_queued,
        default_mode=settings.permissions.default_mode,
        max_mode=settings.permissions.max_mode,
        spawn_tools=SPAWN_TOOLS,
    )
    lifetimes = Lifetimes(
        group=group,
        log=storage.log,
        execution=execution,
        max_concurrent=rules.max_concurrent,
        release=storage.board.release,
        on_end=on_end,
    )
    storage.log.listen(lifetimes.observe, lifetimes.KINDS)
    return SubagentManager(
        admission=Admission(
            rules,
            launchers=launchers,
            models=models,
            resolve_workspace=workspace.resolve,
        ),
        lifetimes=lifetimes,
        directory=Directory(lifetimes=lifetimes, sessions=storage.sessions, board=storage.board),
        sessions=storage.sessions,
        log=storage.log,
        board=storage.board,
        questions=questions,
        owner=storage.owner,
    )
