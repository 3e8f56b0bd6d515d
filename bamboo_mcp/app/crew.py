"""The subagents' side of the agent: their rules, lives and manager."""

from __future__ import annotations

from anyio.abc import TaskGroup

from bamboo_mcp.app.storage import Storage
from bamboo_mcp.control.notices import NoticeBoard
from bamboo_mcp.domain.value import Value
from bamboo_mcp.ports import Launcher, Models, Questions
from bamboo_mcp.runs.execution import RunExecution
from bamboo_mcp.settings import Settings
from bamboo_mcp.subagents.admission import Admission, SubagentRules
from bamboo_mcp.subagents.births import Births
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
    "resume_subagent",
)
"""What a subagent does not have unless it may spawn (reference 10.1)."""


class Crew(Value, frozen=True, kw_only=True):
    """The subagents, how they are launched (filled by plugins later), and what is told of them."""

    subagents: SubagentManager
    launchers: dict[str, Launcher]
    notices: NoticeBoard


def make_crew(
    settings: Settings,
    storage: Storage,
    *,
    workspace: Workspace,
    models: Models,
    questions: Questions,
    execution: RunExecution,
    group: TaskGroup,
) -> Crew:
    launchers: dict[str, Launcher] = {}
    notices = NoticeBoard(lambda hear: storage.log.listen(hear, NoticeBoard.KINDS))
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
        on_end=lambda child, outcome: notices.ended(child.request.run_id, outcome),
    )
    storage.log.listen(lifetimes.observe, lifetimes.KINDS)
    directory = Directory(lifetimes=lifetimes, sessions=storage.sessions, board=storage.board)
    admission = Admission(
        rules, launchers=launchers, models=models, resolve_workspace=workspace.resolve
    )
    births = Births(
        admission=admission,
        lifetimes=lifetimes,
        directory=directory,
        sessions=storage.sessions,
        log=storage.log,
        board=storage.board,
        owner=storage.owner,
    )
    subagents = SubagentManager(
        births=births,
        lifetimes=lifetimes,
        directory=directory,
        sessions=storage.sessions,
        log=storage.log,
        board=storage.board,
        questions=questions,
    )
    return Crew(subagents=subagents, launchers=launchers, notices=notices)
