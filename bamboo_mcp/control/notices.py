"""What changed behind a caller's back, told with its next answer, once.

Fed by the event log; kept in memory only, a few lines a caller: whoever missed one finds the
same in `list_subagents`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import TypeVar

from bamboo_mcp.control.paging import shortened
from bamboo_mcp.domain.events import (
    EventRecord,
    QuestionAnswered,
    QuestionAsked,
    RunEnded,
    RunEvent,
    SteerUndelivered,
)
from bamboo_mcp.domain.ids import RunId, SubagentId, Subject
from bamboo_mcp.domain.runs import TERMINAL
from bamboo_mcp.domain.subagents import Subagent

Subscribe = Callable[[Callable[[EventRecord], None]], Callable[[], None]]
"""Registers a listener for every event of every run; what it returns takes the listener away."""

Unfinished = Callable[[Subject], Collection[SubagentId]]
"""A caller's subagents whose end is not on the disk yet."""

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
    """A caller's unread notices, the newest of each kind for each subagent.

    Those of `ending` subagents are to be told once their end is safe.
    """

    __slots__ = ("by_subject", "ending", "left_out")

    def __init__(self) -> None:
        self.by_subject: OrderedDict[tuple[SubagentId, str], str] = OrderedDict()
        self.ending: set[SubagentId] = set()
        self.left_out = 0

    def put(self, subject: tuple[SubagentId, str], line: str) -> None:
        self.by_subject.pop(subject, None)
        self.by_subject[subject] = line
        if len(self.by_subject) > MAX_LINES:
            self.by_subject.popitem(last=False)
            self.left_out += 1

    def keep_only(self, subagents: Collection[SubagentId]) -> None:
        kept = ((key, line) for key, line in self.by_subject.items() if key[0] in subagents)
        self.by_subject = OrderedDict(kept)
        self.ending.intersection_update(subagents)
        self.left_out = 0


class NoticeBoard:
    """Implements `ports.Notices` and `ports.EventSink`, all on the event loop; nothing waits.

    The log tells of an end before it is on the disk; it becomes a notice when `unfinished` no
    longer names the subagent.
    """

    def __init__(
        self,
        subscribe: Subscribe | None = None,
        *,
        unfinished: Unfinished = lambda caller: (),
    ) -> None:
        self._unfinished = unfinished
        self._runs: OrderedDict[RunId, _Watched] = OrderedDict()
        self._early: OrderedDict[RunId, list[RunEvent]] = OrderedDict()
        self._lines: OrderedDict[Subject, _Lines] = OrderedDict()
        self._unsubscribe = subscribe(self.emit) if subscribe is not None else None

    def close(self) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    def emit(self, record: EventRecord) -> None:
        event = record.event
        if not isinstance(event, QuestionAsked | QuestionAnswered | SteerUndelivered | RunEnded):
            return
        watched = self._runs.get(record.run_id)
        if watched is not None:
            self._note(record.run_id, watched, event)
            return
        # A quick child may be over before whoever spawned it has said whose it is.
        early = self._early.setdefault(record.run_id, [])
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
        unsafe = lines.ending.intersection(self._unfinished(caller)) if lines.ending else ()
        told = [line for (one, _), line in lines.by_subject.items() if one not in unsafe]
        if lines.left_out:
            told.insert(0, f"{lines.left_out} older notices left out: call list_subagents")
        if unsafe:
            lines.keep_only(unsafe)
            self._lines[caller] = lines
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
            case SteerUndelivered(steer_id=steer_id):
                line = f"{watched.name} ended before it read {steer_id}"
                self._put(watched.caller, (watched.subagent_id, steer_id), line)
                self._lines[watched.caller].ending.add(watched.subagent_id)
            case RunEnded(outcome=outcome):
                line = f"{watched.name} {_WORDS[outcome.status]}"
                self._put(watched.caller, state, line)
                self._lines[watched.caller].ending.add(watched.subagent_id)
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
