from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import pytest

from bamboo_mcp.domain.events import LimitNear, ModelAnswered, ModelReplaced
from bamboo_mcp.domain.ids import LOCAL
from bamboo_mcp.domain.models import ModelCaps, ModelEntry, ModelRequest
from bamboo_mcp.domain.runs import Limits, Outcome
from bamboo_mcp.domain.stream import Chunk
from bamboo_mcp.domain.tokens import Sizing
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.ports import Models, Notify, Provider
from bamboo_mcp.testing.harness import open_harness
from bamboo_mcp.testing.scripted import Call, ScriptedProvider, Step, Tokens, scripted_models
from tests.agent.bare_run import BareRun

CENT = Tokens(input=1_000, output=0)
"""A cent's worth at the price below."""


def priced(usage: Usage) -> float | None:
    return usage.input / 100_000


def steps(rounds: int) -> list[Step]:
    call = Call(name="nothing", args={})
    return [*[Step(calls=(call,), usage=CENT)] * rounds, Step(text="done", usage=CENT)]


def costing(
    cost: Callable[[Usage], float | None], *script: Step, provider: ScriptedProvider | None = None
) -> Models:
    return scripted_models(provider or ScriptedProvider(*script), cost=cost)


async def played(models: Models, **limits: float) -> tuple[Outcome, BareRun]:
    run = BareRun(models, limits=Limits(max_failures_per_tool=99, max_identical_calls=99, **limits))  # type: ignore[arg-type]
    return await run.play(), run


async def test_the_cost_of_each_answer_is_told_and_the_run_costs_their_sum() -> None:
    outcome, run = await played(costing(priced, *steps(2)))
    told = [event.cost_usd for event in run.events if isinstance(event, ModelAnswered)]
    assert told == [0.01, 0.01, 0.01]
    assert outcome.cost_usd == pytest.approx(0.03)


async def test_an_answer_says_which_provider_gave_it() -> None:
    outcome, run = await played(costing(priced, *steps(0)))
    [answer] = [event for event in run.events if isinstance(event, ModelAnswered)]
    assert f"{answer.provider}:{answer.model}" == outcome.model == "scripted:test"


async def test_one_answer_of_unknown_cost_makes_the_whole_unknown() -> None:
    script = [*steps(1), Step(text="done", usage=Tokens(input=7))]
    models = costing(lambda usage: None if usage.input == 7 else 0.01, *script[:1], script[-1])
    outcome, _ = await played(models)
    assert (outcome.status, outcome.cost_usd) == ("completed", None)


async def test_what_costs_nothing_is_known_to() -> None:
    outcome, _ = await played(costing(lambda usage: 0.0, *steps(1)))
    assert outcome.cost_usd == 0.0


async def test_a_run_without_an_answer_has_no_cost() -> None:
    outcome, _ = await played(costing(priced, *steps(1)), max_tokens=0)
    assert (outcome.error_code, outcome.cost_usd) == ("limit_reached", None)


async def test_near_the_bound_of_money_the_model_is_told_once_and_at_it_asked_once_more() -> None:
    provider = ScriptedProvider()
    provider.respond(
        lambda request: (
            Step(text="what I have", usage=CENT)
            if "max_cost_usd = 1 is reached" in request.messages[-1].text
            else steps(1)[0]
        )
    )
    models = costing(lambda usage: 0.125, provider=provider)
    outcome, run = await played(models, max_cost_usd=1.0)
    near = [event for event in run.events if isinstance(event, LimitNear)]
    assert near == [
        LimitNear(limit="max_cost_usd", value=1.0),
        LimitNear(limit="max_cost_usd", value=1.0, final=True),
    ]
    assert (outcome.status, outcome.error_code) == ("error", "limit_reached")
    assert outcome.text == "what I have"
    assert (outcome.rounds, outcome.cost_usd) == (9, 1.125)
    assert "max_cost_usd = 1" in outcome.error


