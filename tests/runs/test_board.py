from pathlib import Path

import pytest

from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.domain.errors import RunBusy, UnknownId
from bamboo_mcp.domain.events import (
    LimitNear,
    ModelAnswered,
    QuestionAnswered,
    QuestionAsked,
    RoundStarted,
    RunEnded,
    RunEvent,
    RunStarted,
    TextDelta,
    ToolFinished,
    ToolStarted,
    Warned,
)
from bamboo_mcp.domain.ids import (
    CallId,
    OwnerId,
    QuestionId,
    RunId,
    SessionId,
    SubagentId,
    new_run_id,
)
from bamboo_mcp.domain.questions import Answer, Question
from bamboo_mcp.domain.runs import Outcome, RunState
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.ports import Runs
from bamboo_mcp.runs.board import RunBoard
from bamboo_mcp.runs.log import FileEventLog
from bamboo_mcp.runs.memory_log import MemoryEventLog

OURS, THEIRS = OwnerId("own_ours"), OwnerId("own_theirs")
SESSION, SUBAGENT = SessionId("ses_1"), SubagentId("sub_1")
ENDED = RunEnded(outcome=Outcome(status="completed", text="done"))


def everybody(owner: OwnerId) -> bool:
    return True


def nobody(owner: OwnerId) -> bool:
    return False


def started(owner: OwnerId = OURS) -> RunStarted:
    return RunStarted(session_id=SESSION, owner=owner, subagent_id=SUBAGENT, model="scripted:x")


def asked(name: str) -> QuestionAsked:
    return QuestionAsked(
        question=Question(
            question_id=QuestionId(name), topic="permission", text="may I?", asked_at=1.0
        )
    )


def answered(name: str) -> QuestionAnswered:
    return QuestionAnswered(question_id=QuestionId(name), answer=Answer(decision="allow_once"))


STORY: tuple[RunEvent, ...] = (
    started(),
    RoundStarted(round=1),
    TextDelta(text="hm"),
    ModelAnswered(round=1, usage=Usage(input=10, output=2, cache_read=5)),
    ToolStarted(call_id=CallId("a"), tool="read_file"),
    ToolFinished(call_id=CallId("a"), tool="read_file"),
    asked("q1"),
    asked("q2"),
    answered("q1"),
    answered("q2"),
    RoundStarted(round=2),
    ModelAnswered(round=2, usage=Usage(input=20, output=3, reasoning=1)),
    ToolStarted(call_id=CallId("b"), tool="run_command"),
    ToolFinished(call_id=CallId("b"), tool="run_command", is_error=True),
    ENDED,
)


async def test_what_is_kept_by_listening_is_what_the_log_on_disk_tells(tmp_path: Path) -> None:
    with Journals("process") as journals:
        log = FileEventLog(tmp_path, journals)
        board = RunBoard(log, OURS, everybody)
        run = board.reserve(SESSION, SUBAGENT)
        for count, event in enumerate(STORY, start=1):
            log.append(run, event)
            live = await board.state(run)
            replayed = RunBoard(FileEventLog(tmp_path, journals), THEIRS, everybody)
            assert await replayed.state(run) == live
            assert await replayed.picture(run) == await board.picture(run)
            assert live.last_seq == count
        assert live.status == "completed"
        assert live.outcome == ENDED.outcome
        assert (live.rounds, live.last_tool, live.last_tool_phase) == (2, "run_command", "error")
        assert live.usage == Usage(input=30, output=5, cache_read=5, reasoning=1)
        assert live.ended_at == live.last_event_at


async def test_a_board_reads_only_what_is_new_of_a_run_of_another_process(tmp_path: Path) -> None:
    with Journals("process") as journals:
        log = FileEventLog(tmp_path, journals)
        other = RunBoard(FileEventLog(tmp_path, journals), THEIRS, everybody)
        run, states = new_run_id(), list[RunState]()
        for event in STORY:
            log.append(run, event)
            states.append(await other.state(run))
        statuses = [state.status for state in states]
        assert statuses == ["running"] * 6 + ["waiting"] * 3 + ["running"] * 5 + ["completed"]


