"""Seams of agents that work for agents: the port, launchers and links, and notices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from bamboo_mcp.domain.ids import QuestionId, RunId, SteerId, SubagentId, Subject
from bamboo_mcp.domain.questions import Answer
from bamboo_mcp.domain.runs import Delivery, Outcome, RunRequest, Steer, SteerReceipt
from bamboo_mcp.domain.subagents import Subagent, SubagentSpec, WaitMode, WaitResult


class SubagentLink(Protocol):
    """A running child. `result` drives it to its end and may be awaited once."""

    async def result(self) -> Outcome: ...
    def steer(self, steer: Steer) -> None: ...
    def cancel(self, reason: str) -> None: ...


class Launcher(Protocol):
    """Starts subagents somewhere: in this process, in a worker, on another machine.

    Leaving the context stops the child and reaps what it left. What the child does is in the event
    log under the request's run id, wherever it runs.

    Raises:
        LimitReached, InvalidInput: It cannot do what was asked; it never silently does less.
    """

    @property
    def name(self) -> str: ...
    def launch(
        self, spec: SubagentSpec, request: RunRequest
    ) -> AbstractAsyncContextManager[SubagentLink]: ...


class SubagentPort(Protocol):
    """Agents that work for a caller. A result is never lost: it can be read any number of times.

    Raises:
        UnknownId: No such subagent, or it is not this caller's to see.
        NotOwner: It runs in another server process (steer, cancel, answer).
        LimitReached: Depth or number.
    """

    async def spawn(self, spec: SubagentSpec) -> Subagent:
        """Start one; with an `idempotency_key` that was used within a day, give the first one.

        Raises:
            InvalidInput: The key was used for something else.
        """
        ...

    async def resume(self, subagent_id: SubagentId, message: str, *, caller: Subject) -> Subagent:
        """Start a new run over the session of one that has ended, however it did.

        It goes on with its history and `message`, under a new `run_id`, within the bounds it was
        given at first, which begin anew.

        Raises:
            RunBusy: A run of it is under way.
        """
        ...

    async def steer(
        self,
        subagent_id: SubagentId,
        text: str,
        *,
        caller: Subject,
        delivery: Delivery = "next_round",
    ) -> SteerReceipt: ...
    async def answer(
        self,
        subagent_id: SubagentId,
        question_id: QuestionId | None,
        answer: Answer,
        *,
        caller: Subject,
    ) -> bool: ...
    async def cancel(
        self,
        subagent_id: SubagentId,
        *,
        caller: Subject,
        reason: str = "",
        descendants: bool = True,
    ) -> Sequence[Subagent]: ...
    async def get(
        self, subagent_id: SubagentId, *, caller: Subject, run_id: RunId | None = None
    ) -> Subagent:
        """As it is now; with `run_id` as it was in that run of it."""
        ...

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
        """Wait until they ended as `mode` says or ask something; never longer than `timeout_s`.

        With `stall_s` one that gives no sign of life for so long ends the wait too, and is told in
        `stalled`; it wakes nobody again before it was silent for as long once more.

        With `seen` (subagent -> last event sequence the caller knows) an end or a question that the
        caller has seen already does not satisfy `any` again.
        """
        ...

    async def list_subagents(
        self,
        *,
        caller: Subject,
        status: str | None = None,
        parent_id: SubagentId | None = None,
        limit: int = 20,
        before: float | None = None,
    ) -> Sequence[Subagent]: ...
    def unfinished_of(self, caller: Subject) -> Sequence[SubagentId]:
        """What this caller has under way in this process, oldest first."""
        ...

    async def receipt(
        self, subagent_id: SubagentId, steer_id: SteerId, *, caller: Subject
    ) -> SteerReceipt: ...


class Notices(Protocol):
    """What changed of a caller's since its last call. Kept in memory and bounded; nothing waits."""

    def watch(self, subagent: Subagent) -> None:
        """From now on tell `subagent.spec.caller` what becomes of it."""
        ...

    def told(self, subagent: Subagent, caller: Subject) -> None:
        """An answer to `caller` shows this state already."""
        ...

    def take(self, caller: Subject) -> Sequence[str]:
        """The unread lines, oldest first; they count as read with this."""
        ...
