"""What the answers of one run cost, and which models a run with a bound of money may ask."""

from __future__ import annotations

from bamboo_mcp.domain.errors import LimitReached
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.ports import Models

_SAMPLE = Usage(input=1_000, output=1_000)


class Money:
    """`limit` is the run's `max_cost_usd`; None: it may cost what it costs."""

    __slots__ = ("_always", "_limit", "_model", "_models", "_same", "origin", "provider")

    def __init__(self, models: Models, limit: float | None) -> None:
        self._models = models
        self._limit = limit
        self._model = ""
        self._same = True
        """Free and unknown models are so for every answer: nothing has to be looked up."""
        self._always: float | None = None
        self.origin = ""
        """The model that answers are charged for; `provider` is what stands before its colon."""
        self.provider = ""

    async def admit(self, origin: str) -> None:
        """Before the first call of a run: may it ask `provider:model`?

        Raises:
            LimitReached: There is a bound of money, and it cannot be kept with this model.
        """
        if self._limit is not None:
            # Of all providers: a fallback is judged in the middle of a call, where nothing waits.
            await self._models.load_prices()
            self.judge(origin)

    def judge(self, origin: str) -> None:
        """The same for a model that takes over; `admit` came first."""
        if self._limit is None:
            return
        provider, _, model = origin.partition(":")
        cost = self._models.cost(provider, model, _SAMPLE)
        if cost is None:
            raise LimitReached(
                f"max_cost_usd = {self._limit:g} cannot be kept: what {origin!r} costs is not "
                "known, so it is not asked",
                hint=f'say price_input and price_output in [providers.{provider}.models."{model}"] '
                "of the settings (dollars a million tokens), or set no bound of money",
            )
        if cost and not self._limit:
            raise LimitReached(
                f"max_cost_usd = 0: nothing may be spent, and {origin!r} costs money",
                hint="name a model that is free, or allow some money",
            )

    async def cost(self, origin: str, usage: Usage) -> float | None:
        """Of one call of any model; None when its price is not known."""
        provider, _, model = origin.partition(":")
        await self._models.load_prices(provider, model)
        return self._models.cost(provider, model, usage)

    async def learn(self, origin: str) -> None:
        """Be ready to say what answers of `origin` cost; waits only for prices to be loaded."""
        self.provider, _, self._model = origin.partition(":")
        await self._models.load_prices(self.provider, self._model)
        sample = self._models.cost(self.provider, self._model, _SAMPLE)
        self._same, self._always = not sample, sample
        self.origin = origin

    def of_answer(self, usage: Usage) -> float | None:
        """The same of the model that was learnt last, at once."""
        if self._same:
            return self._always
        return self._models.cost(self.provider, self._model, usage)