async def test_a_reserved_run_is_pending_and_keeps_its_session_busy() -> None:
    log = MemoryEventLog()
    board: RunBoard = RunBoard(log, OURS, everybody)
    runs: Runs = board
    run = board.reserve(SESSION, SUBAGENT)
    state = await runs.state(run)
    assert (state.status, state.session_id, state.subagent_id) == ("pending", SESSION, SUBAGENT)
    with pytest.raises(RunBusy) as busy:
        board.reserve(SESSION)
    assert busy.value.run_id == run
    log.append(run, started())
    with pytest.raises(RunBusy):
        board.reserve(SESSION)
    log.append(run, ENDED)
    assert board.reserve(SESSION) != run


async def test_a_released_reservation_leaves_nothing() -> None:
    board = RunBoard(MemoryEventLog(), OURS, everybody)
    run = board.reserve(SESSION)
    board.release(run)
    board.release(run)
    with pytest.raises(UnknownId):
        await board.state(run)
    again = board.reserve(SESSION)
    board.release(run)
    with pytest.raises(RunBusy) as busy:
        board.reserve(SESSION)
    assert busy.value.run_id == again, "an old release does not free a new run"


async def test_an_unknown_run_is_said_to_be_unknown(tmp_path: Path) -> None:
    with Journals("process") as journals:
        for log in (MemoryEventLog(), FileEventLog(tmp_path, journals)):
            board = RunBoard(log, OURS, everybody)
            for run in (new_run_id(), RunId("../x")):
                with pytest.raises(UnknownId):
                    await board.state(run)


async def test_a_run_without_end_whose_process_is_gone_is_lost(tmp_path: Path) -> None:
    with Journals("process") as journals:
        log = FileEventLog(tmp_path, journals)
        run = new_run_id()
        for event in (started(THEIRS), RoundStarted(round=3), asked("q")):
            log.append(run, event)
        fresh = FileEventLog(tmp_path, journals)
        assert (await RunBoard(fresh, OURS, everybody).state(run)).status == "waiting"
        lost = await RunBoard(fresh, OURS, nobody).state(run)
        assert lost.status == "lost"
        assert lost.outcome is not None and lost.outcome.error_code == "owner_gone"
        assert lost.ended_at == lost.last_event_at
        assert lost.rounds == 3


async def test_a_run_that_ended_before_its_process_did_is_not_lost(tmp_path: Path) -> None:
    with Journals("process") as journals:
        log = FileEventLog(tmp_path, journals)
        run = new_run_id()
        for event in (started(THEIRS), ENDED):
            log.append(run, event)
        fresh = FileEventLog(tmp_path, journals)
        assert (await RunBoard(fresh, OURS, nobody).state(run)).status == "completed"


async def test_the_last_words_of_a_dying_process_are_still_read(tmp_path: Path) -> None:
    with Journals("process") as journals:
        log = FileEventLog(tmp_path, journals)
        run = new_run_id()
        log.append(run, started(THEIRS))

        def dies_while_we_look(owner: OwnerId) -> bool:
            if log.exists(run) and run in log._open:
                log.append(run, ENDED)
            return False

        board = RunBoard(FileEventLog(tmp_path, journals), OURS, dies_while_we_look)
        assert (await board.state(run)).status == "completed"


async def test_our_own_runs_never_ask_whether_we_live() -> None:
    log = MemoryEventLog()
    board = RunBoard(log, OURS, nobody)
    run = board.reserve(SESSION)
    log.append(run, started())
    assert (await board.state(run)).status == "running"
    assert board.alive(OURS)
    assert not board.alive(THEIRS)
    board.forget(run)
    assert (await board.state(run)).status == "running", "folded again, and ours still lives"


