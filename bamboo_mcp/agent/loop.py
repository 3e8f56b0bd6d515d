"""The agent's loop, to be read aloud: merge steering, ask the model, call its tools, again.

Above it `run` resolves the model and turns faults into an outcome; below it are one model call
(`model_call`) and the tool calls of one round (`tool_calls`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import anyio
import anyio.lowlevel

from bamboo_mcp.agent.call_contexts import CallContexts
from bamboo_mcp.agent.clock import RunClock
from bamboo_mcp.agent.limits import CallLimits, RunLimits
from bamboo_mcp.agent.model_call import Draft, ask_model
from bamboo_mcp.agent.tool_calls import RoundCalls, sequential_names
from bamboo_mcp.domain.errors import LimitReached
from bamboo_mcp.domain.events import (
    LimitNear,
    ModelAnswered,
    ModelReplaced,
    RoundStarted,
    RunEvent,
    SteerDelivered,
    Warned,
)
from bamboo_mcp.domain.messages import Message, ToolCallBlock, user_message
from bamboo_mcp.domain.models import ModelCaps, ModelRequest
from bamboo_mcp.domain.provider_errors import BadToolJson, Refused
from bamboo_mcp.domain.runs import RunRequest, Steer
from bamboo_mcp.domain.stream import Stop
from bamboo_mcp.domain.tokens import RunningSize, Sizing
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.ports import (
    Compactor,
    Conversation,
    Emit,
    Inbox,
    Provider,
    ToolExecutor,
)

BAD_JSON_TRIES = 2
"""How often in a row a model may write broken tool arguments before the run fails."""


class Stopped(Exception):
    """The run was asked to stop. The history is whole: every open tool call is answered."""


class Loop:
    """One run under way. What it learns goes to the conversation and to `emit` as it happens."""

    def __init__(
        self,
        request: RunRequest,
        *,
        provider: Provider,
        model: str,
        caps: ModelCaps,
        sizing_of: Callable[[str, str], Sizing],
        system: str,
        tools: ToolExecutor,
        specs: Sequence[ToolSpec],
        contexts: CallContexts,
        conversation: Conversation,
        inbox: Inbox,
        emit: Emit,
        compactor: Compactor,
        clock: RunClock,
    ) -> None:
        self._request = request
        self._provider = provider
        self._model = model
        self._sizing_of = sizing_of
        self._system = system
        self._tools = tools
        self._specs = specs
        self._sequential: frozenset[str] | None = None
        self._contexts = contexts
        self._conversation = conversation
        self._inbox = inbox
        self._emit = emit
        self._compactor = compactor
        self._clock = clock
        self._caps = caps
        self.origin = f"{provider.name}:{model}"
        self._refusals: CallLimits | None = None
        self._bad_json = 0
        self._done = False
        self._last: LimitNear | None = None
        """The bound that leaves but one last round, once one is reached."""
        self.unread: tuple[Steer, ...] = ()
        """Merged, and no model call has begun to answer since."""
        self._size = RunningSize(
            sizing_of(provider.name, model), conversation.messages, system=system, tools=specs
        )
        self.limits = RunLimits(request.limits, clock)
        self.rounds = 0
        self.text = ""
        """The answer so far: the whole one at the end, a part of it if the run is cut off."""

    async def run_rounds(self) -> None:
        """Run until the agent is done.

        Raises:
            Stopped: The inbox was asked to cancel.
            LimitReached: A bound ended it; `text` still holds an answer if the model gave one.
            ContextFull, ProviderFailure, StorageError: As they are.
        """
        while not self._done:
            if self._inbox.cancel_reason is not None:
                raise Stopped
            if self._last is None:
                await self._rounds_until_cut()
            if (last := self._last) is not None:
                if last.value:
                    await self._last_round(last)
                raise LimitReached(
                    f"the run reached {last.limit} = {last.value:g}",
                    hint="the answer is what there was by then; spawn another one for the rest",
                )

    async def _rounds_until_cut(self) -> None:
        # A scope whose time is up lets nothing run inside: look before entering one.
        if self._clock.expired():
            self._last = self._begin_round() or self.limits.out_of_time()
            return
        with self._clock.scope() as scope:
            try:
                await self.rounds_within(scope)
            finally:
                self._inbox.on_interrupt(None)
                self._clock.release(scope)

    async def rounds_within(self, scope: anyio.CancelScope) -> None:
        """Rounds until the agent is done, only a last one is left, or `scope` is cut.

        It is cut by a cancel, a message, or time; `run_rounds` goes on from there. Whoever entered
        the scope takes the inbox's interrupt away.
        """
        # A tool that never waits may have called for the cut and come to its end: then no round
        # begins here that could take in a message and be cut before it is read.
        while not scope.cancel_called:
            if last := self._begin_round():
                self._last = last
                return
            self._inbox.on_interrupt(scope.cancel)
            if self.rounds > 1:
                # Lets others run, and a cancel arrive, even when model and tools never wait.
                await anyio.lowlevel.checkpoint()
            try:
                stop = await self._ask()
            except BadToolJson as error:
                self._ask_again(error)
                continue
            self._bad_json = 0
            if stop.reason == "refusal":
                if calls := stop.message.tool_calls:
                    self._close_unrun(calls, "not run: the model refused to go on")
                raise Refused(f"the model refused: {stop.detail or 'it gave no reason'}")
            if calls := stop.message.tool_calls:
                await self._call(calls)
            elif stop.reason != "pause" and self._close_if_done():
                self._done = True
                return

    def _begin_round(self) -> LimitNear | None:
        """Take in what was sent; returns the bound that makes this round the last one, if any."""
        self.rounds += 1
        self._emit(RoundStarted(round=self.rounds))
        limit = self.limits.look(self.rounds)
        if limit is None or limit.value or not limit.final:
            self._merge(self._inbox.take())
        if limit is None or limit.final:
            return limit
        self._notify(limit, "Come to an end: finish what matters most, then answer.")
        return None

    def _close_if_done(self) -> bool:
        # No await between looking for messages and closing: a message is either merged here or
        # refused by the inbox from now on (architecture section 4).
        if self._inbox.cancel_reason is not None:
            raise Stopped  # no round will read what waits: it stays in the inbox
        if waiting := self._inbox.take(idle=True):
            self._merge(waiting)
            return False
        return self._inbox.close_if_empty()

    def _ask_again(self, error: BadToolJson) -> None:
        """The next round tells the model what was wrong. Raises `error` when it was told before."""
        self._note_read()
        self.limits.spend(error.usage)
        self._bad_json += 1
        if self._bad_json > BAD_JSON_TRIES:
            raise error
        self._append(
            user_message(
                f"Your last tool call could not be read: {error.message}. "
                "Its arguments must be one JSON object.",
                origin="notice:bad_tool_json",
                at=time.time(),
            )
        )

    async def _ask(self, *, last: bool = False) -> Stop:
        history = self._conversation.messages
        fitted = await self._compactor.fit(history, tokens=self._size.tokens, caps=self._caps)
        request = ModelRequest(
            model=self._model,
            messages=history if fitted is None else fitted,
            system=self._system,
            # Also in the last round, where none may be called: caches and signed thoughts are bound
            # to them.
            tools=self._specs,
            tool_choice="none" if last or not self._specs else "auto",
            effort=self._request.effort,
            conversation=self._request.session_id,
        )
        draft = Draft()
        try:
            stop = await ask_model(
                self._provider,
                request,
                draft,
                self._hear,
                self._note_read if self.unread else None,
            )
        except BaseException:
            # Cut off or failed: what is whole stays in the history, answered, and the text so far
            # is the run's. Synchronous, so that it also happens while being cancelled.
            self._keep(draft)
            raise
        self._take_answer(stop, whole=fitted is None)
        return stop

    def _hear(self, event: RunEvent) -> None:
        """News of a model call. Another model in charge has other bounds, and another name."""
        if isinstance(event, ModelReplaced):
            self.origin = event.model
            self._caps = self._provider.caps(self._model)
            provider, _, model = event.model.partition(":")
            self._size.change(self._sizing_of(provider, model))
        self._emit(event)

    def _take_answer(self, stop: Stop, *, whole: bool) -> None:
        message = stop.message
        if not message.at:
            message = Message(
                role=message.role,
                blocks=message.blocks,
                origin=message.origin or self.origin,
                at=time.time(),
            )
        self._conversation.append(message)
        self._size.answered(message, stop.usage, whole=whole)
        self.limits.spend(stop.usage)
        self.text = message.text or self.text
        self._emit(
            ModelAnswered(
                round=self.rounds,
                model=stop.model or self._model,
                stop=stop.reason,
                usage=stop.usage,
            )
        )
        if stop.reason in ("max_tokens", "context_window"):
            self._emit(Warned(code="answer_cut", message=f"the answer was cut: {stop.reason}"))

    def _keep(self, draft: Draft) -> None:
        if draft.text:
            self.text = draft.text
        if (message := draft.salvage(self.origin, time.time())) is None:
            return
        self._append(message)
        if message.tool_calls:
            self._close_unrun(message.tool_calls, "not run: the round was interrupted")

    async def _call(self, blocks: Sequence[ToolCallBlock]) -> None:
        if self._sequential is None:
            self._sequential = sequential_names(self._specs)
        calls = self._calls(blocks)
        try:
            await calls.run(self._sequential)
        except BaseException:
            calls.close("cancelled by user" if self._inbox.cancel_reason else "interrupted")
            raise
        finally:
            self._append_results(calls)

    def _calls(self, blocks: Sequence[ToolCallBlock]) -> RoundCalls:
        if self._refusals is None:
            self._refusals = CallLimits(self._request.limits)
        return RoundCalls(
            blocks,
            tools=self._tools,
            contexts=self._contexts,
            refusals=self._refusals,
            limits=self._request.limits,
            clock=self._clock,
            emit=self._emit,
        )

    def _close_unrun(self, blocks: Sequence[ToolCallBlock], reason: str) -> None:
        """Every call has its answer: a history with an open one is refused by all services."""
        calls = self._calls(blocks)
        calls.close(reason)
        self._append_results(calls)

    def _append_results(self, calls: RoundCalls) -> None:
        self._append(Message(role="user", blocks=calls.blocks(), at=time.time()))

    async def _last_round(self, reached: LimitNear) -> None:
        """One round without tools, so that an answer still comes out; then the run ends."""
        self._notify(reached, "You have no tools any more. Answer now with what you have.")
        with anyio.CancelScope(deadline=anyio.current_time() + self.limits.final_round_s) as step:
            self._inbox.on_interrupt(
                lambda: step.cancel() if self._inbox.cancel_reason is not None else None
            )
            try:
                stop = await self._ask(last=True)
                if stop.message.tool_calls:
                    self._close_unrun(stop.message.tool_calls, "not run: the run is at its end")
            finally:
                self._inbox.on_interrupt(None)
        if self._inbox.cancel_reason is not None:
            raise Stopped

    def _notify(self, limit: LimitNear, words: str) -> None:
        self._emit(limit)
        self._append(
            user_message(
                f"[limit] {limit.limit} = {limit.value:g} is "
                f"{'reached' if limit.final else 'near'}. {words}",
                origin=f"notice:{limit.limit}",
                at=time.time(),
            )
        )

    def _merge(self, steers: Sequence[Steer]) -> None:
        # All are unread before the first is written: a full disk loses none of them.
        self.unread += tuple(steers)
        for steer in steers:
            self._append(user_message(steer.text, origin=f"steer:{steer.steer_id}", at=time.time()))

    def _note_read(self) -> None:
        """A model is answering: what was merged so far is delivered, with this round."""
        while self.unread:
            self._emit(SteerDelivered(steer_id=self.unread[0].steer_id, round=self.rounds))
            self.unread = self.unread[1:]

    def _append(self, message: Message) -> None:
        self._conversation.append(message)
        self._size.add(message)
