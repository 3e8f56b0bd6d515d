"""Seams of a run: its log, its inbox, its body, its conversation, and how it is looked at."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bamboo_mcp.domain.events import EventRecord, RunEvent, RunPicture
from bamboo_mcp.domain.ids import RunId, SessionId, SubagentId
from bamboo_mcp.domain.messages import Message
from bamboo_mcp.domain.models import ModelCaps
from bamboo_mcp.domain.runs import Outcome, RunRequest, RunState, Steer
from bamboo_mcp.ports.models import Provider
from bamboo_mcp.ports.tools import ToolExecutor

Emit = Callable[[RunEvent], object]
"""Append an event to the log of the run at hand. Neither blocks nor waits."""


class EventLog(Protocol):
    """What happened in each run, in order, kept.

    `append` writes before it returns (it survives the death of this process) and neither waits nor
    yields. `follow` replays what came after `after`, then goes on live, and ends with the run's
    `RunEnded`; a slow follower slows nobody. `read` gives what is there now, at most `limit`.

    Raises:
        UnknownId: From `follow` and `read`, when nothing is known of the run.
        StorageError: From `append`; the run must end with it.
    """

    def append(self, run_id: RunId, event: RunEvent) -> EventRecord: ...
    def follow(self, run_id: RunId, *, after: int = 0) -> AsyncIterator[EventRecord]: ...
    async def read(
        self, run_id: RunId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[EventRecord]: ...
    async def flush(self, run_id: RunId) -> None:
        """Return once what was appended survives power loss, if the durability setting says so."""
        ...


class EventSink(Protocol):
    """Somebody who wants every event of every run as it happens (a plugin).

    Neither blocks nor raises.
    """

    def emit(self, record: EventRecord) -> None: ...


class Conversation(Protocol):
    """The messages of a session while a run works on it: append-only (providers note, decision 4).

    `append` writes inline before it returns; `messages` grows by it and is never copied.

    Raises:
        StorageError: From `append`.
    """

    @property
    def messages(self) -> Sequence[Message]: ...
    def append(self, message: Message) -> None: ...


class Inbox(Protocol):
    """Steering on its way into a run. No method waits.

    `close_if_empty` answers and closes in one step, so a message is either merged or refused.

    Raises:
        RunClosed: From `put`, when the run has taken its last round.
    """

    def put(self, steer: Steer) -> None: ...
    def take(self, *, idle: bool = False) -> Sequence[Steer]:
        """What the next model call shall read; `idle`: also what waits for the agent to be done."""
        ...

    def close_if_empty(self) -> bool: ...
    def close(self) -> Sequence[Steer]:
        """Accept nothing more; returns what was never read."""
        ...

    def cancel(self, reason: str) -> None:
        """Ask the run to stop: its body is interrupted wherever it waits."""
        ...

    @property
    def cancel_reason(self) -> str | None: ...
    def on_interrupt(self, interrupt: Callable[[], None] | None) -> None:
        """What to call when a cancel or a `delivery: interrupt` comes; at once if one has."""
        ...


class RunBody(Protocol):
    """What a run executes: the agent, an echo, a command line tool.

    It returns an outcome for everything that can go wrong by itself, an asked-for cancel included;
    cancellation from outside and bugs pass through. It emits neither `RunStarted` nor `RunEnded`.
    """

    async def run(
        self, request: RunRequest, conversation: Conversation, inbox: Inbox, emit: Emit
    ) -> Outcome: ...


class CompletionHook(Protocol):
    """Told how a run ended, before its end is written and shown; may append closing messages.

    `conversation` is None when the session could not be opened. It has a few seconds; what it
    raises and that it took too long is noted in the run's log, and changes nothing else. It must
    not shield itself from cancellation.
    """

    async def __call__(self, outcome: Outcome, conversation: Conversation | None) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunParts:
    """What a run brings along that is no value, so that it stays in this process.

    `tools` stand in the place of those of the agent, under the same rules; `provider` answers in
    the place of the one that `RunRequest.model` names. `sink` is told of this run's events alone
    and is dropped when it raises.
    """

    tools: ToolExecutor | None = None
    provider: Provider | None = None
    sink: EventSink | None = None
    on_complete: CompletionHook | None = None


NO_PARTS = RunParts()


class Execute(Protocol):
    """Run the agent in this process, from its first event to its last; raises nothing itself.

    The run's id is new, and its session is free: `Reserve` gives one that is. Cancellation from
    outside passes through, after the end was written.
    """

    def __call__(
        self, request: RunRequest, inbox: Inbox, parts: RunParts = NO_PARTS, /
    ) -> Coroutine[Any, Any, Outcome]: ...


class Reserve(Protocol):
    """A new run for a session that exists, from now on the only unfinished one of all processes.

    It is `pending` and can be followed; it must then be executed, or ended unstarted.

    Raises:
        RunBusy: The session has an unfinished run, here or in another process; carries its id.
        UnknownId, StorageError
    """

    def __call__(
        self, session_id: SessionId, subagent_id: SubagentId | None = None, /
    ) -> Coroutine[Any, Any, RunId]: ...


AtRunEnd = Callable[[RunId], Awaitable[Sequence[str]]]
"""Called between the last act of a run and its end: end what the run left running elsewhere.

It says what it ended, a line each, for whoever reads the result. Bounded in time; may not raise."""


class Compactor(Protocol):
    """Makes room in a conversation, called once a round.

    `tokens` is the size of the next prompt, kept as a running total so that nothing is counted
    again. Returns the messages the next model call shall see instead of `history`, or None when
    it fits.

    Raises:
        ContextFull: It does not fit and nothing can be done.
    """

    async def fit(
        self, history: Sequence[Message], *, tokens: int, caps: ModelCaps
    ) -> Sequence[Message] | None: ...


class Runs(Protocol):
    """The states of runs, wherever they are executed."""

    async def state(self, run_id: RunId) -> RunState:
        """Raises `UnknownId`. A run whose process is gone and that has no `RunEnded` is `lost`."""
        ...

    async def picture(self, run_id: RunId) -> RunPicture:
        """The same for those who come late or again as for those who were there from the start.

        Raises `UnknownId`.
        """
        ...
