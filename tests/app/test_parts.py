"""What a plugin may bring to one run: its own tools and model, under the rules of all runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from bamboo_mcp.agent.inbox import SteeringInbox
from bamboo_mcp.app.opening import App, open_app
from bamboo_mcp.contributions import Services, ToolsContribution
from bamboo_mcp.domain.errors import RunBusy
from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.messages import ToolResultBlock, user_message
from bamboo_mcp.domain.runs import Outcome, RunRequest
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.plugin_host.hookspecs import hookimpl
from bamboo_mcp.plugin_host.sources import ObjectSource
from bamboo_mcp.ports import Conversation, RunParts, ToolContext, ToolExecutor
from bamboo_mcp.settings import Settings
from bamboo_mcp.testing.scripted import Call, ScriptedProvider, Step
from bamboo_mcp.tools.function import FunctionExecutor, tool

SESSION = SessionId("ses_1")


@tool(title="A test tool", effect="read")
async def look(context: ToolContext) -> str:
    """Look."""
    return "seen by mine"


@tool(title="A test tool", effect="write")
async def scribble(context: ToolContext) -> str:
    """Write."""
    return "written"


class Schedules:
    """A plugin that keeps its services, to run agents by itself."""

    services: Services

    @hookimpl
    def contribute_tools(self) -> list[ToolsContribution]:
        return [ToolsContribution(name="schedules", load=self._tools)]

    def _tools(self, services: Services) -> ToolExecutor:
        self.services = services
        return FunctionExecutor([])


@asynccontextmanager
async def opened(home: Path) -> AsyncIterator[tuple[App, Services]]:
    plugin = Schedules()
    settings = Settings.model_validate({"home": home})
    async with open_app(
        settings, sources=[ObjectSource({"schedules": plugin})], in_memory=True
    ) as app:
        await app.sessions.create(
            SessionMeta(session_id=SESSION, created_at=1.0), [user_message("go")]
        )
        yield app, plugin.services


async def test_a_plugin_runs_an_agent_with_its_own_tools_model_and_hook(tmp_path: Path) -> None:
    provider = ScriptedProvider(
        Step(calls=(Call(name="look"), Call(name="scribble"))), "that was it"
    )

    async def hook(outcome: Outcome, conversation: Conversation | None) -> None:
        assert conversation is not None
        conversation.append(user_message(f"the schedule ended: {outcome.status}"))

    async with opened(tmp_path) as (app, services):
        assert services.reserve is not None
        run_id = await services.reserve(SESSION)
        with pytest.raises(RunBusy) as busy:
            await services.reserve(SESSION)
        assert busy.value.run_id == run_id
        request = RunRequest(run_id=run_id, session_id=SESSION, mode="plan", model="any:thing")
        parts = RunParts(
            tools=FunctionExecutor([look, scribble]), provider=provider, on_complete=hook
        )
        with anyio.fail_after(5):
            outcome = await services.execute(request, SteeringInbox(), parts)
        stored = await app.sessions.load(SESSION)
    assert (outcome.status, outcome.text) == ("completed", "that was it")
    assert {spec.name for spec in provider.requests[0].tools} == {"look", "scribble"}
    results = [b for b in stored.messages[2].blocks if isinstance(b, ToolResultBlock)]
    assert [result.is_error for result in results] == [False, True], "a plan may only read"
    assert stored.messages[-1].text == "the schedule ended: completed"


async def test_names_denied_to_a_run_are_denied_of_its_own_tools_too(tmp_path: Path) -> None:
    provider = ScriptedProvider("hm")
    async with opened(tmp_path) as (_, services):
        assert services.reserve is not None
        request = RunRequest(
            run_id=await services.reserve(SESSION), session_id=SESSION, deny_tools=("look",)
        )
        parts = RunParts(tools=FunctionExecutor([look, scribble]), provider=provider)
        with anyio.fail_after(5):
            await services.execute(request, SteeringInbox(), parts)
    assert [spec.name for spec in provider.requests[0].tools] == ["scribble"]
