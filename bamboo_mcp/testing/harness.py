"""A small agent in memory: a model of yours, tools of yours, and the real loop, runs and subagents.

async with open_harness(ScriptedProvider("hello")) as harness:
    child = await harness.spawn("say hello")
    outcome = await harness.ended(child.subagent_id)
    assert outcome.text == "hello"
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, cast

import anyio

from bamboo_mcp.agent.inbox import SteeringInbox
from bamboo_mcp.agent.run import Agent
from bamboo_mcp.compaction.stop import StopWhenFull
from bamboo_mcp.domain.events import EventRecord, RunEvent
from bamboo_mcp.domain.ids import LOCAL, OwnerId, SubagentId, new_owner_id
from bamboo_mcp.domain.runs import Outcome
from bamboo_mcp.domain.subagents import Subagent, SubagentSpec
from bamboo_mcp.permissions.policy import ModePolicy
from bamboo_mcp.permissions.questions import QuestionBroker
from bamboo_mcp.ports import (
    NO_PARTS,
    Compactor,
    Launcher,
    Models,
    Provider,
    Questions,
    SessionStore,
    ToolExecutor,
)
from bamboo_mcp.runs.board import ListenableLog, RunBoard
from bamboo_mcp.runs.execution import RunExecution
from bamboo_mcp.runs.memory_log import MemoryEventLog
from bamboo_mcp.sessions.memory import MemorySessionStore
from bamboo_mcp.subagents.admission import Admission, SubagentRules
from bamboo_mcp.subagents.births import Births
from bamboo_mcp.subagents.directory import Directory
from bamboo_mcp.subagents.in_process import InProcessLauncher
from bamboo_mcp.subagents.lifetimes import Lifetimes
from bamboo_mcp.subagents.manager import SubagentManager
from bamboo_mcp.testing.scripted import scripted_models
from bamboo_mcp.tools.bounded import BoundedExecutor
from bamboo_mcp.tools.catalogue import Listed
from bamboo_mcp.tools.denylist import DenylistExecutor
from bamboo_mcp.tools.function import FunctionExecutor
from bamboo_mcp.tools.permitted import PermittedExecutor
from bamboo_mcp.tools.validation import Validators


@dataclass(frozen=True, slots=True, kw_only=True)
class Harness:
    """What `open_harness` gives: the ports of an agent, and short ways to use them."""

    subagents: SubagentManager
    log: ListenableLog
    sessions: SessionStore
    board: RunBoard
    questions: QuestionBroker

    async def spawn(self, task: str, **spec: Any) -> Subagent:
        return await self.subagents.spawn(SubagentSpec(task=task, **spec))

    async def ended(self, subagent_id: SubagentId, *, within_s: float = 5.0) -> Outcome:
        """The outcome of a subagent; fails when it does not end in time."""
        with anyio.fail_after(within_s):
            while True:
                one = await self.subagents.get(subagent_id, caller=LOCAL)
                if one.outcome is not None:
                    return one.outcome
                await self.subagents.wait(
                    [subagent_id],
                    caller=LOCAL,
                    timeout_s=within_s,
                    seen={subagent_id: one.last_seq},
                )

    async def run(self, task: str, **spec: Any) -> Outcome:
        """Spawn and wait."""
        return await self.ended((await self.spawn(task, **spec)).subagent_id)

    async def events(self, subagent_id: SubagentId) -> Sequence[RunEvent]:
        one = await self.subagents.get(subagent_id, caller=LOCAL)
        return [record.event for record in await self.log.read(one.run_id, limit=100_000)]

    async def until(
        self, subagent_id: SubagentId, holds: Callable[[RunEvent], bool], *, within_s: float = 5.0
    ) -> EventRecord:
        """Follow a subagent's log to the first event for which `holds` is true."""
        one = await self.subagents.get(subagent_id, caller=LOCAL)
        with anyio.fail_after(within_s):
            async for record in self.log.follow(one.run_id):
                if holds(record.event):
                    return record
        raise AssertionError("the run ended without that event")


