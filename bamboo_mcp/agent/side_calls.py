"""Model calls beside the conversation: bounded in time, counted and paid with the run's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import anyio

from bamboo_mcp.agent.model_call import Draft, ask_model
from bamboo_mcp.agent.money import Money
from bamboo_mcp.agent.roster import Roster
from bamboo_mcp.domain.errors import LimitReached
from bamboo_mcp.domain.events import RunEvent, SideModelAnswered
from bamboo_mcp.domain.messages import Message
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.runs import RunRequest
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.ports import Emit, Models, Provider

Spend = Callable[[Usage, float | None], object]


class SideCalls:
    """Those of one run. `spend` is told of each answer; until it is set nothing is counted."""

    def __init__(
        self, request: RunRequest, *, models: Models, roster: Roster, money: Money, emit: Emit
    ) -> None:
        self._session_id = request.session_id
        self._models = models
        self._roster = roster
        self._money = money
        self._emit = emit
        self.spend: Spend = _nobody

    async def ask(
        self,
        purpose: Literal["judge", "vision"],
        messages: Sequence[Message],
        *,
        model: str,
        system: str,
        max_output: int,
        within_s: float,
    ) -> str:
        """The answer's text. `model` empty: the `fast` one.

        Raises:
            LimitReached: It took too long, or the run's money does not allow the model.
            UnknownModel, AuthenticationFailed, ProviderFailure: As they are.
        """
        with anyio.move_on_after(within_s) as scope:
            provider, name = await self._provider(model)
            origin = f"{provider.name}:{name}"
            self._money.judge(origin)
            request = ModelRequest(
                model=name,
                messages=messages,
                system=system,
                max_output=max_output,
                # Apart from the run's own: caches and scripts go by it.
                conversation=f"{self._session_id}:{purpose}",
            )
            stop = await ask_model(provider, request, Draft(), _unheard)
            cost = await self._money.cost(origin, stop.usage)
        if scope.cancelled_caught:
            raise LimitReached(f"the {purpose} model did not answer within {within_s:g} s")
        self.spend(stop.usage, cost)
        self._emit(
            SideModelAnswered(purpose=purpose, model=origin, usage=stop.usage, cost_usd=cost)
        )
        return stop.message.text

    async def _provider(self, model: str) -> tuple[Provider, str]:
        return await (self._models.resolve(model) if model else self._roster.resolve("fast"))


def _nobody(usage: Usage, cost: float | None) -> None:
    return None


def _unheard(event: RunEvent) -> None:
    """Its deltas are no part of the run's answer."""
