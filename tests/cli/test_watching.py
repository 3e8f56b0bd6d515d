from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import anyio
import pytest

from bamboo_mcp.cli.asking import Person
from bamboo_mcp.cli.watching import TERMINAL, watch_run
from bamboo_mcp.domain.errors import UnknownModel
from bamboo_mcp.domain.events import EventRecord, QuestionAnswered, QuestionAsked, RunEvent
from bamboo_mcp.domain.ids import QuestionId, RunId
from bamboo_mcp.domain.questions import Answer, Question
from bamboo_mcp.domain.runs import Outcome
from bamboo_mcp.domain.subagents import Subagent, SubagentSpec
from bamboo_mcp.ports import SubagentPort
from bamboo_mcp.testing.scripted import Call, ScriptedProvider, Step
from tests.cli.small_app import Desk, Recorder, SmallApp, Typed, small_app

WRITE = Step(calls=(Call(name="write", args={"text": "x"}),))


class Watched:
    """`watch_run` over an app, with a keyboard."""

    def __init__(self, app: SmallApp, *typed: str | None) -> None:
        self._app = app
        self.typed = Typed(*typed)
        self.recorder = Recorder()
        self.press, self._pressed = anyio.create_memory_object_stream[int](8)

    async def run(self, model: str = "", task: str = "do it") -> Outcome | None:
        spec = SubagentSpec(task=task, model=model, caller=TERMINAL, depth=0, may_spawn=True)
        with self.press, self._pressed:
            return await watch_run(
                self._app,
                spec,
                view=self.recorder,
                asker=Person(self.typed),
                interrupts=self._pressed,
            )

    def events(self, kind: type[RunEvent]) -> list[RunEvent]:
        return [event for event in self.recorder.events if isinstance(event, kind)]


@pytest.mark.parametrize(
    ("typed", "written", "decision"),
    [("y", ["x"], "allow_once"), ("Session", ["x"], "allow_session"), ("n", [], "deny")],
)
async def test_a_permission_question_is_answered_at_the_terminal(
    typed: str, written: list[str], decision: str
) -> None:
    desk = Desk()
    with anyio.fail_after(5):
        async with small_app(ScriptedProvider(WRITE, "Done."), tools=desk.tools) as app:
            watched = Watched(app, typed)
            outcome = await watched.run()
    assert outcome is not None and outcome.status == "completed"
    assert desk.written == written
    (answered,) = watched.events(QuestionAnswered)
    assert isinstance(answered, QuestionAnswered)
    assert (answered.answer.decision, answered.answer.by) == (decision, "person")


async def test_for_this_session_is_not_asked_again() -> None:
    desk = Desk()
    with anyio.fail_after(5):
        async with small_app(ScriptedProvider(WRITE, WRITE, "Done."), tools=desk.tools) as app:
            watched = Watched(app, "s")
            await watched.run()
    assert desk.written == ["x", "x"]
    assert len(watched.events(QuestionAsked)) == 1


async def test_two_questions_are_asked_one_after_the_other() -> None:
    desk = Desk()
    both = Step(
        calls=(Call(name="write", args={"text": "a"}), Call(name="write", args={"text": "b"}))
    )
    with anyio.fail_after(5):
        async with small_app(ScriptedProvider(both, "Done."), tools=desk.tools) as app:
            watched = Watched(app, "y", "n")
            await watched.run()
    assert len(desk.written) == 1
    assert len(watched.events(QuestionAnswered)) == 2


async def test_a_question_that_is_answered_elsewhere_no_longer_waits_for_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    desk = Desk()
    with anyio.fail_after(5):
        async with (
            small_app(ScriptedProvider(WRITE, "Done."), tools=desk.tools) as app,
            anyio.create_task_group() as group,
        ):
            watched = Watched(app)

            async def answer_elsewhere() -> None:
                await watched.typed.waiting.wait()
                (question,) = app.questions.open_questions()
                assert app.questions.answer(question.question_id, Answer(decision="allow_once"))

            group.start_soon(answer_elsewhere)
            outcome = await watched.run()
    assert outcome is not None and outcome.status == "completed"
    assert desk.written == ["x"]
    assert "no longer open" in capsys.readouterr().err


