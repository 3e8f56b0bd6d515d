"""One subagent of this process: its link while it runs, and what its events told about it."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import msgspec

from bamboo_mcp.domain.events import (
    QuestionAnswered,
    QuestionAsked,
    RunEvent,
    SteerDelivered,
    SteerQueued,
    SteerRefused,
    SteerUndelivered,
)
from bamboo_mcp.domain.ids import QuestionId, RunId, SteerId, SubagentId
from bamboo_mcp.domain.questions import Question
from bamboo_mcp.domain.runs import Outcome, RunRequest, Steer, SteerReceipt
from bamboo_mcp.domain.subagents import RUN_STRIDE, SubagentSpec
from bamboo_mcp.ports import SubagentLink


class Record:
    """What a run's events say about steering and questions; folded live, or from the log later."""

    __slots__ = ("questions", "steers")

    def __init__(self) -> None:
        self.steers: dict[SteerId, SteerReceipt] = {}
        self.questions: dict[QuestionId, Question] = {}

    def observe(self, event: RunEvent) -> bool:
        """Take note of `event`; True when a question was asked or answered."""
        match event:
            case SteerQueued(steer_id=id, text=text):
                self.steers[id] = SteerReceipt(steer_id=id, state="queued", text=text)
            case SteerDelivered(steer_id=id, round=round_number):
                self._move(id, SteerReceipt(steer_id=id, state="delivered", round=round_number))
            case SteerUndelivered(steer_id=id, text=text):
                self._move(
                    id,
                    SteerReceipt(
                        steer_id=id, state="undelivered", text=text, reason="the run ended first"
                    ),
                )
            case SteerRefused(steer_id=id, reason=reason):
                self._move(id, SteerReceipt(steer_id=id, state="refused", reason=reason))
            case QuestionAsked(question=question):
                self.questions[question.question_id] = question
                return True
            case QuestionAnswered(question_id=question_id):
                self.questions.pop(question_id, None)
                return True
            case _:
                pass
        return False

    def _move(self, id: SteerId, receipt: SteerReceipt) -> None:
        text = self.steers[id].text if id in self.steers else receipt.text
        self.steers[id] = msgspec.structs.replace(receipt, text=text)

    @property
    def question(self) -> Question | None:
        """The oldest open question."""
        return next(iter(self.questions.values())) if self.questions else None


OBSERVED = frozenset(
    (SteerQueued, SteerDelivered, SteerUndelivered, SteerRefused, QuestionAsked, QuestionAnswered)
)
"""The events `Record` cares for; the others need not be shown to it."""


class Child:
    """One run of a subagent, owned by this process. Nothing here awaits.

    A resumed subagent has a new one, `earlier_runs` being the runs it had before.
    """

    __slots__ = (
        "_watchers",
        "cancel_reason",
        "changed_seq",
        "created_at",
        "earlier_runs",
        "ended",
        "link",
        "outcome",
        "record",
        "request",
        "run_ended",
        "spec",
        "subagent_id",
        "told_seq",
        "waiting_for_slot",
        "waiting_steers",
    )

    own = True
    """Not the stand-in for a run of another process."""

    def __init__(
        self,
        spec: SubagentSpec,
        request: RunRequest,
        created_at: float,
        earlier_runs: tuple[RunId, ...] = (),
    ) -> None:
        self.spec = spec
        self.request = request
        assert request.subagent_id is not None
        self.subagent_id: SubagentId = request.subagent_id
        self.created_at = created_at
        self.earlier_runs = earlier_runs
        self.record = Record()
        self.link: SubagentLink | None = None
        self.waiting_steers: list[Steer] = []
        self.waiting_for_slot: anyio.CancelScope | None = None
        self.cancel_reason: str | None = None
        self.outcome: Outcome | None = None
        self.ended = False
        self.run_ended = False
        """Its log has a `RunEnded`; for others it is over a flush later, when `ended` is set."""
        self.changed_seq = 0
        """Position of the event that last asked a question or ended the run."""
        self.told_seq = 0
        """The last such event that a wait handed to who spawned it."""
        self._watchers: list[Callable[[Child], None]] = []

    def changed_at(self, seq: int) -> None:
        """The event `seq` of its run asked, answered or ended something."""
        self.changed_seq = seq + len(self.earlier_runs) * RUN_STRIDE

    def steer(self, steer: Steer) -> None:
        """Hand a message on, or keep it until the run starts. Raises `RunClosed`."""
        if self.link is None:
            self.waiting_steers.append(steer)
        else:
            self.link.steer(steer)

    def connect(self, link: SubagentLink) -> None:
        self.link = link
        for steer in self.waiting_steers:
            link.steer(steer)
        self.waiting_steers = []
        if self.cancel_reason is not None:
            link.cancel(self.cancel_reason)

    def cancel(self, reason: str) -> None:
        if self.cancel_reason is None:
            self.cancel_reason = reason
            if self.link is not None:
                self.link.cancel(reason)
            elif self.waiting_for_slot is not None:
                self.waiting_for_slot.cancel()

    def end(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.ended = True
        self.link = None
        self.changed()
        self._watchers.clear()

    def changed(self) -> None:
        for watcher in tuple(self._watchers):
            watcher(self)

    def watch(self, watcher: Callable[[Child], None]) -> None:
        """Call `watcher` at the end and whenever a question is asked or answered."""
        self._watchers.append(watcher)

    def unwatch(self, watcher: Callable[[Child], None]) -> None:
        if watcher in self._watchers:
            self._watchers.remove(watcher)
