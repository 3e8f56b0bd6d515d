from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from bamboo_mcp.app.opening import App, open_app
from bamboo_mcp.contributions import (
    EventSinkContribution,
    ProviderContribution,
    Services,
    ToolsContribution,
)
from bamboo_mcp.domain.events import EventRecord
from bamboo_mcp.domain.ids import LOCAL, new_call_id
from bamboo_mcp.domain.runs import Outcome
from bamboo_mcp.domain.subagents import SubagentSpec
from bamboo_mcp.domain.tools import ToolCall, ToolResult
from bamboo_mcp.plugin_host.hookspecs import hookimpl
from bamboo_mcp.plugin_host.sources import ObjectSource
from bamboo_mcp.ports import ToolContext, ToolExecutor
from bamboo_mcp.settings import Settings
from bamboo_mcp.testing.contracts.tool_executor import quiet_context
from bamboo_mcp.testing.scripted import Call, ScriptedProvider, Step
from bamboo_mcp.tools.function import FunctionExecutor, tool


class Double:
    """A plugin that brings a scripted model."""

    def __init__(self, *steps: Step | str) -> None:
        self._steps = steps

    @hookimpl
    def contribute_providers(self) -> Sequence[ProviderContribution]:
        return [ProviderContribution(type="double", load=lambda config: self._provider())]

    def _provider(self) -> ScriptedProvider:
        return ScriptedProvider(*self._steps, name="double")


@asynccontextmanager
async def opened(tmp_path: Path, *steps: Step | str, **plugins: object) -> AsyncIterator[App]:
    (tmp_path / "workspace").mkdir()
    settings = Settings.model_validate(
        {
            "home": tmp_path / "home",
            "models": {"primary": "double:model"},
            "workspace": {"root": str(tmp_path / "workspace")},
            "server": {"max_result_chars": 2_000},
        }
    )
    sources = [ObjectSource({"double": Double(*steps), **plugins})]
    async with open_app(settings, sources=sources, in_memory=True) as app:
        yield app


async def ended(app: App, task: str) -> Outcome:
    with anyio.fail_after(10):
        one = await app.subagents.spawn(SubagentSpec(task=task))
        waited = await app.subagents.wait([one.subagent_id], caller=LOCAL, timeout_s=10)
    [state] = waited.subagents
    assert state.outcome is not None
    return state.outcome


async def call(app: App, tool: str, **arguments: Any) -> ToolResult:
    with anyio.fail_after(10):
        return await app.tools.call_tool(
            ToolCall(id=new_call_id(), name=tool, arguments=arguments), quiet_context()
        )


class Sink:
    def __init__(self, error: BaseException) -> None:
        self.heard = 0
        self.error = error

    def emit(self, record: EventRecord) -> None:
        self.heard += 1
        raise self.error

    @hookimpl
    def contribute_event_sinks(self) -> Sequence[EventSinkContribution]:
        return [EventSinkContribution(name="sink", load=lambda services: self)]


@pytest.mark.parametrize("error", [SystemExit(3), ZeroDivisionError()])
async def test_a_sink_that_raises_is_dropped_and_takes_nothing_down(
    tmp_path: Path, error: BaseException
) -> None:
    sink = Sink(error)
    async with opened(tmp_path, "done", sink=sink) as app:
        assert (await ended(app, "first")).text == "done"
        assert sink.heard == 1


async def test_an_end_is_told_once_with_the_next_answer(tmp_path: Path) -> None:
    async with opened(tmp_path, "done") as app:
        spawned = await call(app, "spawn_subagent", task="first")
        assert spawned.structured is not None
        one = spawned.structured["subagent_id"]
        with anyio.fail_after(10):
            await app.subagents.wait([one], caller=LOCAL, timeout_s=10)
        listed = (await call(app, "list_subagents")).structured
        assert listed is not None and listed["notices"] == [f"{one} finished"]


async def test_a_guard_that_fails_refuses_the_run_and_is_named(tmp_path: Path) -> None:
    class Guard:
        @hookimpl
        def deny_tools(self) -> list[str]:
            raise OSError("policy server down")

    async with opened(tmp_path, "done", guard=Guard()) as app:
        outcome = await ended(app, "first")
        assert (outcome.status, outcome.error_code) == ("error", "plugin_error")
        assert "'guard'" in outcome.error
        assert outcome.rounds == 0


class Talkative:
    """A plugin whose tool answers at length."""

    @hookimpl
    def contribute_tools(self) -> Sequence[ToolsContribution]:
        return [ToolsContribution(name="talkative", load=self.make)]

    def make(self, services: Services) -> ToolExecutor:
        @tool(title="Talk", effect="read")
        async def talk(context: ToolContext) -> str:
            """Talk."""
            return "word " * 10_000

        return FunctionExecutor([talk])


async def test_a_client_gets_no_more_of_a_plugins_tool_than_the_setting_allows(
    tmp_path: Path,
) -> None:
    step = Step(calls=(Call(name="talk"),))
    async with opened(tmp_path, step, "done", plugin=Talkative()) as app:
        direct = await call(app, "talk")
        assert 1_500 < len(direct.text) < 2_200
        assert "of 50000 characters left out" in direct.text
        assert (await ended(app, "talk")).text == "done"
        [one] = await app.subagents.list_subagents(caller=LOCAL)
        session = await app.sessions.load(one.session_id)
        assert len(str(session.messages)) > 40_000, "a run has a bound of its own"
