"""The agent's loop, to be read aloud: merge steering, ask the model, call its tools, again.

Above it `run` resolves the model and turns faults into an outcome; below it are what is said to the
model and what it answers (`dialogue`), and the tool calls of one round (`tool_calls`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from bamboo_mcp.agent.call_contexts import CallContexts
from bamboo_mcp.agent.clock import RunClock
from bamboo_mcp.agent.dialogue import Dialogue
from bamboo_mcp.agent.limits import CallLimits, RunLimits
from bamboo_mcp.agent.tool_calls import RoundCalls, sequential_names
from bamboo_mcp.domain.errors import LimitReached, OutputInvalid
from bamboo_mcp.domain.events import LimitNear, RoundStarted, SteerDelivered, Warned
from bamboo_mcp.domain.messages import ToolCallBlock
from bamboo_mcp.domain.provider_errors import BadToolJson, Refused
from bamboo_mcp.domain.runs import RunRequest, Steer
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.ports import Emit, Inbox, ToolExecutor
from bamboo_mcp.tools.output_schema import OutputCheck

if TYPE_CHECKING:
    from bamboo_mcp.agent.goal import GoalKeeper

BAD_JSON_TRIES = 2
"""How often in a row a model may write broken tool arguments before the run fails."""

OUTPUT_TRIES = 2
"""How often a model is told what is wrong with an answer that must fit a schema."""


class Stopped(Exception):
    """The run was asked to stop. The history is whole: every open tool call is answered."""


class Loop:
    """One run under way. What it learns goes to its `dialogue` and to `emit` as it happens."""

    def __init__(
        self,
        request: RunRequest,
        *,
        dialogue: Dialogue,
        limits: RunLimits,
        tools: ToolExecutor,
        specs: Sequence[ToolSpec],
        contexts: CallContexts,
        inbox: Inbox,
        emit: Emit,
        clock: RunClock,
        goal: GoalKeeper | None = None,
        output: OutputCheck | None = None,
    ) -> None:
        self._request = request
        self.dialogue = dialogue
        self.limits = limits
        self._tools = tools
        self._specs = specs
        self._sequential: frozenset[str] | None = None
        self._contexts = contexts
        self._inbox = inbox
        self._emit = emit
        self._clock = clock
        self._refusals: CallLimits | None = None
        self._bad_json = 0
        self._done = False
        self._last: LimitNear | None = None
        """The bound that leaves but one last round, once one is reached."""
        self.unread: tuple[Steer, ...] = ()
        """Merged, and no model call has begun to answer since."""
        self.goal = goal
        self._output = output
        self._bad_output = 0
        self.rounds = 0

    async def run_rounds(self) -> None:
        """Run until the agent is done.

        Raises:
            Stopped: The inbox was asked to cancel.
            LimitReached: A bound ended it; the dialogue still has an answer if the model gave one.
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
                stop = await self.dialogue.ask(self.rounds, self._note_read)
            except BadToolJson as error:
                self._ask_again(error)
                continue
            self._bad_json = 0
            if stop.reason == "refusal":
                if calls := stop.message.tool_calls:
                    self.dialogue.close_unrun(calls, "not run: the model refused to go on")
                raise Refused(f"the model refused: {stop.detail or 'it gave no reason'}")
            if calls := stop.message.tool_calls:
                await self._call(calls)
            elif (
                stop.reason != "pause"
                and (self.goal is None or await self._goal_lets_end(self.goal))
                and self._close_if_done()
            ):
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
        if self._output is not None and (problem := self._output.problem(self.dialogue.text)):
            self._ask_for_output(problem)
            return False
        return self._inbox.close_if_empty()

    def _ask_for_output(self, problem: str) -> None:
        self._bad_output += 1
        self._emit(Warned(code="output_invalid", message=problem))
        if self._bad_output > OUTPUT_TRIES:
            raise OutputInvalid(
                f"the answer does not fit output_schema, also after {OUTPUT_TRIES} more tries: "
                f"{problem}",
                hint="the text is what the model answered last",
            )
        self.dialogue.tell(
            f"Your answer was not taken: {problem}. Answer again, with nothing but JSON that "
            "fits the schema.",
            origin="notice:output_invalid",
        )

    async def _goal_lets_end(self, goal: GoalKeeper) -> bool:
        if waiting := self._inbox.take(idle=True):
            self._merge(waiting)  # the agent has not said its last word: no judge yet
            return False
        # Some of the time stays for the end itself: the answer is there, and is not to be spoilt.
        left = max(0.0, self._clock.deadline - anyio.current_time()) * 0.8
        words = await goal.before_end(self.dialogue.messages, within_s=left)
        if not words:
            return True
        self.dialogue.tell(words, origin="notice:goal")
        return False

    def _ask_again(self, error: BadToolJson) -> None:
        """The next round tells the model what was wrong. Raises `error` when it was told before."""
        self._note_read()
        if error.usage.total:
            self.dialogue.spend(error.usage)
        self._bad_json += 1
        if self._bad_json > BAD_JSON_TRIES:
            raise error
        self.dialogue.tell(
            f"Your last tool call could not be read: {error.message}. "
            "Its arguments must be one JSON object.",
            origin="notice:bad_tool_json",
        )

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
            self.dialogue.answer(calls.blocks())

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

    async def _last_round(self, reached: LimitNear) -> None:
        """One round without tools, so that an answer still comes out; then the run ends."""
        self._notify(reached, "You have no tools any more. Answer now with what you have.")
        with anyio.CancelScope(deadline=anyio.current_time() + self.limits.final_round_s) as step:
            self._inbox.on_interrupt(
                lambda: step.cancel() if self._inbox.cancel_reason is not None else None
            )
            try:
                stop = await self.dialogue.ask(self.rounds, self._note_read, last=True)
                if calls := stop.message.tool_calls:
                    self.dialogue.close_unrun(calls, "not run: the run is at its end")
            finally:
                self._inbox.on_interrupt(None)
        if self._inbox.cancel_reason is not None:
            raise Stopped

    def _notify(self, limit: LimitNear, words: str) -> None:
        self._emit(limit)
        self.dialogue.tell(
            f"[limit] {limit.limit} = {limit.value:g} is "
            f"{'reached' if limit.final else 'near'}. {words}",
            origin=f"notice:{limit.limit}",
        )

    def _merge(self, steers: Sequence[Steer]) -> None:
        # All are unread before the first is written: a full disk loses none of them.
        self.unread += tuple(steers)
        for steer in steers:
            self.dialogue.tell(steer.text, origin=f"steer:{steer.steer_id}")

    def _note_read(self) -> None:
        """A model is answering: what was merged so far is delivered, with this round."""
        while self.unread:
            self._emit(SteerDelivered(steer_id=self.unread[0].steer_id, round=self.rounds))
            self.unread = self.unread[1:]
