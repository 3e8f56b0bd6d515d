"""The model's side of a run: what it is sent, what it answers, what that costs, how large it is.

Above it `loop` says when the model is asked; below it is one call (`model_call`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from bamboo_mcp.agent.limits import RunLimits
from bamboo_mcp.agent.model_call import Draft, ask_model
from bamboo_mcp.agent.money import Money
from bamboo_mcp.agent.tool_calls import unrun_blocks
from bamboo_mcp.domain.events import ModelAnswered, ModelReplaced, RunEvent, Warned
from bamboo_mcp.domain.messages import Message, ToolCallBlock, ToolResultBlock, user_message
from bamboo_mcp.domain.models import ModelCaps, ModelRequest
from bamboo_mcp.domain.runs import RunRequest
from bamboo_mcp.domain.stream import Stop
from bamboo_mcp.domain.tokens import RunningSize, Sizing
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.ports import Compactor, Conversation, Emit, Provider


class Dialogue:
    """That of one run. All that a run adds to its conversation goes through here, and is sized."""

    __slots__ = (
        "_caps",
        "_compactor",
        "_conversation",
        "_emit",
        "_limits",
        "_model",
        "_money",
        "_provider",
        "_request",
        "_size",
        "_sizing_of",
        "_specs",
        "_system",
        "origin",
        "text",
    )

    def __init__(
        self,
        request: RunRequest,
        *,
        provider: Provider,
        model: str,
        caps: ModelCaps,
        sizing_of: Callable[[str, str], Sizing],
        money: Money,
        limits: RunLimits,
        system: str,
        specs: Sequence[ToolSpec],
        conversation: Conversation,
        emit: Emit,
        compactor: Compactor,
    ) -> None:
        self._request = request
        self._provider = provider
        self._model = model
        self._caps = caps
        self._sizing_of = sizing_of
        self._money = money
        self._limits = limits
        self._system = system
        self._specs = specs
        self._conversation = conversation
        self._emit = emit
        self._compactor = compactor
        self._size = RunningSize(
            sizing_of(provider.name, model), conversation.messages, system=system, tools=specs
        )
        self.origin = f"{provider.name}:{model}"
        """The model in charge."""
        self.text = ""
        """The answer so far: the whole one at the end, a part of it if the run is cut off."""

    @property
    def messages(self) -> Sequence[Message]:
        return self._conversation.messages

    async def ask(
        self, round_number: int, begun: Callable[[], None], *, last: bool = False
    ) -> Stop:
        """Send the conversation; the answer is in it, counted and paid, when this returns.

        `begun` is called when the model begins to answer: it has read what it was sent. Cut off,
        what is whole of the answer stays in the conversation.

        Raises:
            ContextFull, ProviderFailure, LimitReached, StorageError: As they are.
        """
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
            stop = await ask_model(self._provider, request, draft, self._hear, begun)
            if self._money.origin != self.origin:
                await self._money.learn(self.origin)
        except BaseException:
            # Cut off or failed: what is whole stays in the history, answered, and the text so far
            # is the run's. Synchronous, so that it also happens while being cancelled.
            self._keep(draft)
            raise
        self._take(stop, round_number, whole=fitted is None)
        return stop

    def tell(self, words: str, origin: str) -> None:
        """What the model reads next."""
        self._append(user_message(words, origin=origin, at=time.time()))

    def answer(self, results: tuple[ToolResultBlock, ...]) -> None:
        """What came of the calls of its last message."""
        self._append(Message(role="user", blocks=results, at=time.time()))

    def close_unrun(self, calls: Sequence[ToolCallBlock], reason: str) -> None:
        """Every call has its answer: a history with an open one is refused by all services."""
        self.answer(unrun_blocks(calls, reason))

    def _hear(self, event: RunEvent) -> None:
        """News of a model call. Another model in charge has other bounds, and another name."""
        if isinstance(event, ModelReplaced):
            self.origin = event.model
            self._money.judge(event.model)
            self._caps = self._provider.caps(self._model)
            provider, _, model = event.model.partition(":")
            self._size.change(self._sizing_of(provider, model))
        self._emit(event)

    def spend(self, usage: Usage) -> float | None:
        """Count an answer, also one that is of no use; what it cost, None when nobody knows."""
        cost = self._money.of_answer(usage)
        self._limits.spend(usage, cost)
        return cost

    def _take(self, stop: Stop, round_number: int, *, whole: bool) -> None:
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
        cost = self.spend(stop.usage)
        self.text = message.text or self.text
        self._emit(
            ModelAnswered(
                round=round_number,
                provider=self._money.provider,
                model=stop.model or self._model,
                stop=stop.reason,
                usage=stop.usage,
                cost_usd=cost,
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
            self.close_unrun(message.tool_calls, "not run: the round was interrupted")

    def _append(self, message: Message) -> None:
        self._conversation.append(message)
        self._size.add(message)
