from __future__ import annotations

import io
import sys

import msgspec
import pytest

from bamboo_mcp.cli.screen import JsonLines, Screen, usage_line
from bamboo_mcp.domain.events import (
    EventRecord,
    ProviderWaiting,
    RoundStarted,
    RunEnded,
    RunEvent,
    SubagentSpawned,
    TextDelta,
    ToolFinished,
    ToolStarted,
)
from bamboo_mcp.domain.ids import CallId, RunId, SteerId, SubagentId
from bamboo_mcp.domain.runs import Outcome, Steer
from bamboo_mcp.domain.tools import error_result
from bamboo_mcp.domain.usage import Usage

RUN = RunId("run_1")
CALL = CallId("call_1")


def records(*events: RunEvent) -> list[EventRecord]:
    return [
        EventRecord(run_id=RUN, seq=number, at=100.0 + number, event=event)
        for number, event in enumerate(events, start=1)
    ]


async def shown(screen: Screen | JsonLines, *events: RunEvent) -> None:
    for record in records(*events):
        await screen.show(record)


async def test_a_terminal_sees_text_as_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(live=True)
    await shown(screen, TextDelta(text="Hel"))
    assert capsys.readouterr().out == "Hel"
    await shown(
        screen, TextDelta(text="lo"), RunEnded(outcome=Outcome(status="completed", text="Hello"))
    )
    assert capsys.readouterr().out == "lo\n"


async def test_a_tool_line_never_stands_in_a_line_of_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    await shown(
        Screen(live=True),
        TextDelta(text="I look."),
        ToolStarted(call_id=CALL, tool="read_file", arguments={"path": "a.py"}),
        RoundStarted(round=2),
        TextDelta(text="Seen.\n"),
        ToolStarted(call_id=CALL, tool="list_directory"),
    )
    said = capsys.readouterr()
    assert said.out == "I look.\nSeen.\n"
    assert said.err == "→ read_file path=a.py\n→ list_directory\n"


async def test_a_pipe_sees_the_answer_alone_as_the_model_wrote_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    await shown(
        Screen(live=False),
        TextDelta(text="I look."),
        ToolStarted(call_id=CALL, tool="t"),
        TextDelta(text="\x1b[1mbold\x1b[0m\n"),
        RunEnded(outcome=Outcome(status="completed", text="\x1b[1mbold\x1b[0m\n")),
    )
    assert capsys.readouterr().out == "\x1b[1mbold\x1b[0m\n"


async def test_a_terminal_is_not_acted_on(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b]0;title\x07"
    await shown(
        Screen(live=True),
        TextDelta(text=f"{evil}ok\t\n"),
        ToolStarted(call_id=CALL, tool="t", arguments={"a": evil, evil: ["x\ny", evil]}),
        ToolFinished(call_id=CALL, tool="t", is_error=True, preview=evil),
        ProviderWaiting(delay_s=2.0, reason=evil),
        SubagentSpawned(subagent_id=SubagentId("sub_1"), run_id=RUN, title=evil),
        RunEnded(outcome=Outcome(status="error", error_code="e", error=evil)),
    )
    said = capsys.readouterr()
    assert said.out == "\\x1b]0;title\\x07ok\t\n"
    assert not {"\x1b", "\x07"} & set(said.err)


async def test_long_arguments_stay_on_one_short_line(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = {"path": "a" * 500, "content": "line\n" * 500}
    await shown(Screen(live=True), ToolStarted(call_id=CALL, tool="w", arguments=arguments))
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) < 120


async def test_a_failed_tool_is_told_in_its_message(capsys: pytest.CaptureFixture[str]) -> None:
    preview = error_result("invalid_input", "no file 'x'", hint="look again").text
    for shown_preview in (preview, "no file 'x'", "{}"):
        await shown(
            Screen(live=True),
            ToolFinished(call_id=CALL, tool="t", is_error=True, preview=shown_preview),
        )
    assert capsys.readouterr().err == "✗ t: no file 'x'\n✗ t: no file 'x'\n✗ t: {}\n"


async def test_a_cancelled_run_keeps_its_text_and_hands_back_what_nobody_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    steer = Steer(steer_id=SteerId("steer_1"), text="also this")
    outcome = Outcome(
        status="cancelled", text="So far", error="cancelled at the terminal", undelivered=(steer,)
    )
    await shown(Screen(live=False), RunEnded(outcome=outcome))
    said = capsys.readouterr()
    assert said.out == "So far\n"
    assert "cancelled: cancelled at the terminal" in said.err
    assert "never read: also this" in said.err


async def test_letters_the_terminal_does_not_have_become_question_marks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="")
    monkeypatch.setattr(sys, "stdout", narrow)
    await shown(Screen(live=True), TextDelta(text="Füße 🎋\n"))
    assert isinstance(narrow.buffer, io.BytesIO)
    assert narrow.buffer.getvalue() == b"F??e ?\n"


async def test_json_lines_hold_whole_records(capsys: pytest.CaptureFixture[str]) -> None:
    events = (TextDelta(text="a\nb"), RunEnded(outcome=Outcome(status="completed", text="a\nb")))
    await shown(JsonLines(), *events)
    lines = capsys.readouterr().out.splitlines()
    assert [msgspec.json.decode(line, type=EventRecord) for line in lines] == records(*events)


def test_the_usage_line_leaves_out_what_is_not_known() -> None:
    assert usage_line(Outcome(status="completed", rounds=1), 0.0) == (
        "1 round · 0 tokens in, 0 out · 0.0 s"
    )
    outcome = Outcome(
        status="completed",
        rounds=3,
        model="a:b",
        cost_usd=0.01234,
        usage=Usage(input=1234, output=5, cache_read=1000),
    )
    assert usage_line(outcome, 12.34) == (
        "a:b · 3 rounds · 1,234 tokens in (1,000 cached), 5 out · $0.0123 · 12.3 s"
    )
