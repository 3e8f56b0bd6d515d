from __future__ import annotations

import logging
from collections.abc import Sequence

import anyio
import pytest

from bamboo_mcp.agent.inbox import SteeringInbox
from bamboo_mcp.domain.errors import StorageError
from bamboo_mcp.domain.ids import RunId, SessionId
from bamboo_mcp.domain.runs import Outcome, RunRequest
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.ports import Conversation, Emit, Inbox
from bamboo_mcp.runs.endings import RunEndings
from bamboo_mcp.sessions.memory import MemorySessionStore

RUN = RunRequest(run_id=RunId("run_1"), session_id=SessionId("ses_1"))


class Body:
    """Answers, or fails, or works until it is cut off."""

    def __init__(self, failure: Exception | None = None, *, endless: bool = False) -> None:
        self._failure = failure
        self._endless = endless

    async def run(
        self, request: RunRequest, conversation: Conversation, inbox: Inbox, emit: Emit
    ) -> Outcome:
        if self._endless:
            await anyio.sleep_forever()
        if self._failure is not None:
            raise self._failure
        return Outcome(status="completed", text="done", notes=("before",))


async def outcome_of(body: Body, endings: RunEndings) -> Outcome:
    sessions = MemorySessionStore()
    await sessions.create(SessionMeta(session_id=RUN.session_id, created_at=1.0))
    async with sessions.open(RUN.session_id) as conversation:
        running = endings.around(body).run(RUN, conversation, SteeringInbox(), lambda event: None)
        return await running


async def test_what_was_ended_is_said_in_the_outcome() -> None:
    endings = RunEndings()
    told: list[RunId] = []

    async def end(run_id: RunId) -> Sequence[str]:
        told.append(run_id)
        return ["a command was stopped"]

    endings.add(end)
    endings.add(end)
    outcome = await outcome_of(Body(), endings)
    assert outcome.notes == ("before", "a command was stopped", "a command was stopped")
    assert outcome.text == "done"
    assert told == [RUN.run_id] * 2


async def test_a_run_that_fails_or_is_cut_off_is_tidied_up_after_too() -> None:
    endings = RunEndings()
    told: list[RunId] = []

    async def end(run_id: RunId) -> Sequence[str]:
        await anyio.lowlevel.checkpoint()
        told.append(run_id)
        return []

    endings.add(end)
    with pytest.raises(StorageError):
        await outcome_of(Body(StorageError("full")), endings)
    with anyio.move_on_after(0.01) as cut:
        await outcome_of(Body(endless=True), endings)
    assert cut.cancelled_caught
    assert told == [RUN.run_id] * 2


async def test_one_that_breaks_spoils_neither_the_result_nor_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    endings = RunEndings()

    async def broken(run_id: RunId) -> Sequence[str]:
        raise RuntimeError("a plugin")

    async def whole(run_id: RunId) -> Sequence[str]:
        return ["ended"]

    endings.add(broken)
    endings.add(whole)
    with caplog.at_level(logging.ERROR):
        outcome = await outcome_of(Body(), endings)
    assert (outcome.status, outcome.notes) == ("completed", ("before", "ended"))
    assert "run_1" in caplog.text
