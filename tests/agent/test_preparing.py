"""Finding a run's model and tools may hang: the run can be cancelled, and its time runs."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

from bamboo_mcp.domain.events import SteerDelivered
from bamboo_mcp.domain.ids import new_steer_id
from bamboo_mcp.domain.models import ModelEntry
from bamboo_mcp.domain.runs import Limits, Steer
from bamboo_mcp.domain.tokens import Sizing
from bamboo_mcp.domain.tools import ToolCall, ToolResult, ToolSpec, text_result
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.ports import Provider, ToolContext
from bamboo_mcp.testing.scripted import ScriptedProvider, scripted_models
from tests.agent.bare_run import BareRun


class Hanging:
    """As models or as tools: whatever is asked of it does not come until it is let go."""

    def __init__(self) -> None:
        self.asked = anyio.Event()
        self.release = anyio.Event()

    async def resolve(self, name: str) -> tuple[Provider, str]:
        await self._hang()
        return ScriptedProvider("hello"), "test"

    async def menu(self, *, ask: bool = False) -> Sequence[ModelEntry]:
        return ()

    def goes_on(self, name: str) -> bool:
        return False

    def sizing(self, provider: str, model: str) -> Sizing:
        return Sizing()

    def cost(self, provider: str, model: str, usage: Usage) -> float | None:
        return None

    async def load_prices(self, provider: str = "", model: str = "") -> None:
        return

    async def list_tools(self) -> Sequence[ToolSpec]:
        await self._hang()
        return ()

    async def call_tool(self, call: ToolCall, context: ToolContext) -> ToolResult:
        return text_result("never called")

    async def _hang(self) -> None:
        self.asked.set()
        await self.release.wait()


def run_with(hanging: Hanging, where: str, limits: Limits | None = None) -> BareRun:
    if where == "model":
        return BareRun(hanging, limits=limits)
    return BareRun(scripted_models(ScriptedProvider("hello")), tools=hanging, limits=limits)


@pytest.mark.parametrize("where", ["model", "tools"])
async def test_a_run_can_be_cancelled_while_its_model_and_tools_are_sought(where: str) -> None:
    hanging = Hanging()
    run = run_with(hanging, where)
    async with anyio.create_task_group() as group:
        group.start_soon(run.start)
        await hanging.asked.wait()
        run.inbox.cancel("enough")
    assert run.outcome is not None
    assert (run.outcome.status, run.outcome.error_code) == ("cancelled", "cancelled")
    assert run.outcome.error == "enough"


@pytest.mark.parametrize("where", ["model", "tools"])
async def test_the_time_of_a_run_is_up_while_its_model_and_tools_are_sought(where: str) -> None:
    outcome = await run_with(Hanging(), where, Limits(timeout_s=0.01)).play()
    assert (outcome.status, outcome.error_code) == ("error", "limit_reached")
    assert "timeout_s = 0.01" in outcome.error


async def test_an_interrupting_message_does_not_end_the_preparation() -> None:
    hanging = Hanging()
    run = run_with(hanging, "model")
    async with anyio.create_task_group() as group:
        group.start_soon(run.start)
        await hanging.asked.wait()
        run.inbox.put(Steer(steer_id=new_steer_id(), text="hurry", delivery="interrupt"))
        hanging.release.set()
    assert run.outcome is not None
    assert (run.outcome.status, run.outcome.text) == ("completed", "hello")
    assert [e.round for e in run.events if isinstance(e, SteerDelivered)] == [1]


async def test_a_run_cancelled_before_it_began_waits_for_no_model() -> None:
    run = run_with(Hanging(), "model")
    run.inbox.cancel("changed my mind")
    outcome = await run.play()
    assert (outcome.status, outcome.error) == ("cancelled", "changed my mind")
    assert run.events == []
