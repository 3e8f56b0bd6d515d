"""`QuestionBroker`: holds open questions until somebody answers them or their time is up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import anyio

from bamboo_mcp.domain.errors import PermissionDenied
from bamboo_mcp.domain.ids import QuestionId
from bamboo_mcp.domain.questions import Answer, Question

logger = logging.getLogger(__name__)

Listener = Callable[[Question], None]


class _Open:
    """A question somebody waits on. `closed` is set once, however it ends."""

    __slots__ = ("answer", "closed", "question")

    def __init__(self, question: Question) -> None:
        self.question = question
        self.answer: Answer | None = None
        self.closed = anyio.Event()


class QuestionBroker:
    """Implements `ports.Questions`. One for all runs of a process; all calls from its event loop.

    The time of a question runs from the moment `ask` gets it, on the loop's monotonic clock:
    `asked_at` is for people, and a wall clock that jumps must not expire or prolong anything.
    """

    def __init__(self, *, allow_model_approvals: bool = False) -> None:
        self._allow_model_approvals = allow_model_approvals
        self._open: dict[QuestionId, _Open] = {}
        self._listeners: dict[int, Listener] = {}
        self._next_listener = 0

    async def ask(self, question: Question) -> Answer:
        if question.question_id in self._open:
            raise ValueError(f"question {question.question_id} is open already")
        entry = self._open[question.question_id] = _Open(question)
        try:
            self._tell(question)
            with anyio.move_on_after(question.expires_in_s):
                await entry.closed.wait()
        finally:
            # Also when the asker is cancelled: nobody can answer what nobody waits for.
            self._close(entry)
        if entry.answer is not None:
            return entry.answer
        reason = f"nobody answered within {question.expires_in_s:g} s"
        return Answer(decision="deny", by="expiry", reason=reason)

    def answer(self, question_id: QuestionId, answer: Answer) -> bool:
        """Answer once; False when the question is not open.

        Raises:
            PermissionDenied: A model grants a permission, and settings do not let it. That it
                refuses one is always taken.
        """
        entry = self._open.get(question_id)
        if entry is None:
            return False
        if (
            answer.by == "model"
            and answer.allowed
            and entry.question.topic == "permission"
            and not self._allow_model_approvals
        ):
            raise PermissionDenied(
                f"question {question_id} asks for a permission, which a model may not grant",
                hint="Only a person may allow it. The person who runs this server can set "
                "permissions.allow_model_approvals = true, or permissions.default_mode = "
                '"accept_edits" for files, and start it again; in `bamboo-mcp run` they are asked '
                "at the terminal. You can answer deny, or cancel the subagent.",
            )
        entry.answer = answer
        self._close(entry)
        return True

    def open_questions(self) -> Sequence[Question]:
        """Oldest first."""
        return tuple(entry.question for entry in self._open.values())

    def listen(self, listener: Listener) -> Callable[[], None]:
        key = self._next_listener
        self._next_listener += 1
        self._listeners[key] = listener

        def take_away() -> None:
            self._listeners.pop(key, None)

        return take_away

    async def closed(self, question_id: QuestionId) -> None:
        """Wait until the question is no longer open, so that who shows it can take it away."""
        entry = self._open.get(question_id)
        if entry is not None:
            await entry.closed.wait()

    def _close(self, entry: _Open) -> None:
        self._open.pop(entry.question.question_id, None)
        entry.closed.set()

    def _tell(self, question: Question) -> None:
        for listener in list(self._listeners.values()):
            try:
                listener(question)
            except Exception:
                logger.exception("a listener failed on question %s", question.question_id)
