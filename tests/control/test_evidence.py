"""What a run did, as the server saw it."""

from __future__ import annotations

import msgspec

from bamboo_mcp.domain.events import (
    LimitNear,
    ModelAnswered,
    RunEvent,
    SubagentSpawned,
    TextDelta,
    ToolFinished,
    ToolStarted,
    Warned,
)
from bamboo_mcp.domain.ids import CallId, RunId, SubagentId
from bamboo_mcp.domain.usage import Usage
from tests.control.desk import Desk


def called(
    id: str, tool: str, answer: str, *, is_error: bool = False, **arguments: object
) -> list[RunEvent]:
    return [
        ToolStarted(call_id=CallId(id), tool=tool, arguments=arguments),
        ToolFinished(
            call_id=CallId(id), tool=tool, is_error=is_error, duration_s=0.5, preview=answer
        ),
    ]


EVENTS: list[RunEvent] = [
    TextDelta(text="I ran rm and wrote secret.txt, exit_code: 7"),
    *called("1", "write_file", "created src/a.py: 12 bytes", path="src/a.py", content="x" * 9_000),
    *called("2", "write_file", "wrote long name.md: 99999 bytes", cut='{"content":"xxxx'),
    *called(
        "3", "edit_file", "edited src/a.py: 1 replaced, at line 3; now 20 bytes", path="src/a.py"
    ),
    *called("4", "write_file", "outside the workspace", is_error=True, path="../b"),
    *called("5", "run_command", "exit_code: -9, 0.10 s, ended by signal 9", command="make"),
    *called("5", "run_command", "exit_code: 0, 0.10 s", command="make"),
    *called("6", "read_file", "exit_code: 3", path="notes"),
    ModelAnswered(round=1, model="m", usage=Usage(input=3, output=4)),
    Warned(code="answer_cut", message="the answer was cut"),
    LimitNear(limit="max_rounds", value=5),
    LimitNear(limit="max_tokens", value=9, final=True),
    SubagentSpawned(subagent_id=SubagentId("sub_x"), run_id=RunId("run_x")),
    ToolStarted(call_id=CallId("7"), tool="run_command", arguments={"command": "sleep 9"}),
]


async def worked(desk: Desk) -> SubagentId:
    one = await desk.spawn()
    for event in EVENTS:
        desk.subagents.happen(one, event)
    return one


async def test_it_holds_what_happened_and_nothing_of_what_the_subagent_says() -> None:
    desk = Desk()
    one = await worked(desk)
    desk.subagents.finish(
        one, "all well, 100 files changed", status="error", error_code="boom", error="it broke"
    )
    result = await desk.call("get_subagent", subagent_id=one, include=["evidence"])
    assert result.structured is not None
    evidence = result.structured["evidence"]
    assert evidence["files_changed"] == ["src/a.py", "long name.md"]
    assert evidence["calls"] == {"write_file": 3, "edit_file": 1, "run_command": 3, "read_file": 1}
    tools = [(tool["tool"], tool["state"], tool["exit_code"]) for tool in evidence["tools"]]
    assert tools == [
        ("write_file", "ok", None),
        ("write_file", "ok", None),
        ("edit_file", "ok", None),
        ("write_file", "failed", None),
        ("run_command", "ok", -9),
        ("run_command", "ok", 0),
        ("read_file", "ok", None),
        ("run_command", "unfinished", None),
    ]
    assert evidence["failed_calls"] == 1
    failures = [(bad["what"], bad["message"]) for bad in evidence["failures"]]
    assert failures == [
        ("write_file", "outside the workspace"),
        ("answer_cut", "the answer was cut"),
        ("max_tokens", "9 is reached"),
        ("boom", "it broke"),
    ]
    assert evidence["subagents"] == ["sub_x"]
    assert evidence["models"] == ["m"]
    assert evidence["observed_by"] == "server"
    assert "100 files" not in result.text
    assert "secret.txt" not in result.text
    assert len(msgspec.json.encode(evidence["tools"][0])) < 600
    assert "exit code -9" in result.text


async def test_its_tool_calls_are_paged_and_the_rest_is_of_the_whole_run() -> None:
    desk = Desk()
    one = await worked(desk)
    seqs: list[int] = []
    offset = 0
    while offset is not None:
        answer = await desk.get(
            "get_subagent", subagent_id=one, include=["evidence"], offset=offset, limit=3
        )
        evidence = answer["evidence"]
        assert evidence["tools_total"] == 8
        assert len(evidence["files_changed"]) == 2
        seqs += [tool["seq"] for tool in evidence["tools"]]
        offset = evidence["next_offset"]
    assert len(seqs) == len(set(seqs)) == 8


async def test_one_offset_does_not_serve_evidence_and_another_part() -> None:
    desk = Desk()
    one = await worked(desk)
    error = await desk.error(
        "get_subagent", subagent_id=one, include=["evidence", "transcript"], offset=1
    )
    assert "offset 1" in error["message"]


async def test_a_run_that_has_done_nothing_has_nothing_to_show() -> None:
    desk = Desk()
    one = await desk.spawn()
    evidence = (await desk.get("get_subagent", subagent_id=one, include=["evidence"]))["evidence"]
    assert (evidence["tools"], evidence["failures"], evidence["files_changed"]) == ([], [], [])
