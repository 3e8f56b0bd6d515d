"""One run from its start to its end: shown, its questions answered, stopped when asked to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import cast

import anyio
import click
from anyio.abc import TaskGroup

from bamboo_mcp.cli.application import Application
from bamboo_mcp.cli.asking import Asker
from bamboo_mcp.cli.plain_text import printable
from bamboo_mcp.cli.screen import View
from bamboo_mcp.domain.errors import BambooError
from bamboo_mcp.domain.events import EventRecord, QuestionAnswered, QuestionAsked, RunEnded
from bamboo_mcp.domain.ids import QuestionId, Subject
from bamboo_mcp.domain.questions import Question
from bamboo_mcp.domain.runs import Outcome
from bamboo_mcp.domain.subagents import Subagent, SubagentSpec

TERMINAL = Subject("terminal")

_QUESTIONS_AHEAD = 10_000


async def watch_run(
    app: Application,
    spec: SubagentSpec,
    *,
    view: View,
    asker: Asker,
    interrupts: AsyncIterator[int],
) -> Outcome | None:
    """Start `spec` and stay with it to its end.

    The first interrupt cancels the run, which then ends in its own way; the second leaves at once,
    with None.

    Raises:
        BambooError: The run could not be started, or its log not be read.
    """
    run = await _spawned(app, spec, interrupts)
    if run is None:
        return None
    watch = _Watch(app, run, view, asker)
    outcome: Outcome | None = None
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(watch.heed, interrupts, group)
        group.start_soon(watch.answer_questions)
        try:
            outcome = await watch.follow()
        except Exception as error:  # noqa: BLE001 - raised below
            # Handed on outside the group, which would wrap it.
            failure = error
        finally:
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return outcome


async def _spawned(
    app: Application, spec: SubagentSpec, interrupts: AsyncIterator[int]
) -> Subagent | None:
    """None when it was interrupted: a key that a command gives may take a while."""
    run: Subagent | None = None
    failure: BambooError | None = None
    async with anyio.create_task_group() as group:

        async def heed() -> None:
            async for _ in interrupts:
                click.secho("\ncancelled before it began", fg="yellow", err=True)
                group.cancel_scope.cancel()

        group.start_soon(heed)
        try:
            run = await app.subagents.spawn(spec)
        except BambooError as error:
            failure = error  # raised outside the group, which would wrap it
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return run


class _Watch:
    def __init__(self, app: Application, run: Subagent, view: View, asker: Asker) -> None:
        self._app = app
        self._run = run
        self._view = view
        self._asker = asker
        self._send, self._receive = anyio.create_memory_object_stream[Question](_QUESTIONS_AHEAD)
        self._asking: tuple[QuestionId, anyio.CancelScope] | None = None
        self._answered: set[QuestionId] = set()
        self._cancelling = False

    async def follow(self) -> Outcome | None:
        records = cast(AsyncGenerator[EventRecord, None], self._app.log.follow(self._run.run_id))
        async with aclosing(records):
            async for record in records:
                await self._view.show(record)
                match record.event:
                    case QuestionAsked(question=question):
                        # Only now, so that it stands below what was said before it.
                        self._send.send_nowait(question)
                    case QuestionAnswered(question_id=question_id):
                        self._no_longer_open(question_id)
                    case RunEnded(outcome=outcome):
                        return outcome
        return None

    async def answer_questions(self) -> None:
        """One at a time: this run's as its log tells them, its subagents' as the broker does."""
        with self._send, self._receive:
            for question in self._app.questions.open_questions():
                self._hear(question)
            stop_listening = self._app.questions.listen(self._hear)
            try:
                async for question in self._receive:
                    await self._answer(question)
            finally:
                stop_listening()

    async def heed(self, interrupts: AsyncIterator[int], group: TaskGroup) -> None:
        async for _ in interrupts:
            if self._cancelling:
                group.cancel_scope.cancel()
                return
            self._cancelling = True
            click.secho("\ncancelling; once more leaves at once", fg="yellow", err=True)
            group.start_soon(self._cancel)

    def _hear(self, question: Question) -> None:
        if question.run_id != self._run.run_id:
            self._send.send_nowait(question)

    def _no_longer_open(self, question_id: QuestionId) -> None:
        self._answered.add(question_id)
        if self._asking is not None and self._asking[0] == question_id:
            self._asking[1].cancel()

    async def _answer(self, question: Question) -> None:
        if question.question_id in self._answered:
            return
        taken = True
        with anyio.move_on_after(question.expires_in_s) as scope:
            self._asking = question.question_id, scope
            answer = await self._asker.ask(question)
            self._asking = None
            try:
                if question.run_id == self._run.run_id:
                    taken = await self._app.subagents.answer(
                        self._run.subagent_id, question.question_id, answer, caller=TERMINAL
                    )
                else:
                    taken = self._app.questions.answer(question.question_id, answer)
            except BambooError as error:
                click.secho(printable(error.message), dim=True, err=True)
        self._asking = None
        if (scope.cancelled_caught or not taken) and not self._cancelling:
            click.secho("\nthe question is no longer open", dim=True, err=True)

    async def _cancel(self) -> None:
        try:
            await self._app.subagents.cancel(
                self._run.subagent_id, caller=TERMINAL, reason="cancelled at the terminal"
            )
        except BambooError as error:
            click.secho(printable(error.message), dim=True, err=True)
