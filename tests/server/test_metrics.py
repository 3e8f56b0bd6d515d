from __future__ import annotations

from bamboo_mcp.domain.events import (
    EventRecord,
    ModelAnswered,
    QuestionAnswered,
    QuestionAsked,
    RunEnded,
    RunEvent,
    RunQueued,
    RunStarted,
    ToolFinished,
)
from bamboo_mcp.domain.ids import CallId, QuestionId, RunId, SessionId, SubagentId
from bamboo_mcp.domain.questions import Answer, Question
from bamboo_mcp.domain.runs import Outcome
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.server.metrics import Family, Tally, exposition


def told(*events: tuple[str, RunEvent]) -> list[str]:
    tally = Tally(clock=lambda: 0.0)
    for seq, (run, event) in enumerate(events, start=1):
        tally.note(EventRecord(run_id=RunId(run), seq=seq, at=0.0, event=event))
    return exposition(tally.families()).decode().splitlines()


def started(subagent: str | None = None) -> RunStarted:
    known = None if subagent is None else SubagentId(subagent)
    return RunStarted(session_id=SessionId("s"), subagent_id=known)


def test_runs_are_counted_by_what_they_are_doing() -> None:
    question = Question(question_id=QuestionId("q"), topic="permission", text="?", asked_at=0.0)
    lines = told(
        ("a", RunQueued(session_id=SessionId("s"), subagent_id=SubagentId("sub_a"))),
        ("b", started("sub_b")),
        ("c", started()),
        ("c", QuestionAsked(question=question)),
        ("d", started()),
        ("d", QuestionAsked(question=question)),
        (
            "d",
            QuestionAnswered(
                question_id=QuestionId("q"), answer=Answer(decision="deny", by="model")
            ),
        ),
        ("e", started()),
        ("e", RunEnded(outcome=Outcome(status="cancelled"))),
    )
    assert 'bamboo_runs{status="pending"} 1' in lines
    assert 'bamboo_runs{status="running"} 2' in lines
    assert 'bamboo_runs{status="waiting"} 1' in lines
    assert 'bamboo_runs_ended_total{status="cancelled"} 1' in lines
    assert "bamboo_subagents 2" in lines


def test_work_is_counted() -> None:
    lines = told(
        ("a", ModelAnswered(round=1, usage=Usage(input=7, output=2))),
        ("a", ToolFinished(call_id=CallId("c"), tool="t")),
        ("a", ToolFinished(call_id=CallId("c"), tool="t", is_error=True)),
    )
    assert 'bamboo_tokens_total{direction="input"} 7' in lines
    assert 'bamboo_tool_calls_total{result="error"} 1' in lines
    assert 'bamboo_events_total{kind="tool_finished"} 2' in lines


def test_labels_are_written_so_that_they_can_be_read_again() -> None:
    family = Family(
        name="x", help="a\nb", kind="gauge", samples=[((("l", 'a"b\\c\nd'),), 0.5), ((), 2.0)]
    )
    assert exposition([family]).decode() == (
        '# HELP x a\\nb\n# TYPE x gauge\nx{l="a\\"b\\\\c\\nd"} 0.5\nx 2\n'
    )
