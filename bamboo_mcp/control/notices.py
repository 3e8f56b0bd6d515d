"""What changed behind a caller's back, told with its next answer, once.

Fed by the event log and by those who end runs; kept in memory only, a few lines a caller: whoever
missed one finds the same in `list_subagents`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from bamboo_mcp.control.paging import shortened
from bamboo_mcp.domain.events import (
    EventRecord,
    QuestionAnswered,
    QuestionAsked,
    RunEnded,
    RunEvent,
)
from bamboo_mcp.domain.ids import RunId, SubagentId, Subject
from bamboo_mcp.domain.runs import TERMINAL, Outcome
from bamboo_mcp.domain.subagents import Subagent

Subscribe = Callable[[Callable[[EventRecord], None]], Callable[[], None]]
"""Registers a listener for every event of every run; what it returns takes the listener away."""

MAX_LINES = 20
MAX_CALLERS = 1_000
MAX_RUNS = 10_000
MAX_EARLY_RUNS = 256
_QUESTION_CHARS = 120

K = TypeVar("K")
V = TypeVar("V")

_WORDS = {
    "completed": "finished",
    "cancelled": "was cancelled",
    "error": "failed",
    "lost": "is lost: its process died",
}


class _Watched:
    __slots__ = ("caller", "name", "subagent_id")

    def __init__(self, subagent: Subagent) -> None:
        self.caller = subagent.spec.caller
        self.subagent_id = subagent.subagent_id
        title = " ".join(subagent.spec.title.split())
        self.name = (
            f"{subagent.subagent_id} ({shortened(title, 60)})" if title else self.subagent_id
        )


class _Lines:
    """A caller's unread notices, the newest of each kind for each subagent."""

    __slots__ = ("by_subject", "left_out")

    def __init__(self) -> None:
        self.by_subject: OrderedDict[tuple[SubagentId, str], str] = OrderedDict()
        self.left_out = 0

    def put(self, subject: tuple[SubagentId, str], line: str) -> None:
        self.by_subject.pop(subject, None)
        self.by_subject[subject] = line
        if len(self.by_subject) > MAX_LINES:
            self.by_subject.popitem(last=False)
            self.left_out += 1


class NoticeBoard:
    """Implements `ports.Notices` and `ports.EventSink`, all on the event loop; nothing waits.

    The log tells of an end before it is on the disk, so that ends are not taken from there: who
    knows that one is safe calls `ended`.
    """

    def __init__(self, subscribe: Subscribe | None = None) -> None:
        self._runs: OrderedDict[RunId, _Watched] = OrderedDict()
        self._early: OrderedDict[RunId, list[RunEvent]] = OrderedDict()
        self._lines: OrderedDict[Subject, _Lines] = OrderedDict()
        self._unsubscribe = subscribe(self.emit) if subscribe is not None else None

    def close(self) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    KINDS = frozenset((QuestionAsked, QuestionAnswered))
    """The events it wants to hear of."""

    def emit(self, record: EventRecord) -> None:
        if isinstance(record.event, QuestionAsked | QuestionAnswered):
            self._hear(record.run_id, record.event)

    def ended(self, run_id: RunId, outcome: Outcome) -> None:
        """The run is over, and its end is as safe as it gets."""
        self._hear(run_id, RunEnded(outcome=outcome))

    def _hear(self, run_id: RunId, event: RunEvent) -> None:
        watched = self._runs.get(run_id)
        if watched is not None:
            self._note(run_id, watched, event)
            return
        # A quick child may be over before whoever spawned it has said whose it is.
        early = self._early.setdefault(run_id, [])
        if len(early) < MAX_LINES or isinstance(event, RunEnded):
            early.append(event)
        _bound(self._early, MAX_EARLY_RUNS)

    def watch(self, subagent: Subagent) -> None:
        """Tell the one who spawned it what becomes of it."""
        early = self._early.pop(subagent.run_id, [])
        if subagent.run_id in self._runs or (subagent.status in TERMINAL and not early):
            return
        watched = self._runs[subagent.run_id] = _Watched(subagent)
        _bound(self._runs, MAX_RUNS)
        for event in early:
            self._note(subagent.run_id, watched, event)

    def told(self, subagent: Subagent, caller: Subject) -> None:
        """An answer to `caller` shows this state already: no need to say it again."""
        lines = self._lines.get(caller)
        if lines is None:
            return
        state = (subagent.subagent_id, "state")
        question = subagent.question
        # The answer may be older than the line: only what it really shows is told.
        about = question is not None and question.question_id in lines.by_subject.get(state, "")
        if subagent.status in TERMINAL or about:
            lines.by_subject.pop(state, None)

    def take(self, caller: Subject) -> list[str]:
        """The caller's unread notices, oldest first; they are read with this."""
        lines = self._lines.pop(caller, None)
        if lines is None:
            return []
        told = list(lines.by_subject.values())
        if lines.left_out:
            told.insert(0, f"{lines.left_out} older notices left out: call list_subagents")
        return told

    def _note(self, run_id: RunId, watched: _Watched, event: RunEvent) -> None:
        state = (watched.subagent_id, "state")
        match event:
            case QuestionAsked(question=question):
                # Quoted: the words are the subagent's, not ours.
                text = shortened(" ".join(question.text.split()), _QUESTION_CHARS)
                line = f"{watched.name} asks ({question.question_id}): {text!r}"
                self._put(watched.caller, state, line)
            case QuestionAnswered(answer=answer) if answer.by == "expiry":
                line = f"{watched.name}: nobody answered its question in time, so it got a no"
                self._put(watched.caller, state, line)
            case QuestionAnswered():
                if watched.caller in self._lines:
                    self._lines[watched.caller].by_subject.pop(state, None)
            case RunEnded(outcome=outcome):
                for steer in outcome.undelivered:
                    line = f"{watched.name} ended before it read {steer.steer_id}"
                    self._put(watched.caller, (watched.subagent_id, steer.steer_id), line)
                line = f"{watched.name} {_WORDS[outcome.status]}"
                self._put(watched.caller, state, line)
                self._runs.pop(run_id, None)
            case _:
                pass

    def _put(self, caller: Subject, subject: tuple[SubagentId, str], line: str) -> None:
        lines = self._lines.setdefault(caller, _Lines())
        self._lines.move_to_end(caller)
        lines.put(subject, line)
        _bound(self._lines, MAX_CALLERS)


def _bound(kept: OrderedDict[K, V], most: int) -> None:
    while len(kept) > most:
        kept.popitem(last=False)