@asynccontextmanager
async def open_harness(
    provider: Provider | Models,
    *,
    tools: ToolExecutor | None = None,
    rules: SubagentRules | None = None,
    launchers: Mapping[str, Launcher] | None = None,
    compactor: Compactor | None = None,
    log: ListenableLog | None = None,
    sessions: SessionStore | None = None,
    owner: OwnerId | None = None,
    alive: Callable[[OwnerId], bool] = lambda owner: False,
    question_timeout_s: float = 300.0,
    allow_model_approvals: bool = False,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Harness]:
    """An agent over `provider` and `tools`; leave out what you do not care about.

    `log` and `sessions` default to memory; pass the ones of a home folder to test with real files.
    """
    models = _models(provider)
    owner = owner or new_owner_id()
    log = log or MemoryEventLog()
    sessions = sessions or MemorySessionStore()
    board = RunBoard(log, owner, alive)
    questions = QuestionBroker(allow_model_approvals=allow_model_approvals)
    agent = _agent(models, tools or FunctionExecutor(()), questions, compactor, question_timeout_s)
    execution = RunExecution(log=log, sessions=sessions, owner=owner, board=board)

    rules = rules or SubagentRules()
    in_process = InProcessLauncher(
        execute=lambda request, inbox, parts=NO_PARTS: execution.execute(
            request, agent, inbox, parts
        ),
        new_inbox=SteeringInbox,
    )
    async with anyio.create_task_group() as group:
        lifetimes = Lifetimes(
            group=group,
            log=log,
            execution=execution,
            max_concurrent=rules.max_concurrent,
            release=board.release,
        )
        remove = log.listen(lifetimes.observe, lifetimes.KINDS)
        admission = Admission(
            rules,
            launchers={"in_process": in_process, **(launchers or {})},
            models=models,
            resolve_workspace=lambda asked, base: asked or base,
        )
        manager = _manager(admission, lifetimes, sessions, log, board, questions, owner, clock)
        try:
            yield Harness(
                subagents=manager, log=log, sessions=sessions, board=board, questions=questions
            )
        finally:
            group.cancel_scope.cancel()
    remove()


def _agent(
    models: Models,
    tools: ToolExecutor,
    questions: Questions,
    compactor: Compactor | None,
    question_timeout_s: float,
) -> Agent:
    tools_of_run = lru_cache(partial(DenylistExecutor, _permitted(tools, question_timeout_s)))
    return Agent(
        models=models,
        tools_for=lambda request: tools_of_run(
            deny_tools=request.deny_tools, allow_tools=request.allow_tools
        ),
        questions=questions,
        compactor=compactor or StopWhenFull(),
    )


def _manager(
    admission: Admission,
    lifetimes: Lifetimes,
    sessions: SessionStore,
    log: ListenableLog,
    board: RunBoard,
    questions: Questions,
    owner: OwnerId,
    clock: Callable[[], float],
) -> SubagentManager:
    directory = Directory(lifetimes=lifetimes, sessions=sessions, board=board)
    births = Births(
        admission=admission,
        lifetimes=lifetimes,
        directory=directory,
        sessions=sessions,
        log=log,
        board=board,
        owner=owner,
        clock=clock,
    )
    return SubagentManager(
        births=births,
        lifetimes=lifetimes,
        directory=directory,
        sessions=sessions,
        log=log,
        board=board,
        questions=questions,
        clock=clock,
    )


def _models(given: Provider | Models) -> Models:
    if hasattr(given, "resolve"):
        return cast(Models, given)
    return scripted_models(given)


def _permitted(tools: ToolExecutor, question_timeout_s: float) -> PermittedExecutor:
    validators = Validators()
    return PermittedExecutor(
        BoundedExecutor(Listed(tools), validators=validators),
        ModePolicy(question_timeout_s=question_timeout_s),
        validators=validators,
    )
