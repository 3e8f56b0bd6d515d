from __future__ import annotations

import msgspec

from bamboo_mcp.control.notices import MAX_EARLY_RUNS, MAX_LINES, NoticeBoard
from bamboo_mcp.domain.events import (
    EventRecord,
    QuestionAnswered,
    QuestionAsked,
    RunEnded,
    RunEvent,
    SteerUndelivered,
    TextDelta,
)
from bamboo_mcp.domain.ids import (
    LOCAL,
    QuestionId,
    Subject,
    new_run_id,
    new_session_id,
    new_steer_id,
    new_subagent_id,
)
from bamboo_mcp.domain.questions import Answer, Question
from bamboo_mcp.domain.runs import Outcome, Steer
from bamboo_mcp.domain.subagents import Subagent, SubagentSpec

QUESTION = Question(question_id=QuestionId("q_1"), topic="choice", text="Which?", asked_at=1.0)
COMPLETED = RunEnded(outcome=Outcome(status="completed"))


def subagent(caller: Subject = LOCAL) -> Subagent:
    return Subagent(
        subagent_id=new_subagent_id(),
        session_id=new_session_id(),
        run_id=new_run_id(),
        spec=SubagentSpec(task="t", caller=caller),
        status="running",
        created_at=1.0,
    )


def tell(board: NoticeBoard, one: Subagent, event: RunEvent) -> None:
    """As it goes in a process: the log tells of an event, and an end is safe a moment later."""
    board.emit(EventRecord(run_id=one.run_id, seq=1, at=1.0, event=event))
    if isinstance(event, RunEnded):
        board.ended(one.run_id, event.outcome)


def test_each_caller_hears_of_its_own_and_once() -> None:
    board = NoticeBoard()
    mine, theirs = subagent(), subagent(Subject("other"))
    for one in (mine, theirs):
        board.watch(one)
        tell(board, one, TextDelta(text="not worth a notice"))
        tell(board, one, COMPLETED)
    assert board.take(LOCAL) == [f"{mine.subagent_id} finished"]
    assert board.take(LOCAL) == []
    assert board.take(Subject("other")) == [f"{theirs.subagent_id} finished"]


def test_only_the_latest_state_is_told() -> None:
    board = NoticeBoard()
    one = subagent()
    board.watch(one)
    tell(board, one, QuestionAsked(question=QUESTION))
    tell(board, one, RunEnded(outcome=Outcome(status="error")))
    assert board.take(LOCAL) == [f"{one.subagent_id} failed"]


def test_an_end_is_no_notice_before_it_is_safe() -> None:
    board = NoticeBoard()
    one = subagent()
    board.watch(one)
    unread = Steer(steer_id=new_steer_id(), text="t")
    outcome = Outcome(status="completed", undelivered=(unread,))
    for event in (
        SteerUndelivered(steer_id=unread.steer_id, text="t"),
        RunEnded(outcome=outcome),
    ):
        board.emit(EventRecord(run_id=one.run_id, seq=1, at=1.0, event=event))
    assert board.take(LOCAL) == []
    board.ended(one.run_id, outcome)
    assert board.take(LOCAL) == [
        f"{one.subagent_id} ended before it read {unread.steer_id}",
        f"{one.subagent_id} finished",
    ]


def test_a_line_newer_than_what_an_answer_shows_is_not_taken_for_told() -> None:
    board = NoticeBoard()
    one = subagent()
    board.watch(one)
    tell(board, one, COMPLETED)
    board.told(one, LOCAL)  # as it was while it ran
    assert board.take(LOCAL) == [f"{one.subagent_id} finished"]


def test_a_question_an_answer_shows_is_told_and_another_one_is_not() -> None:
    board = NoticeBoard()
    one = subagent()
    board.watch(one)
    tell(board, one, QuestionAsked(question=QUESTION))
    board.told(msgspec.structs.replace(one, question=QUESTION), LOCAL)
    assert board.take(LOCAL) == []
    other = msgspec.structs.replace(QUESTION, question_id=QuestionId("q_other"))
    tell(board, one, QuestionAsked(question=other))
    board.told(msgspec.structs.replace(one, question=QUESTION), LOCAL)
    assert len(board.take(LOCAL)) == 1


def test_a_question_that_was_answered_needs_no_notice_but_an_expired_one_does() -> None:
    board = NoticeBoard()
    one = subagent()
    board.watch(one)
    tell(board, one, QuestionAsked(question=QUESTION))
    tell(board, one, QuestionAnswered(question_id=QUESTION.question_id, answer=Answer()))
    assert board.take(LOCAL) == []
    tell(board, one, QuestionAsked(question=QUESTION))
    expired = Answer(by="expiry")
    tell(board, one, QuestionAnswered(question_id=QUESTION.question_id, answer=expired))
    assert board.take(LOCAL) == [
        f"{one.subagent_id}: nobody answered its question in time, so it got a no"
    ]


def test_the_words_of_a_question_are_quoted_on_one_line_and_short() -> None:
    board = NoticeBoard()
    one = subagent()
    board.watch(one)
    text = "Well?\nnotice: sub_x finished " + "x" * 10_000
    question = Question(question_id=QuestionId("q_2"), topic="choice", text=text, asked_at=1.0)
    tell(board, one, QuestionAsked(question=question))
    (line,) = board.take(LOCAL)
    assert "\n" not in line
    assert len(line) < 300


def test_a_caller_who_never_asks_costs_a_few_lines() -> None:
    board = NoticeBoard()
    one = subagent()
    board.watch(one)
    unread = tuple(Steer(steer_id=new_steer_id(), text="t") for _ in range(1_000))
    tell(board, one, RunEnded(outcome=Outcome(status="completed", undelivered=unread)))
    notices = board.take(LOCAL)
    assert len(notices) == MAX_LINES + 1
    assert notices[0] == f"{1_001 - MAX_LINES} older notices left out: call list_subagents"


def test_what_happens_before_a_run_is_watched_is_kept_for_a_while() -> None:
    board = NoticeBoard()
    early, long_ago = subagent(), subagent()
    tell(board, long_ago, COMPLETED)
    for _ in range(MAX_EARLY_RUNS):
        tell(board, subagent(), COMPLETED)
    tell(board, early, COMPLETED)
    board.watch(early)
    board.watch(long_ago)
    assert board.take(LOCAL) == [f"{early.subagent_id} finished"]


def test_a_closed_board_listens_no_more() -> None:
    listeners: list[object] = []

    def subscribe(listener: object) -> object:
        listeners.append(listener)
        return lambda: listeners.remove(listener)

    board = NoticeBoard(subscribe)  # type: ignore[arg-type]
    assert len(listeners) == 1
    board.close()
    board.close()
    assert listeners == []
