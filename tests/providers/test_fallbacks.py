"""Several models for one role: when another takes over, and when it must not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anyio
import msgspec
import pytest

from bamboo_mcp.contributions import ProviderConfig, ProviderContribution
from bamboo_mcp.domain.events import ModelReplaced, ProviderWaiting
from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.domain.models import ModelCaps, ModelEntry, ModelRequest
from bamboo_mcp.domain.provider_errors import (
    AuthenticationFailed,
    BadRequest,
    Overloaded,
    ProviderFailure,
    TransportFailed,
)
from bamboo_mcp.domain.stream import Chunk, Stop
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.ports import Provider
from bamboo_mcp.providers.catalog import ProviderCatalog
from bamboo_mcp.testing.harness import open_harness
from bamboo_mcp.testing.scripted import Fault, ScriptedProvider, Step

ASK = ModelRequest(model="m", messages=[user_message("hello")])


def _contribution(provider: ScriptedProvider, missing: str = "") -> ProviderContribution:
    def load(config: ProviderConfig) -> Provider:
        return provider

    rows = (ModelEntry(name="m", provider=provider.name),)
    return ProviderContribution(
        type=provider.name, load=load, missing=lambda config: missing, models=rows
    )


def _catalog(
    *providers: ScriptedProvider,
    fallbacks: Mapping[str, Sequence[str]],
    primary: str = "one:m",
    missing: Mapping[str, str] | None = None,
) -> ProviderCatalog:
    lacking = missing or {}
    return ProviderCatalog(
        [_contribution(one, lacking.get(one.name, "")) for one in providers],
        roles={"primary": primary},
        fallbacks=fallbacks,
        environ={},
    )


async def _answer(provider: Provider) -> tuple[Stop, list[ModelReplaced]]:
    told: list[ModelReplaced] = []

    def notify(news: ProviderWaiting | ModelReplaced) -> None:
        if isinstance(news, ModelReplaced):
            told.append(news)

    chunks: list[Chunk] = []
    with anyio.fail_after(10):
        async with provider.stream(ASK, notify=notify) as stream:
            chunks.extend([chunk async for chunk in stream])
    stop = chunks[-1]
    assert isinstance(stop, Stop)
    return stop, told


def _refusing(name: str, kind: str, *, times: int = 9) -> ScriptedProvider:
    return ScriptedProvider(*[Step(error=Fault(kind=kind))] * times, name=name)


@pytest.mark.parametrize("kind", ["auth", "quota"])
async def test_a_model_that_cannot_answer_hands_over_and_it_is_said(kind: str) -> None:
    catalog = _catalog(
        _refusing("one", kind),
        ScriptedProvider("from two", name="two"),
        fallbacks={"primary": ["two:m"]},
    )
    async with catalog:
        provider, model = await catalog.resolve("")
        assert (provider.name, model) == ("one", "m")
        stop, told = await _answer(provider)
    assert stop.message.text == "from two"
    assert stop.message.origin == "two:test"
    assert [(one.failed, one.model) for one in told] == [("one:m", "two:m")]
    assert told[0].reason


async def test_a_service_that_asks_for_long_patience_is_left_at_once() -> None:
    waiting = ScriptedProvider(
        Step(error=Fault(kind="rate_limit", retry_after=40)), "never", name="one"
    )
    catalog = _catalog(
        waiting, ScriptedProvider("here", name="two"), fallbacks={"primary": ["two"]}
    )
    async with catalog:
        provider, _ = await catalog.resolve("primary")
        stop, _ = await _answer(provider)
    assert stop.message.text == "here"
    assert len(waiting.requests) == 1


async def test_the_run_stays_with_the_model_it_went_to_and_the_next_begins_anew() -> None:
    one = _refusing("one", "quota", times=1)
    one.add("one is back")
    catalog = _catalog(
        one, ScriptedProvider("a", "b", "c", name="two"), fallbacks={"primary": ["two:m"]}
    )
    async with catalog:
        provider, _ = await catalog.resolve("")
        first, told = await _answer(provider)
        again, told_again = await _answer(provider)
        assert provider.name == "two"
        other, _ = await catalog.resolve("")
        assert other.name == "one"
    assert (first.message.origin, again.message.origin) == ("two:test", "two:test")
    assert len(told) == 1
    assert not told_again


async def test_a_request_that_is_wrong_in_itself_is_not_tried_elsewhere() -> None:
    two = ScriptedProvider("never", name="two")
    catalog = _catalog(_refusing("one", "bad_request"), two, fallbacks={"primary": ["two:m"]})
    async with catalog:
        provider, _ = await catalog.resolve("")
        with pytest.raises(BadRequest):
            await _answer(provider)
    assert not two.requests


async def test_what_was_shown_already_is_not_said_again_by_another_model() -> None:
    two = ScriptedProvider("never", name="two")
    cut = ScriptedProvider(Step(text="abcdef", chunk=2, cut_after=1), name="one")
    catalog = _catalog(cut, two, fallbacks={"primary": ["two:m"]})
    async with catalog:
        provider, _ = await catalog.resolve("")
        with pytest.raises(TransportFailed):
            await _answer(provider)
    assert not two.requests


async def test_when_all_fail_the_first_failure_comes_out_with_what_became_of_the_others() -> None:
    catalog = _catalog(
        _refusing("one", "overloaded"),
        _refusing("two", "quota"),
        fallbacks={"primary": ["nobody:x", "two:m"]},
    )
    async with catalog:
        provider, _ = await catalog.resolve("")
        with pytest.raises(Overloaded) as caught:
            await _answer(provider)
    for words in ("nobody:x", "there is no model", "two:m"):
        assert words in caught.value.message


async def test_a_model_that_lacks_its_key_is_passed_over_before_the_run() -> None:
    catalog = _catalog(
        ScriptedProvider(name="one"),
        ScriptedProvider("here", name="two"),
        fallbacks={"primary": ["two:m"]},
        missing={"one": "no key: set ONE_KEY"},
    )
    async with catalog:
        provider, model = await catalog.resolve("")
        assert (provider.name, model) == ("two", "m")
        stop, told = await _answer(provider)
    assert stop.message.text == "here"
    assert "ONE_KEY" in told[0].reason


async def test_nothing_usable_at_all_says_what_the_first_lacks_and_the_rest() -> None:
    catalog = _catalog(
        ScriptedProvider(name="one"),
        ScriptedProvider(name="two"),
        fallbacks={"primary": ["two:m"]},
        missing={"one": "no key: set ONE_KEY", "two": "no key: set TWO_KEY"},
    )
    async with catalog:
        with pytest.raises(AuthenticationFailed) as caught:
            await catalog.resolve("")
    assert "ONE_KEY" in caught.value.message
    assert "TWO_KEY" in caught.value.message


async def test_fallbacks_are_those_of_the_role_and_of_no_model_named_outright() -> None:
    catalog = _catalog(
        _refusing("one", "quota"),
        ScriptedProvider("never", name="two"),
        fallbacks={"fast": ["two:m"]},
    )
    async with catalog:
        for name in ("one:m", "primary"):
            provider, _ = await catalog.resolve(name)
            with pytest.raises(ProviderFailure):
                await _answer(provider)
        provider, _ = await catalog.resolve("fast")
        stop, _ = await _answer(provider)
    assert stop.message.text == "never"


async def test_the_bounds_are_those_of_the_model_in_charge() -> None:
    catalog = _catalog(
        _refusing("one", "quota"),
        ScriptedProvider("here", name="two", caps=ModelCaps(context_window=7_000)),
        fallbacks={"primary": ["two:m"]},
    )
    async with catalog:
        provider, model = await catalog.resolve("")
        assert provider.caps(model).context_window == 128_000
        await _answer(provider)
        assert provider.caps(model).context_window == 7_000


async def test_a_run_tells_of_the_change_and_ends_under_the_other_models_name() -> None:
    catalog = _catalog(
        _refusing("one", "quota"),
        ScriptedProvider("done by two", name="two"),
        fallbacks={"primary": ["two:m"]},
    )
    async with catalog, open_harness(catalog) as harness:
        child = await harness.spawn("go")
        outcome = await harness.ended(child.subagent_id)
        events = await harness.events(child.subagent_id)
    assert (outcome.status, outcome.text, outcome.model) == ("completed", "done by two", "two:m")
    replaced = [event for event in events if isinstance(event, ModelReplaced)]
    assert [(one.failed, one.model) for one in replaced] == [("one:m", "two:m")]


async def test_a_model_without_tools_that_takes_over_is_not_sent_any() -> None:
    two = ScriptedProvider("without", name="two", caps=ModelCaps(tools=False))
    catalog = _catalog(_refusing("one", "quota"), two, fallbacks={"primary": ["two:m"]})
    tools = [ToolSpec(name="look", description="Look.")]
    async with catalog:
        provider, _ = await catalog.resolve("")
        async with provider.stream(msgspec.structs.replace(ASK, tools=tools)) as stream:
            assert [chunk async for chunk in stream]
    assert not two.requests[0].tools


async def test_what_is_told_of_several_failures_does_not_grow_from_call_to_call() -> None:
    catalog = _catalog(
        _refusing("one", "quota"), _refusing("two", "quota"), fallbacks={"primary": ["two:m"]}
    )
    said: list[str] = []
    async with catalog:
        for _ in range(3):
            provider, _ = await catalog.resolve("")
            with pytest.raises(ProviderFailure) as caught:
                await _answer(provider)
            said.append(str(caught.value))
    assert len(set(said)) == 1
