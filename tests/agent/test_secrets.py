from __future__ import annotations

from pathlib import Path

import msgspec

from bamboo_mcp.agent.tool_calls import EVENT_ARGUMENTS_CHARS
from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.domain.events import ToolStarted
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.runs.log import FileEventLog
from bamboo_mcp.testing.harness import open_harness
from bamboo_mcp.testing.scripted import Call, ScriptedProvider, Step
from bamboo_mcp.tools.function import FunctionExecutor, tool

KEY = "sk-ant-0123456789abcdef"


async def test_secrets_in_arguments_reach_the_tool_and_not_the_log(tmp_path: Path) -> None:
    given: list[str] = []

    @tool(title="Log in", effect="read")
    async def login(context: ToolContext, *, password: str, text: str) -> str:
        """Log in."""
        given.append(password + text[:100])
        return "in"

    short = {"password": "hunter2", "text": f"use {KEY}"}
    long = {"password": "hunter2", "text": f"use {KEY}" + "x" * 100_000}
    calls = tuple(Call(name="login", args=one) for one in (short, long))
    with Journals("process") as journals:
        async with open_harness(
            ScriptedProvider(Step(calls=calls), "done"),
            tools=FunctionExecutor([login]),
            log=FileEventLog(tmp_path, journals),
        ) as harness:
            one = await harness.spawn("log in")
            assert (await harness.ended(one.subagent_id)).text == "done"
            events = await harness.events(one.subagent_id)
    assert all("hunter2" in text and KEY in text for text in given)
    assert len(given) == 2
    started = [event for event in events if isinstance(event, ToolStarted)]
    assert started[0].arguments == {"password": "***", "text": "use ***"}
    cut = started[1].arguments["cut"]
    assert cut.startswith(msgspec.json.encode({"password": "***", "text": "use ***"})[:-2].decode())
    assert len(cut) <= EVENT_ARGUMENTS_CHARS
    written = (tmp_path / "runs" / one.run_id / "events.jsonl").read_text(encoding="utf-8")
    assert "hunter2" not in written
    assert KEY not in written