async def test_questions_are_open_until_answered_or_the_run_ends() -> None:
    log = MemoryEventLog()
    board = RunBoard(log, OURS, everybody)
    run = board.reserve(SESSION)
    log.append(run, started())
    log.append(run, asked("q1"))
    log.append(run, asked("q2"))
    assert [question.question_id for question in await board.questions(run)] == ["q1", "q2"]
    log.append(run, answered("q2"))
    assert (await board.state(run)).status == "waiting"
    log.append(run, ENDED)
    assert await board.questions(run) == ()


async def test_listeners_hear_each_status_once() -> None:
    log = MemoryEventLog()
    board = RunBoard(log, OURS, everybody)
    heard: list[str] = []
    remove = board.listen(lambda run, status: heard.append(status))
    run = board.reserve(SESSION)
    for event in STORY:
        log.append(run, event)
    assert heard == ["running", "waiting", "running", "completed"]
    remove()
    board.close()


async def test_a_status_listener_that_gives_up_is_dropped_and_the_run_goes_on() -> None:
    log = MemoryEventLog()
    board = RunBoard(log, OURS, everybody)
    asked_of: list[RunId] = []

    def gives_up(run: RunId, status: str) -> None:
        asked_of.append(run)
        raise SystemExit(3)

    board.listen(gives_up)
    run = board.reserve(SESSION)
    for event in STORY:
        log.append(run, event)
    assert asked_of == [run]
    assert (await board.state(run)).status == "completed"


async def test_what_ended_long_ago_is_folded_again() -> None:
    log = MemoryEventLog()
    board = RunBoard(log, OURS, everybody)
    runs = [new_run_id() for _ in range(1100)]
    for run in runs:
        log.append(run, started())
        log.append(run, ENDED)
    assert len(board._own) == 0
    assert len(board._ended) == 1000
    assert {(await board.state(run)).status for run in runs} == {"completed"}


async def test_who_comes_late_or_again_gets_the_picture_of_who_was_there_from_the_start(
    tmp_path: Path,
) -> None:
    with Journals("process") as journals:
        log = FileEventLog(tmp_path, journals)
        early = RunBoard(log, OURS, everybody)
        again = RunBoard(FileEventLog(tmp_path, journals), THEIRS, everybody)
        run = early.reserve(SESSION, SUBAGENT)
        log.append(run, started())
        for number in range(1, 201):
            log.append(run, RoundStarted(round=number))
            log.append(run, ModelAnswered(round=number, usage=Usage(input=number)))
            log.append(run, Warned(code="w", message=str(number)))
            if number % 50 == 0:
                assert await again.picture(run) == await early.picture(run)
        log.append(run, LimitNear(limit="max_rounds", value=200, final=True))
        log.append(run, asked("q1"))
        picture = await early.picture(run)
        late = RunBoard(FileEventLog(tmp_path, journals), THEIRS, everybody)
        assert await late.picture(run) == await again.picture(run) == picture
        assert picture.last_budget == LimitNear(limit="max_rounds", value=200, final=True)
        assert (picture.state.status, picture.state.rounds) == ("waiting", 200)
        *warnings, bound, question = picture.critical
        assert [event.message for event in warnings if isinstance(event, Warned)] == [
            str(number) for number in range(139, 201)
        ]
        assert (bound, question) == (picture.last_budget, asked("q1"))
        assert len(picture.critical) >= 32


async def test_the_last_thing_about_tokens_is_in_the_picture() -> None:
    log = MemoryEventLog()
    board = RunBoard(log, OURS, everybody)
    run = board.reserve(SESSION)
    assert (await board.picture(run)).last_budget is None
    for event in STORY:
        log.append(run, event)
    picture = await board.picture(run)
    assert picture.last_budget == STORY[11]
    assert picture.critical == (asked("q1"), asked("q2"), answered("q1"), answered("q2"))
    with pytest.raises(UnknownId):
        await board.picture(new_run_id())
