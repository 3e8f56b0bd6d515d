"""A disk that fills up in the middle of a round: the run ends by that name, the history whole."""

from __future__ import annotations

import anyio
import pytest

from bamboo_mcp.domain.errors import StorageFull
from bamboo_mcp.domain.events import EventRecord, RunEvent, ToolFinished, ToolStarted
from bamboo_mcp.domain.ids import LOCAL, RunId
from bamboo_mcp.domain.messages import ToolCallBlock, ToolResultBlock
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.runs.memory_log import MemoryEventLog
from bamboo_mcp.testing.harness import open_harness
from bamboo_mcp.testing.scripted import Call, ScriptedProvider, Step
from bamboo_mcp.tools.function import FunctionExecutor, tool


class FillsUp(MemoryEventLog):
    """Has no room for events of `kind` (nor, from then on, for the end of any tool)."""

    def __init__(self, kind: type[RunEvent]) -> None:
        super().__init__()
        self._kind = kind
        self._full = False

    def append(self, run_id: RunId, event: RunEvent) -> EventRecord:
        self._full = self._full or isinstance(event, self._kind)
        if self._full and isinstance(event, ToolStarted | ToolFinished):
            raise StorageFull("no room is left")
        return super().append(run_id, event)


@tool(title="A test tool", effect="read")
async def look(context: ToolContext) -> str:
    """Look."""
    return "seen"


@pytest.mark.parametrize("kind", [ToolStarted, ToolFinished])
@pytest.mark.parametrize("count", [1, 2, 5])
async def test_a_full_disk_in_a_round_of_tools_is_named_and_every_call_answered(
    count: int, kind: type[RunEvent]
) -> None:
    provider = ScriptedProvider(Step(calls=tuple(Call(name="look") for _ in range(count))))
    async with open_harness(provider, tools=FunctionExecutor([look]), log=FillsUp(kind)) as harness:
        child = await harness.spawn("go")
        outcome = await harness.ended(child.subagent_id)
        one = await harness.subagents.get(child.subagent_id, caller=LOCAL)
        messages = (await harness.sessions.load(one.session_id)).messages
    assert (outcome.status, outcome.error_code) == ("error", "storage_full")
    made = [b.id for m in messages for b in m.blocks if isinstance(b, ToolCallBlock)]
    answered = [b.call_id for b in messages[-1].blocks if isinstance(b, ToolResultBlock)]
    assert len(made) == count
    assert answered == made


async def test_a_cancel_on_a_full_disk_still_answers_every_call() -> None:
    started = anyio.Event()

    @tool(title="A test tool", effect="read")
    async def hold(context: ToolContext) -> str:
        """Wait for ever."""
        started.set()
        await anyio.sleep_forever()
        return ""

    provider = ScriptedProvider(Step(calls=(Call(name="hold"), Call(name="hold"))))
    async with open_harness(
        provider, tools=FunctionExecutor([hold]), log=FillsUp(ToolFinished)
    ) as harness:
        child = await harness.spawn("go")
        with anyio.fail_after(5):
            await started.wait()
        await harness.subagents.cancel(child.subagent_id, caller=LOCAL)
        await harness.ended(child.subagent_id)
        one = await harness.subagents.get(child.subagent_id, caller=LOCAL)
        messages = (await harness.sessions.load(one.session_id)).messages
    results = [b for b in messages[-1].blocks if isinstance(b, ToolResultBlock)]
    assert len(results) == 2
    assert all("cancelled by user" in repr(result) for result in results)