async def test_a_question_of_a_subagent_reaches_the_terminal_too() -> None:
    """It is in another run's log: only the broker tells of it."""
    desk = Desk()
    work = Step(calls=(Call(name="work"),))
    with anyio.fail_after(5):
        async with (
            small_app(ScriptedProvider(work), tools=desk.tools) as app,
            anyio.create_task_group() as group,
        ):
            watched = Watched(app, "y")
            answers: list[Answer] = []

            async def ask() -> None:
                await desk.working.wait()
                question = Question(
                    question_id=QuestionId("q_child"),
                    run_id=RunId("run_child"),
                    topic="permission",
                    text="May I?",
                    asked_at=0.0,
                )
                answers.append(await app.questions.ask(question))
                await watched.press.send(2)

            group.start_soon(ask)
            await watched.run()
    assert [answer.decision for answer in answers] == ["allow_once"]


async def _interrupted(
    desk: Desk, step: Step, press: Callable[[Watched], None]
) -> tuple[Outcome | None, Watched]:
    async with (
        small_app(ScriptedProvider(step), tools=desk.tools) as app,
        anyio.create_task_group() as group,
    ):
        watched = Watched(app)

        async def interrupt() -> None:
            await desk.working.wait()
            press(watched)

        group.start_soon(interrupt)
        outcome = await watched.run()
        desk.let_go.set()
    return outcome, watched


async def test_the_first_interrupt_cancels_the_run_and_its_end_is_seen() -> None:
    step = Step(text="So far.", calls=(Call(name="work"),))
    with anyio.fail_after(5):
        outcome, _ = await _interrupted(Desk(), step, lambda w: w.press.send_nowait(2))
    assert outcome is not None
    assert (outcome.status, outcome.error) == ("cancelled", "cancelled at the terminal")


async def test_the_second_interrupt_leaves_though_a_tool_clings() -> None:
    def twice(watched: Watched) -> None:
        watched.press.send_nowait(2)
        watched.press.send_nowait(2)

    with anyio.fail_after(5):
        outcome, _ = await _interrupted(Desk(), Step(calls=(Call(name="cling"),)), twice)
    assert outcome is None


async def test_an_interrupt_while_the_terminal_is_asked_cancels_the_run() -> None:
    desk = Desk()
    with anyio.fail_after(5):
        async with (
            small_app(ScriptedProvider(WRITE), tools=desk.tools) as app,
            anyio.create_task_group() as group,
        ):
            watched = Watched(app)

            async def interrupt() -> None:
                await watched.typed.waiting.wait()
                watched.press.send_nowait(2)

            group.start_soon(interrupt)
            outcome = await watched.run()
    assert outcome is not None and outcome.status == "cancelled"
    assert desk.written == []


async def test_what_refuses_the_run_is_raised_as_it_is() -> None:
    async with small_app(ScriptedProvider()) as app:
        with pytest.raises(UnknownModel):
            await Watched(app).run(model="test:unknown")


async def test_a_view_that_fails_ends_the_watch_with_its_own_error() -> None:
    class Broken:
        async def show(self, record: EventRecord) -> None:
            raise BrokenPipeError("nobody reads")

    with anyio.fail_after(5):
        async with small_app(ScriptedProvider("Hello.")) as app:
            send, receive = anyio.create_memory_object_stream[int](1)
            with send, receive, pytest.raises(BrokenPipeError):
                await watch_run(
                    app,
                    SubagentSpec(task="x", caller=TERMINAL, depth=0),
                    view=Broken(),
                    asker=Person(Typed()),
                    interrupts=receive,
                )


async def test_a_run_that_takes_its_time_to_begin_can_be_interrupted() -> None:
    """To find its model may need a key that a command gives, or a keyring that is locked."""
    begun = anyio.Event()

    class Slow:
        async def spawn(self, spec: SubagentSpec) -> Subagent:
            begun.set()
            await anyio.sleep_forever()
            raise AssertionError("never")

    with anyio.fail_after(5):
        async with small_app(ScriptedProvider("never")) as app:
            watched = Watched(replace(app, subagents=cast(SubagentPort, Slow())))
            outcomes: list[Outcome | None] = []

            async def run() -> None:
                outcomes.append(await watched.run())

            async with anyio.create_task_group() as group:
                group.start_soon(run)
                await begun.wait()
                await watched.press.send(2)
    assert outcomes == [None]
