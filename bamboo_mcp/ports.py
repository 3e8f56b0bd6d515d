"""Every seam of the system, as a Protocol whose docstring is the contract.

May import: `domain`. What needs opening is an async context manager entered by `app` in one exit
stack, so no port has `start` or `close`. Ports are async only, except where a call promises neither
to block nor to wait. Each port has a contract suite in `testing.contracts` that runs over every
implementation, a plugin author's too. Grow by adding a port, not a parameter.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from bamboo_mcp.domain.events import EventRecord, RunEvent
from bamboo_mcp.domain.ids import QuestionId, RunId, SessionId, SteerId, SubagentId, Subject
from bamboo_mcp.domain.messages import Message
from bamboo_mcp.domain.models import ModelCaps, ModelEntry, ModelRequest
from bamboo_mcp.domain.questions import Answer, PermissionMode, Question
from bamboo_mcp.domain.runs import Delivery, Outcome, RunRequest, RunState, Steer, SteerReceipt
from bamboo_mcp.domain.sessions import Session, SessionMeta
from bamboo_mcp.domain.stream import Chunk
from bamboo_mcp.domain.subagents import Subagent, SubagentSpec, WaitMode, WaitResult
from bamboo_mcp.domain.tools import Progress, ToolCall, ToolResult, ToolSpec
from bamboo_mcp.domain.value import Value

# --- language models ---------------------------------------------------------------------------


OnWait = Callable[[float, str, int], None]
"""Told before a pause asked for by a provider: seconds, reason, number of the failed attempt."""


class Provider(Protocol):
    """A language model service.

    `stream` yields chunks, the last always a `Stop`, and makes no retries of its own. Leaving the
    context closes the connection at once, also in mid-stream.

    Raises:
        ProviderFailure: From `stream`, of the kind that fits; `started` is set once a chunk was
            yielded.
    """

    @property
    def name(self) -> str: ...
    def caps(self, model: str) -> ModelCaps: ...
    def stream(
        self, request: ModelRequest, *, on_wait: OnWait | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]: ...
    async def count(self, request: ModelRequest) -> int | None:
        """Exact input tokens, or None when the service cannot tell."""
        ...

    async def models(self) -> Sequence[ModelEntry]:
        """What this service offers; a missing key is said in the entry and raises nothing."""
        ...


class Models(Protocol):
    """Which model serves.

    `resolve` takes `provider:model`, a bare model name, a role, or "" for the default.

    Raises:
        UnknownModel: Naming the value and what is known.
        AuthenticationFailed: The provider is known and what it needs is missing; says what.
    """

    async def resolve(self, name: str) -> tuple[Provider, str]: ...
    async def menu(self) -> Sequence[ModelEntry]: ...


# --- tools -------------------------------------------------------------------------------------


class ToolContext(Value, frozen=True, kw_only=True):
    """What a call may know and do.

    `ask` waits for a person and raises nothing: no answer in time is a `deny`. `progress` neither
    blocks nor raises. `workspace` None: there is none, file tools refuse. `deadline` is on
    `anyio.current_time()`'s clock.
    """

    caller: Subject
    mode: PermissionMode
    ask: Callable[[Question], Awaitable[Answer]]
    progress: Callable[[Progress], None]
    workspace: Path | None = None
    run_id: RunId | None = None
    session_id: SessionId | None = None
    subagent_id: SubagentId | None = None
    depth: int = 0
    deadline: float = float("inf")


class ToolExecutor(Protocol):
    """Some tools. The one shape everything nests in: builtins, plugins, upstreams, wrappers.

    `list_tools` keeps a stable order and never fails because one tool is bad. `call_tool` answers a
    failing tool with a result, not an exception; only cancellation and bugs escape. A name that is
    not in `list_tools` is answered with `unknown_tool`.
    """

    async def list_tools(self) -> Sequence[ToolSpec]: ...
    async def call_tool(self, call: ToolCall, context: ToolContext) -> ToolResult: ...


class Policy(Protocol):
    """May this call happen?

    None: yes. An `Answer`: no, with the reason. A `Question`: ask first.
    """

    def decide(
        self, tool: ToolSpec, call: ToolCall, context: ToolContext
    ) -> Question | Answer | None: ...
    def remember(self, question: Question, answer: Answer) -> None:
        """Take note of an `allow_session`, so that the same is not asked twice in a session."""
        ...


class Questions(Protocol):
    """One broker between those who ask and whoever is there to answer.

    `ask` waits until answered or until `question.expires_in_s` after its birth, then returns a
    `deny` by `expiry`. `answer` returns False when the question is not open (any more). A listener
    is told of each new question; it must not block.
    """

    async def ask(self, question: Question) -> Answer: ...
    def answer(self, question_id: QuestionId, answer: Answer) -> bool: ...
    def open_questions(self) -> Sequence[Question]: ...
    def listen(self, listener: Callable[[Question], None]) -> Callable[[], None]:
        """Register `listener`; the returned function takes it away again."""
        ...


# --- runs --------------------------------------------------------------------------------------

Emit = Callable[[RunEvent], None]
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


Execute = Callable[[RunRequest, Inbox], Awaitable[Outcome]]
"""Run the agent in this process, from its first event to its last; raises nothing of its own."""


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


# --- sessions ----------------------------------------------------------------------------------


class SessionWriter(Conversation, Protocol):
    """A conversation held open for a run."""

    @property
    def meta(self) -> SessionMeta: ...
    async def flush(self) -> None:
        """Return once what was appended survives power loss, if the durability setting says so."""
        ...


class SessionStore(Protocol):
    """Conversations between runs. Several processes may use one store at the same time.

    `open` loads the messages and keeps the session ready to append; several may hold one session,
    and every append of each is kept. `edit` merges a change into the latest record under its lock:
    `change` gets the record as it is on disk and returns the new one; `version` goes up by one.

    Raises:
        UnknownId: No such session.
        StorageError: Reading or writing failed; what was written before is intact.
    """

    async def create(self, meta: SessionMeta, messages: Sequence[Message] = ()) -> None: ...
    async def load(
        self, session_id: SessionId, *, offset: int = 0, limit: int | None = None
    ) -> Session:
        """Messages from `offset` on; a negative one counts from the end and reads only the tail."""
        ...

    def open(self, session_id: SessionId) -> AbstractAsyncContextManager[SessionWriter]: ...
    async def edit(
        self, session_id: SessionId, change: Callable[[SessionMeta], SessionMeta]
    ) -> SessionMeta: ...
    async def list_sessions(
        self, *, limit: int = 20, before: float | None = None, subagents_only: bool = False
    ) -> Sequence[SessionMeta]:
        """Newest first by `created_at`; `before` pages on."""
        ...

    async def delete(self, session_id: SessionId) -> None: ...


# --- subagents ---------------------------------------------------------------------------------


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

    async def spawn(self, spec: SubagentSpec) -> Subagent: ...
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
    async def get(self, subagent_id: SubagentId, *, caller: Subject) -> Subagent: ...
    async def wait(
        self,
        subagent_ids: Sequence[SubagentId],
        *,
        caller: Subject,
        mode: WaitMode = "all",
        timeout_s: float = 25.0,
        seen: Mapping[SubagentId, int] | None = None,
        on_change: Callable[[Sequence[Subagent]], None] | None = None,
    ) -> WaitResult:
        """Wait until all (any) of them ended or ask something; never longer than `timeout_s`.

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


class Runs(Protocol):
    """The states of runs, wherever they are executed."""

    async def state(self, run_id: RunId) -> RunState:
        """Raises `UnknownId`. A run whose process is gone and that has no `RunEnded` is `lost`."""
        ...
