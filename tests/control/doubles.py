"""Subagents, sessions and a log in memory, which a test moves by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import msgspec

from bamboo_mcp.domain.errors import PermissionDenied, UnknownId
from bamboo_mcp.domain.events import EventRecord, QuestionAsked, RunEnded, RunEvent
from bamboo_mcp.domain.ids import (
    QuestionId,
    RunId,
    SessionId,
    SteerId,
    SubagentId,
    Subject,
    new_run_id,
    new_session_id,
    new_steer_id,
    new_subagent_id,
)
from bamboo_mcp.domain.messages import Message
from bamboo_mcp.domain.questions import Answer, Question
from bamboo_mcp.domain.runs import (
    TERMINAL,
    Delivery,
    Outcome,
    SteerReceipt,
    TerminalStatus,
)
from bamboo_mcp.domain.sessions import Session, SessionHits, SessionMeta
from bamboo_mcp.domain.subagents import Subagent, SubagentSpec, WaitMode, WaitResult
from bamboo_mcp.ports import SessionWriter

PERMISSION = Question(
    question_id=QuestionId("q_permission"),
    topic="permission",
    text="May I write sizes.md?",
    asked_at=10.0,
    tool="write_file",
    arguments={"path": "sizes.md", "content": "x" * 50_000},
)
CHOICE = Question(
    question_id=QuestionId("q_choice"),
    topic="choice",
    text="Which version?",
    asked_at=10.0,
    options=("1", "2"),
)


class FakeSubagents:
    """Implements `SubagentPort`. `finish` and `ask` are what the children do."""

    def __init__(self) -> None:
        self.states: dict[SubagentId, Subagent] = {}
        self.answers: list[tuple[QuestionId | None, Answer]] = []
        self.steered: list[tuple[str, Delivery]] = []
        self.resumed: list[tuple[SubagentId, str]] = []
        self.stalled: dict[SubagentId, float] = {}
        self.cancelled: list[tuple[SubagentId, str, bool]] = []
        self.waits: list[float] = []
        self.steer_state: SteerReceipt | None = None
        self.on_spawn: Callable[[Subagent], None] = lambda subagent: None
        self.listeners: list[Callable[[EventRecord], None]] = []
        self.on_end: Callable[[RunId, Outcome], None] = lambda run_id, outcome: None
        self.records: dict[RunId, list[EventRecord]] = {}
        self._changed = anyio.Event()
        self._clock = 0.0

    def subscribe(self, listener: Callable[[EventRecord], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def happen(self, subagent_id: SubagentId, event: RunEvent) -> None:
        one = self.states[subagent_id]
        records = self.records.setdefault(one.run_id, [])
        record = EventRecord(run_id=one.run_id, seq=len(records) + 1, at=1.0, event=event)
        records.append(record)
        self.change(subagent_id, last_seq=record.seq)
        for listener in self.listeners:
            listener(record)

    def change(self, subagent_id: SubagentId, **changes: Any) -> None:
        one = msgspec.structs.replace(self.states[subagent_id], **changes)
        self.states[subagent_id] = one
        self._changed.set()
        self._changed = anyio.Event()

    def finish(
        self,
        subagent_id: SubagentId,
        text: str = "done",
        *,
        status: TerminalStatus = "completed",
        **more: Any,
    ) -> None:
        outcome = Outcome(status=status, text=text, **more)
        self.change(subagent_id, status=status, outcome=outcome, question=None, ended_at=2.0)
        self.happen(subagent_id, RunEnded(outcome=outcome))
        self.on_end(self.states[subagent_id].run_id, outcome)

    def ask(self, subagent_id: SubagentId, question: Question) -> None:
        self.change(subagent_id, status="waiting", question=question)
        self.happen(subagent_id, QuestionAsked(question=question))

    async def spawn(self, spec: SubagentSpec) -> Subagent:
        self._clock += 1
        one = Subagent(
            subagent_id=new_subagent_id(),
            session_id=new_session_id(),
            run_id=new_run_id(),
            spec=spec,
            status="running",
            created_at=self._clock,
            last_activity="round 1: thinking",
        )
        self.states[one.subagent_id] = one
        self.on_spawn(one)
        return one

    async def resume(self, subagent_id: SubagentId, message: str, *, caller: Subject) -> Subagent:
        one = self._of(subagent_id, caller)
        self.resumed.append((subagent_id, message))
        self.change(
            subagent_id,
            run_id=new_run_id(),
            earlier_runs=(*one.earlier_runs, one.run_id),
            status="running",
            outcome=None,
            ended_at=None,
            last_seq=0,
        )
        self.on_spawn(self.states[subagent_id])
        return self.states[subagent_id]

    async def steer(
        self,
        subagent_id: SubagentId,
        text: str,
        *,
        caller: Subject,
        delivery: Delivery = "next_round",
    ) -> SteerReceipt:
        self._of(subagent_id, caller)
        self.steered.append((text, delivery))
        return self.steer_state or SteerReceipt(steer_id=new_steer_id(), state="queued", text=text)

    async def answer(
        self,
        subagent_id: SubagentId,
        question_id: QuestionId | None,
        answer: Answer,
        *,
        caller: Subject,
    ) -> bool:
        question = self._of(subagent_id, caller).question
        if question is None or question.question_id != question_id:
            return False
        if question.topic == "permission" and answer.by == "model" and answer.allowed:
            raise PermissionDenied("a model may not grant this", hint="ask a person")
        self.answers.append((question_id, answer))
        self.change(subagent_id, status="running", question=None)
        return True

    async def cancel(
        self,
        subagent_id: SubagentId,
        *,
        caller: Subject,
        reason: str = "",
        descendants: bool = True,
    ) -> Sequence[Subagent]:
        self._of(subagent_id, caller)
        self.cancelled.append((subagent_id, reason, descendants))
        if self.states[subagent_id].outcome is None:
            self.finish(subagent_id, "so far", status="cancelled")
        return [self.states[subagent_id]]

    async def get(
        self, subagent_id: SubagentId, *, caller: Subject, run_id: RunId | None = None
    ) -> Subagent:
        return self._of(subagent_id, caller)

    async def wait(
        self,
        subagent_ids: Sequence[SubagentId],
        *,
        caller: Subject,
        mode: WaitMode = "all",
        timeout_s: float = 25.0,
        seen: Mapping[SubagentId, int] | None = None,
        stall_s: float | None = None,
        on_change: Callable[[Sequence[Subagent]], None] | None = None,
    ) -> WaitResult:
        self.waits.append(timeout_s)
        for one in subagent_ids:
            self._of(one, caller)
        done = False
        with anyio.move_on_after(timeout_s):
            while not (done := self._holds(subagent_ids, mode, seen or {})):
                if stall_s is not None and self.stalled:
                    break
                if on_change is not None:
                    on_change([self.states[one] for one in subagent_ids])
                await self._changed.wait()
        return WaitResult(
            subagents=tuple(self.states[one] for one in subagent_ids),
            done=done,
            stalled=self.stalled if stall_s is not None else {},
        )

    async def list_subagents(
        self,
        *,
        caller: Subject,
        status: str | None = None,
        parent_id: SubagentId | None = None,
        limit: int = 20,
        before: float | None = None,
    ) -> Sequence[Subagent]:
        return [
            one
            for one in sorted(self.states.values(), key=lambda one: -one.created_at)
            if one.spec.caller == caller
            and status in (None, one.status)
            and parent_id in (None, one.spec.parent_id)
            and (before is None or one.created_at < before)
        ][:limit]

    def unfinished_of(self, caller: Subject) -> Sequence[SubagentId]:
        return [
            one.subagent_id
            for one in self.states.values()
            if one.spec.caller == caller and one.status not in TERMINAL
        ]

    async def receipt(
        self, subagent_id: SubagentId, steer_id: SteerId, *, caller: Subject
    ) -> SteerReceipt:
        for receipt in self._of(subagent_id, caller).steers:
            if receipt.steer_id == steer_id:
                return receipt
        raise UnknownId(f"no message {steer_id!r}")

    def _of(self, subagent_id: SubagentId, caller: Subject) -> Subagent:
        one = self.states.get(subagent_id)
        if one is None or one.spec.caller != caller:
            raise UnknownId(f"no subagent {subagent_id!r}", hint="list_subagents shows yours")
        return one

    def _holds(
        self, wanted: Sequence[SubagentId], mode: WaitMode, seen: Mapping[SubagentId, int]
    ) -> bool:
        states = [self.states[one] for one in wanted]
        if all(one.outcome for one in states) or any(one.question for one in states):
            return True
        fresh = [one for one in states if one.last_seq > seen.get(one.subagent_id, 0)]
        return mode == "any" and any(one.outcome for one in fresh)


class FakeQuestions:
    """Implements `Questions` as far as one looks at the open ones."""

    def __init__(self, subagents: FakeSubagents) -> None:
        self._subagents = subagents

    def open_questions(self) -> Sequence[Question]:
        return [one.question for one in self._subagents.states.values() if one.question]

    async def ask(self, question: Question) -> Answer:
        raise NotImplementedError

    def answer(self, question_id: QuestionId, answer: Answer) -> bool:
        raise NotImplementedError

    def listen(self, listener: Callable[[Question], None]) -> Callable[[], None]:
        raise NotImplementedError

    async def closed(self, question_id: QuestionId) -> None:
        raise NotImplementedError


class FakeLog:
    """Implements `EventLog` over what the fake subagents did."""

    def __init__(self, subagents: FakeSubagents) -> None:
        self._records = subagents.records

    def append(self, run_id: RunId, event: RunEvent) -> EventRecord:
        raise NotImplementedError

    def follow(self, run_id: RunId, *, after: int = 0) -> AsyncIterator[EventRecord]:
        raise NotImplementedError

    async def read(
        self, run_id: RunId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[EventRecord]:
        if run_id not in self._records:
            raise UnknownId(f"no run {run_id!r}")
        return [one for one in self._records[run_id] if one.seq > after][:limit]

    async def flush(self, run_id: RunId) -> None:
        return None


class FakeSessions:
    """Implements `SessionStore` as far as one reads."""

    def __init__(self) -> None:
        self.messages: dict[SessionId, list[Message]] = {}

    async def create(self, meta: SessionMeta, messages: Sequence[Message] = ()) -> None:
        self.messages[meta.session_id] = list(messages)

    async def load(
        self, session_id: SessionId, *, offset: int = 0, limit: int | None = None
    ) -> Session:
        messages = self.messages.get(session_id, [])
        end = None if limit is None else offset + limit
        return Session(
            meta=SessionMeta(session_id=session_id, created_at=1.0),
            messages=messages[offset:end],
            offset=offset,
            total=len(messages),
        )

    def open(self, session_id: SessionId) -> AbstractAsyncContextManager[SessionWriter]:
        raise NotImplementedError

    async def edit(
        self, session_id: SessionId, change: Callable[[SessionMeta], SessionMeta]
    ) -> SessionMeta:
        raise NotImplementedError

    async def list_sessions(
        self, *, limit: int = 20, before: float | None = None, subagents_only: bool = False
    ) -> Sequence[SessionMeta]:
        raise NotImplementedError

    async def search(self, query: str, *, limit: int = 20, offset: int = 0) -> SessionHits:
        raise NotImplementedError

    async def delete(self, session_id: SessionId) -> None:
        raise NotImplementedError