async def test_with_a_bound_of_money_a_model_of_unknown_price_is_not_asked() -> None:
    provider = ScriptedProvider(*steps(0))
    outcome, _ = await played(costing(lambda usage: None, provider=provider), max_cost_usd=5.0)
    assert (outcome.status, outcome.error_code, outcome.rounds) == ("error", "limit_reached", 0)
    assert "'scripted:test' costs is not known" in outcome.error
    assert '[providers.scripted.models."test"]' in outcome.error
    assert "price_input" in outcome.error
    assert provider.requests == []


async def test_without_a_bound_a_model_of_unknown_price_is_asked() -> None:
    outcome, _ = await played(costing(lambda usage: None, *steps(0)))
    assert (outcome.status, outcome.cost_usd) == ("completed", None)


async def test_no_money_means_that_only_free_models_are_asked() -> None:
    provider = ScriptedProvider(*steps(0))
    outcome, _ = await played(costing(priced, provider=provider), max_cost_usd=0.0)
    assert (outcome.error_code, provider.requests) == ("limit_reached", [])
    assert "nothing may be spent" in outcome.error
    free, _ = await played(costing(lambda usage: 0.0, *steps(3)), max_cost_usd=0.0)
    assert (free.status, free.cost_usd) == ("completed", 0.0)


class Replacing:
    """A provider whose model is replaced before it answers."""

    def __init__(self, inner: ScriptedProvider) -> None:
        self._inner = inner
        self.name = "first"

    def caps(self, model: str) -> ModelCaps:
        return self._inner.caps(model)

    def stream(
        self, request: ModelRequest, *, notify: Notify | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        assert notify is not None
        notify(ModelReplaced(failed="first:a", model="second:b", reason="down"))
        return self._inner.stream(request, notify=notify)

    async def count(self, request: ModelRequest) -> int | None:
        return None

    async def models(self) -> Sequence[ModelEntry]:
        return ()


class TwoPrices:
    def __init__(self, provider: Provider, second: float | None) -> None:
        self._provider = provider
        self._second = second
        self.loaded: list[str] = []

    async def resolve(self, name: str) -> tuple[Provider, str]:
        return self._provider, "a"

    async def menu(self, *, ask: bool = False) -> Sequence[ModelEntry]:
        return ()

    def goes_on(self, name: str) -> bool:
        return False

    def sizing(self, provider: str, model: str) -> Sizing:
        return Sizing()

    def cost(self, provider: str, model: str, usage: Usage) -> float | None:
        return 1.0 if (provider, model) == ("first", "a") else self._second

    async def load_prices(self, provider: str = "", model: str = "") -> None:
        self.loaded.append(f"{provider}:{model}")


async def test_a_model_that_takes_over_is_charged_at_its_own_price() -> None:
    models = TwoPrices(Replacing(ScriptedProvider("done")), 2.0)
    outcome, _ = await played(models)
    assert (outcome.model, outcome.cost_usd) == ("second:b", 2.0)
    assert models.loaded == ["second:b"]


async def test_a_model_of_unknown_price_does_not_take_over_where_money_is_bounded() -> None:
    inner = ScriptedProvider("done")
    models = TwoPrices(Replacing(inner), None)
    outcome, _ = await played(models, max_cost_usd=9.0)
    assert (outcome.error_code, inner.requests) == ("limit_reached", [])
    assert "'second:b'" in outcome.error
    assert models.loaded == [":"], "of all models, before any is asked"


async def test_a_subagent_shows_what_it_cost_while_it_works_and_after() -> None:
    provider = ScriptedProvider(*steps(1))
    async with open_harness(costing(priced, provider=provider)) as harness:
        child = await harness.spawn("go")
        assert child.cost_usd is None
        outcome = await harness.ended(child.subagent_id)
        one = await harness.subagents.get(child.subagent_id, caller=LOCAL)
        state = await harness.board.state(one.run_id)
    assert outcome.cost_usd == one.cost_usd == state.cost_usd == pytest.approx(0.02)
