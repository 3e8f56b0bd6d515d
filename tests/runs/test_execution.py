"""The background path: what is on disk before a run is over, and who cannot hold it up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import anyio
import msgspec
import pytest

from bamboo_mcp.agent.inbox import SteeringInbox
from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.domain.errors import RunClosed, StorageFull
from bamboo_mcp.domain.events import (
    EventRecord,
    RoundStarted,
    RunEnded,
    RunEvent,
    RunStarted,
    SteerUndelivered,
    Warned,
)
from bamboo_mcp.domain.ids import OwnerId, RunId, SessionId, new_run_id, new_steer_id
from bamboo_mcp.domain.messages import Message, user_message
from bamboo_mcp.domain.runs import Goal, Outcome, RunRequest, SkillChoice, Steer
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.ports import Conversation, Emit, Inbox, RunParts, SessionStore, SessionWriter
from bamboo_mcp.runs.board import RunBoard
from bamboo_mcp.runs.execution import RunExecution
from bamboo_mcp.runs.log import FileEventLog
from bamboo_mcp.runs.memory_log import MemoryEventLog
from bamboo_mcp.sessions.index import SessionIndex
from bamboo_mcp.sessions.journal_store import JournalSessionStore
from bamboo_mcp.sessions.memory import MemorySessionStore

OURS, SESSION = OwnerId("own_ours"), SessionId("ses_1")
DONE = Outcome(status="completed", text="the answer")


class Body:
    """A `RunBody` of one function; what it is asked is kept."""

    def __init__(self, work: Callable[[Conversation, Inbox], Awaitable[Outcome]] | None = None):
        self._work = work
        self.requests: list[RunRequest] = []

    async def run(
        self, request: RunRequest, conversation: Conversation, inbox: Inbox, emit: Emit
    ) -> Outcome:
        self.requests.append(request)
        emit(RoundStarted(round=1))
        conversation.append(Message(role="assistant", blocks=()))
        return DONE if self._work is None else await self._work(conversation, inbox)


class WatchedSessions(MemorySessionStore):
    """Calls `on_flush` before each flush is done, and counts edits."""

    def __init__(self, on_flush: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self.on_flush = on_flush
        self.edits = 0

    def open(self, session_id: SessionId) -> _Watched:
        return _Watched(super().open(session_id), self)

    async def edit(
        self, session_id: SessionId, change: Callable[[SessionMeta], SessionMeta]
    ) -> SessionMeta:
        self.edits += 1
        return await super().edit(session_id, change)


class _Watched:
    def __init__(self, opening: object, store: WatchedSessions) -> None:
        self._opening = opening
        self._store = store

    async def __aenter__(self) -> SessionWriter:
        self._writer: SessionWriter = await self._opening.__aenter__()  # type: ignore[attr-defined]
        return self

    async def __aexit__(self, *reason: object) -> None:
        return None

    @property
    def meta(self) -> SessionMeta:
        return self._writer.meta

    @property
    def messages(self) -> Sequence[Message]:
        return self._writer.messages

    def append(self, message: Message) -> None:
        self._writer.append(message)

    async def flush(self) -> None:
        await self._store.on_flush()


class Desk:
    """A log, sessions and the execution over them, in memory unless told otherwise."""

    def __init__(self, sessions: SessionStore | None = None, *, hook_s: float = 5.0) -> None:
        self.log = MemoryEventLog()
        self.sessions: SessionStore = sessions or MemorySessionStore()
        self.board = RunBoard(self.log, OURS, lambda owner: False)
        self.execution = RunExecution(
            log=self.log, sessions=self.sessions, owner=OURS, board=self.board, hook_s=hook_s
        )

    async def run(
        self,
        body: Body,
        *,
        parts: RunParts | None = None,
        request: RunRequest | None = None,
        inbox: Inbox | None = None,
    ) -> tuple[Outcome, list[RunEvent]]:
        request = request or RunRequest(run_id=new_run_id(), session_id=SESSION)
        with anyio.fail_after(5):
            outcome = await self.execution.execute(
                request, body, inbox or SteeringInbox(), parts or RunParts()
            )
        return outcome, await self.events(request.run_id)

    async def events(self, run_id: RunId) -> list[RunEvent]:
        return [record.event for record in await self.log.read(run_id)]


async def opened(
    sessions: SessionStore | None = None, *, hook_s: float = 5.0, **meta: object
) -> Desk:
    desk = Desk(sessions, hook_s=hook_s)
    made = msgspec.convert({"session_id": SESSION, "created_at": 1.0, **meta}, SessionMeta)
    await desk.sessions.create(made, [user_message("go")])
    return desk


def endings(events: Sequence[RunEvent]) -> list[Outcome]:
    assert isinstance(events[-1], RunEnded), "nothing follows the end"
    return [event.outcome for event in events if isinstance(event, RunEnded)]


async def test_a_run_is_not_over_before_its_messages_are_on_the_disk() -> None:
    flushing, release = anyio.Event(), anyio.Event()

    async def slow_disk() -> None:
        flushing.set()
        await release.wait()

    desk = await opened(WatchedSessions(slow_disk))
    request = RunRequest(run_id=new_run_id(), session_id=SESSION)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(partial(desk.run, Body(), request=request))
            await flushing.wait()
            assert (await desk.board.state(request.run_id)).status == "running"
            release.set()
    assert (await desk.board.state(request.run_id)).status == "completed"


async def test_messages_that_cannot_be_saved_make_an_error_and_keep_the_answer() -> None:
    async def full() -> None:
        raise StorageFull("no room is left")

    desk = await opened(WatchedSessions(full))
    outcome, events = await desk.run(Body())
    assert (outcome.status, outcome.error_code, outcome.text) == (
        "error",
        "storage_full",
        "the answer",
    )
    assert endings(events) == [outcome]


class Weird(BaseException):
    pass


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        SystemExit(3),
        Weird(),
        ExceptionGroup("several", [ValueError(), KeyError()]),
        BaseExceptionGroup("several", [SystemExit(1)]),
    ],
)
async def test_whatever_a_body_raises_ends_in_one_terminal_event(error: BaseException) -> None:
    async def work(conversation: Conversation, inbox: Inbox) -> Outcome:
        raise error

    desk = await opened()
    outcome, events = await desk.run(Body(work))
    assert endings(events) == [outcome]
    assert (outcome.status, outcome.error_code) == ("error", "internal")


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), BaseExceptionGroup("x", [KeyboardInterrupt(), ValueError()])]
)
async def test_a_person_who_ends_everything_is_obeyed_and_the_run_has_its_end(
    error: BaseException,
) -> None:
    async def work(conversation: Conversation, inbox: Inbox) -> Outcome:
        raise error

    desk = await opened()
    request = RunRequest(run_id=new_run_id(), session_id=SESSION)
    with pytest.raises(type(error)):
        await desk.run(Body(work), request=request)
    assert [one.status for one in endings(await desk.events(request.run_id))] == ["lost"]


async def test_a_session_that_is_not_there_ends_the_run_and_the_hook_hears_of_it() -> None:
    heard: list[tuple[str, Conversation | None]] = []

    async def hook(outcome: Outcome, conversation: Conversation | None) -> None:
        heard.append((outcome.error_code, conversation))

    desk = Desk()
    outcome, events = await desk.run(Body(), parts=RunParts(on_complete=hook))
    assert endings(events) == [outcome]
    assert heard == [("unknown_id", None)]


async def test_what_a_hook_appends_and_what_people_edit_meanwhile_are_both_kept() -> None:
    desk = await opened()

    async def work(conversation: Conversation, inbox: Inbox) -> Outcome:
        await desk.sessions.edit(
            SESSION, lambda meta: msgspec.structs.replace(meta, title="Theirs", pinned=True)
        )
        async with desk.sessions.open(SESSION) as other:
            other.append(user_message("added by a person"))
        return DONE

    async def hook(outcome: Outcome, conversation: Conversation | None) -> None:
        assert outcome == DONE
        assert conversation is not None
        conversation.append(user_message("closed by the hook"))

    request = RunRequest(
        run_id=new_run_id(), session_id=SESSION, model="scripted:x", skills=SkillChoice(mode="fast")
    )
    await desk.run(Body(work), parts=RunParts(on_complete=hook), request=request)
    stored = await desk.sessions.load(SESSION)
    assert (stored.meta.title, stored.meta.pinned, stored.meta.model) == (
        "Theirs",
        True,
        "scripted:x",
    )
    texts = [message.text for message in stored.messages]
    assert texts == ["go", "", "added by a person", "closed by the hook"]


async def test_the_hook_runs_before_the_end_is_shown_and_its_words_are_safe_by_then() -> None:
    flushes: list[int] = []

    async def note() -> None:
        flushes.append(len((await sessions.load(SESSION)).messages))

    sessions = WatchedSessions(note)
    desk = await opened(sessions)
    request = RunRequest(run_id=new_run_id(), session_id=SESSION)

    async def hook(outcome: Outcome, conversation: Conversation | None) -> None:
        assert (await desk.board.state(request.run_id)).status == "running"
        assert conversation is not None
        conversation.append(user_message("closing"))

    await desk.run(Body(), parts=RunParts(on_complete=hook), request=request)
    assert flushes == [2, 3]


async def test_a_hook_that_fails_is_noted_and_changes_nothing() -> None:
    for error in (ValueError("secret"), SystemExit(1), StorageFull("no room is left")):

        async def hook(
            outcome: Outcome,
            conversation: Conversation | None,
            error: BaseException = error,
        ) -> None:
            raise error

        desk = await opened()
        outcome, events = await desk.run(Body(), parts=RunParts(on_complete=hook))
        assert outcome == DONE
        assert endings(events) == [DONE]
        [warned] = [event for event in events if isinstance(event, Warned)]
        assert warned.code == "completion_hook_failed"
        assert "secret" not in warned.message


async def test_a_hook_that_hangs_is_cut_and_the_run_is_completed() -> None:
    async def hook(outcome: Outcome, conversation: Conversation | None) -> None:
        await anyio.sleep_forever()

    desk = await opened(hook_s=0.01)
    outcome, events = await desk.run(Body(), parts=RunParts(on_complete=hook))
    assert outcome == DONE
    [warned] = [event for event in events if isinstance(event, Warned)]
    assert "longer than 0.01 s" in warned.message


async def test_a_server_that_stops_still_tells_the_hook_once() -> None:
    heard: list[str] = []
    working = anyio.Event()

    async def work(conversation: Conversation, inbox: Inbox) -> Outcome:
        working.set()
        await anyio.sleep_forever()
        return DONE

    async def hook(outcome: Outcome, conversation: Conversation | None) -> None:
        await anyio.lowlevel.checkpoint()
        heard.append(outcome.status)
        assert conversation is not None
        conversation.append(user_message("it was stopped"))

    desk = await opened()
    request = RunRequest(run_id=new_run_id(), session_id=SESSION)
    parts = RunParts(on_complete=hook)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(partial(desk.run, Body(work), parts=parts, request=request))
            await working.wait()
            group.cancel_scope.cancel()
    assert heard == ["lost"]
    assert [one.error_code for one in endings(await desk.events(request.run_id))] == [
        "server_stopped"
    ]
    assert (await desk.sessions.load(SESSION)).messages[-1].text == "it was stopped"


async def test_an_answer_that_is_there_when_the_server_stops_is_saved_first() -> None:
    flushing = anyio.Event()
    flushes: list[str] = []

    async def slow_disk() -> None:
        flushing.set()
        if not flushes:
            flushes.append("cut off")
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
        flushes.append("done")

    desk = await opened(WatchedSessions(slow_disk))
    request = RunRequest(run_id=new_run_id(), session_id=SESSION)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(partial(desk.run, Body(), request=request))
            await flushing.wait()
            group.cancel_scope.cancel()
    assert flushes == ["cut off", "done"]
    assert endings(await desk.events(request.run_id)) == [DONE]


async def test_messages_that_come_while_a_hook_runs_are_refused_not_lost() -> None:
    inbox = SteeringInbox()
    refused: list[str] = []

    async def hook(outcome: Outcome, conversation: Conversation | None) -> None:
        try:
            inbox.put(Steer(steer_id=new_steer_id(), text="late"))
        except RunClosed as error:
            refused.append(error.code)

    async def work(conversation: Conversation, inbox: Inbox) -> Outcome:
        inbox.put(Steer(steer_id=new_steer_id(), text="unread"))
        return DONE

    desk = await opened()
    outcome, events = await desk.run(Body(work), parts=RunParts(on_complete=hook), inbox=inbox)
    assert refused == ["run_closed"]
    assert [steer.text for steer in outcome.undelivered] == ["unread"]
    assert [event.text for event in events if isinstance(event, SteerUndelivered)] == ["unread"]


class Sink:
    def __init__(self, *, fails_at: int) -> None:
        self.seen: list[int] = []
        self._fails_at = fails_at

    def emit(self, record: EventRecord) -> None:
        self.seen.append(record.seq)
        if record.seq == self._fails_at:
            raise SystemExit(2)


async def test_a_sink_hears_its_run_from_first_to_last_until_it_raises() -> None:
    good, bad = Sink(fails_at=0), Sink(fails_at=2)
    for sink in (good, bad):
        desk = await opened()
        outcome, events = await desk.run(Body(), parts=RunParts(sink=sink))
        assert outcome == DONE
        assert endings(events) == [DONE]
    assert good.seen == [1, 2, 3]
    assert bad.seen == [1, 2]


async def test_what_a_run_says_of_skills_and_goal_holds_for_the_next_one_too() -> None:
    desk = await opened()
    body = Body()
    goal = Goal(text="file X exists")
    skills = SkillChoice(selected=("pdf",), disabled=("web",), mode="focused")
    first = RunRequest(run_id=new_run_id(), session_id=SESSION, skills=skills, goal=goal)
    await desk.run(body, request=first)
    await desk.run(body, request=RunRequest(run_id=new_run_id(), session_id=SESSION))
    other = SkillChoice(selected=(), mode=" ")
    third = RunRequest(run_id=new_run_id(), session_id=SESSION, skills=other, goal=Goal())
    await desk.run(body, request=third)
    await desk.run(body, request=RunRequest(run_id=new_run_id(), session_id=SESSION))
    assert [request.skills for request in body.requests[:2]] == [skills, skills]
    assert [request.goal for request in body.requests] == [goal, goal, Goal(), None]
    last = body.requests[3].skills
    assert last == SkillChoice(selected=(), disabled=("web",), mode="focused")


async def test_the_older_key_for_the_mode_is_read_and_nonsense_passed_over() -> None:
    extra = {"mode": " plan ", "selected_skill_ids": 7, "goal": "no object", "other": 1}
    desk = await opened(extra=extra)
    body = Body()
    await desk.run(body)
    assert body.requests[0].skills == SkillChoice(mode="plan")
    assert body.requests[0].goal is None
    assert (await desk.sessions.load(SESSION)).meta.extra == extra


async def test_a_run_that_says_nothing_new_does_not_touch_the_record() -> None:
    async def nothing() -> None:
        return None

    sessions = WatchedSessions(nothing)
    desk = await opened(sessions, model="scripted:x")
    request = RunRequest(run_id=new_run_id(), session_id=SESSION, model="scripted:x")
    await desk.run(Body(), request=request)
    assert sessions.edits == 0


async def test_the_first_event_tells_model_effort_and_who_chose_it() -> None:
    desk = await opened()
    request = RunRequest(
        run_id=new_run_id(),
        session_id=SESSION,
        model="a:b",
        effort="high",
        effort_source="argument",
    )
    _, events = await desk.run(Body(), request=request)
    started = events[0]
    assert isinstance(started, RunStarted)
    assert (started.model, started.effort, started.effort_source) == ("a:b", "high", "argument")


async def test_completed_means_that_another_process_can_read_the_answer(tmp_path: Path) -> None:
    with Journals("turn") as journals:
        log = FileEventLog(tmp_path, journals)
        sessions = JournalSessionStore(tmp_path, journals, SessionIndex(tmp_path))
        board = RunBoard(log, OURS, lambda owner: False)
        execution = RunExecution(log=log, sessions=sessions, owner=OURS, board=board)
        await sessions.create(SessionMeta(session_id=SESSION, created_at=1.0))
        request = RunRequest(run_id=new_run_id(), session_id=SESSION)

        async def work(conversation: Conversation, inbox: Inbox) -> Outcome:
            conversation.append(user_message("the last word"))
            return DONE

        seen: list[str] = []

        def look(record: EventRecord) -> None:
            if isinstance(record.event, RunEnded):
                folder = tmp_path / "sessions" / SESSION
                seen.append((folder / "messages.jsonl").read_text(encoding="utf-8"))

        log.listen(look)
        await execution.execute(request, Body(work), SteeringInbox())
        assert "the last word" in seen[0]
