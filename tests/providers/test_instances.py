"""What one configured provider learns and does anew: its models, and a key that was refused."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from bamboo_mcp.contributions import ProviderConfig, ProviderContribution
from bamboo_mcp.domain.errors import BambooError, UnknownModel
from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.domain.models import ModelCaps, ModelEntry, ModelFacts, ModelRequest
from bamboo_mcp.domain.provider_errors import AuthenticationFailed
from bamboo_mcp.ports import Provider
from bamboo_mcp.providers.catalog import ProviderCatalog
from bamboo_mcp.testing.scripted import Fault, ScriptedProvider, Step, When

ASK = ModelRequest(model="m", messages=[user_message("hello")])


@dataclass(frozen=True)
class _Settings:
    type: str = ""
    base_url: str = ""
    api_key: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, ModelFacts] = field(default_factory=dict)


class Listing(ScriptedProvider):
    """Lists models of its own, and counts how often it was asked."""

    def __init__(self, *rows: ModelEntry, wait: anyio.Event | None = None) -> None:
        super().__init__("hello", name="mine")
        self.rows = rows
        self.asked = 0
        self.wait = wait

    async def models(self) -> Sequence[ModelEntry]:
        self.asked += 1
        if self.wait is not None:
            await self.wait.wait()
        return self.rows


def _catalog(provider: Provider, settings: _Settings | None = None) -> ProviderCatalog:
    kind = ProviderContribution(type="mine", load=lambda config: provider)
    return ProviderCatalog(
        [kind], providers={} if settings is None else {"mine": settings}, environ={}
    )


def _row(name: str, **caps: Any) -> ModelEntry:
    return ModelEntry(name=name, provider="mine", ready=True, caps=ModelCaps(**caps))


async def test_a_provider_named_alone_gives_its_first_model_that_can_use_tools() -> None:
    listing = Listing(_row("painter", tools=False), _row("worker"))
    async with _catalog(listing) as catalog:
        _, model = await catalog.resolve("mine")
        _, again = await catalog.resolve("mine:")
        assert (model, again) == ("worker", "worker")
        assert listing.asked == 1, "what it said counts for a while"


async def test_a_provider_without_a_single_model_says_so() -> None:
    async with _catalog(Listing()) as catalog:
        with pytest.raises(UnknownModel, match="lists none"):
            await catalog.resolve("mine")


async def test_the_menu_asks_only_when_told_to() -> None:
    listing = Listing(_row("worker"))
    async with _catalog(listing) as catalog:
        assert [row.name for row in await catalog.menu()] == [""]
        assert [row.name for row in await catalog.menu(ask=True)] == ["worker"]
        assert [row.name for row in await catalog.menu()] == ["worker"]
    assert listing.asked == 1


async def test_a_key_that_is_refused_makes_every_model_of_the_menu_not_ready() -> None:
    refused = ModelEntry(name="worker", provider="mine", missing="mine refused the key")
    async with _catalog(Listing(refused)) as catalog:
        (row,) = await catalog.menu(ask=True)
    assert (row.ready, row.missing) == (False, "mine refused the key")


async def test_a_provider_whose_listing_fails_costs_only_its_own_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(ScriptedProvider):
        async def models(self) -> Sequence[ModelEntry]:
            raise RuntimeError("a bug")

    async with _catalog(Broken(name="mine")) as catalog:
        (row,) = await catalog.menu(ask=True)
        assert not row.ready
        await catalog.resolve("mine:m")
    assert "a bug" in caplog.text


async def test_a_plugin_that_lists_nonsense_or_wants_to_end_costs_only_its_own_line() -> None:
    class Odd(ScriptedProvider):
        async def models(self) -> Sequence[ModelEntry]:
            return None  # type: ignore[return-value]

    class Rude(ScriptedProvider):
        async def models(self) -> Sequence[ModelEntry]:
            raise SystemExit(3)

    for provider in (Odd(name="mine"), Rude(name="mine")):
        async with _catalog(provider) as catalog:
            (row,) = await catalog.menu(ask=True)
            assert not row.ready
            await catalog.resolve("mine:m")


async def test_a_service_that_was_silent_is_asked_again_for_what_nobody_knows() -> None:
    now = 0.0
    listing = Listing()
    kind = ProviderContribution(type="mine", load=lambda config: listing)
    async with ProviderCatalog([kind], environ={}, clock=lambda: now) as catalog:
        for _ in range(2):
            await catalog.resolve("mine:worker")
        assert listing.asked == 1, "not at every run"
        now += 60
        listing.rows = (_row("worker", context_window=4_096),)
        await catalog.resolve("mine:worker")
        assert listing.asked == 2
        now += 60
        await catalog.resolve("mine:worker")
        assert listing.asked == 2, "now it is known"


async def test_what_settings_say_of_a_model_goes_before_all_else() -> None:
    facts = {"worker": ModelFacts(context_window=9_000), "own": ModelFacts(images=False)}
    listing = Listing(_row("worker", context_window=5_000, max_output=700))
    async with _catalog(listing, _Settings(facts=facts)) as catalog:
        provider, _ = await catalog.resolve("mine:worker")
        assert provider.caps("worker").context_window == 9_000
        rows = {row.name: row.caps for row in await catalog.menu(ask=True)}
        assert (rows["worker"].context_window, rows["worker"].max_output) == (9_000, 700)
        assert not rows["own"].images
        _, model = await catalog.resolve("mine")
        assert model == "worker", "what settings name comes first"


async def test_a_service_that_does_not_list_in_time_is_used_all_the_same() -> None:
    async with _catalog(Listing(wait=anyio.Event())) as catalog:
        with anyio.fail_after(10):
            _, model = await catalog.resolve("mine:any")
            assert model == "any"
            _, model = await catalog.resolve("mine:other")
            assert model == "other"


async def _say(provider: Provider) -> str:
    with anyio.fail_after(10):
        async with provider.stream(ASK) as stream:
            return "".join([getattr(chunk, "text", "") for chunk in [c async for c in stream]])


class _Doors:
    """Providers made one after the other, each with the key of its time."""

    def __init__(self, *providers: ScriptedProvider) -> None:
        self.left = list(providers)
        self.keys: list[str] = []

    def load(self, config: ProviderConfig) -> Provider:
        self.keys.append(config.api_key.reveal())
        return self.left.pop(0)

    def catalog(self, reference: str) -> ProviderCatalog:
        return ProviderCatalog(
            [ProviderContribution(type="mine", load=self.load)],
            providers={"mine": _Settings(api_key=reference)},
            environ={"MINE": "key-of-the-environment"},
        )


def _refusing(*more: str) -> ScriptedProvider:
    return ScriptedProvider(*[Step(error=Fault(kind="auth"))] * 3, *more, name="mine")


async def test_a_key_that_can_have_changed_is_read_anew_once_when_it_is_refused(
    tmp_path: Path,
) -> None:
    (tmp_path / "key").write_text("first", encoding="utf-8")
    doors = _Doors(_refusing(), ScriptedProvider("hello", name="mine"))
    async with doors.catalog(f"file:{tmp_path / 'key'}") as catalog:
        provider, _ = await catalog.resolve("mine:m")
        (tmp_path / "key").write_text("second", encoding="utf-8")
        assert await _say(provider) == "hello"
    assert doors.keys == ["first", "second"]


async def test_a_new_key_that_is_refused_too_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("first", encoding="utf-8")
    doors = _Doors(_refusing(), _refusing())
    async with doors.catalog(f"file:{tmp_path / 'key'}") as catalog:
        provider, _ = await catalog.resolve("mine:m")
        (tmp_path / "key").write_text("second", encoding="utf-8")
        with pytest.raises(AuthenticationFailed):
            await _say(provider)
    assert doors.keys == ["first", "second"]


async def test_a_key_that_is_still_the_same_makes_nothing_anew(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("first", encoding="utf-8")
    doors = _Doors(_refusing())
    async with doors.catalog(f"file:{tmp_path / 'key'}") as catalog:
        provider, _ = await catalog.resolve("mine:m")
        for _ in range(3):
            with pytest.raises(AuthenticationFailed):
                await _say(provider)
    assert doors.keys == ["first"]


async def test_what_a_key_may_not_do_is_no_reason_to_look_for_another(tmp_path: Path) -> None:
    class Forbids(ScriptedProvider):
        def stream(self, request: ModelRequest, **_: Any) -> Any:
            raise AuthenticationFailed("not this model", status=403)

    (tmp_path / "key").write_text("first", encoding="utf-8")
    doors = _Doors(Forbids(name="mine"))
    async with doors.catalog(f"file:{tmp_path / 'key'}") as catalog:
        provider, _ = await catalog.resolve("mine:m")
        (tmp_path / "key").write_text("second", encoding="utf-8")
        with pytest.raises(AuthenticationFailed, match="not this model"):
            await _say(provider)
    assert doors.keys == ["first"]


async def test_a_key_that_cannot_be_read_once_is_read_by_the_next_run(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("first", encoding="utf-8")
    doors = _Doors(_refusing(), ScriptedProvider("hello", name="mine"))
    async with doors.catalog(f"file:{key}") as catalog:
        provider, _ = await catalog.resolve("mine:m")
        key.unlink()
        with pytest.raises(BambooError):
            await _say(provider)
        key.write_text("second", encoding="utf-8")
        assert await _say(provider) == "hello"
    assert doors.keys == ["first", "second"]


async def test_a_provider_that_was_replaced_is_closed_after_its_last_stream(
    tmp_path: Path,
) -> None:
    class Door(ScriptedProvider):
        closed = False

        async def aclose(self) -> None:
            self.closed = True

    (tmp_path / "key").write_text("first", encoding="utf-8")
    old = Door(
        Step(when=When(last_user="slow"), text="abcdef", chunk=2),
        Step(error=Fault(kind="auth")),
        name="mine",
        strict=False,
    )
    new = Door("hello", name="mine")
    doors = _Doors(old, new)
    async with doors.catalog(f"file:{tmp_path / 'key'}") as catalog:
        provider, _ = await catalog.resolve("mine:m")
        (tmp_path / "key").write_text("second", encoding="utf-8")
        slow = ModelRequest(model="m", messages=[user_message("slow")], conversation="other")
        async with provider.stream(slow) as chunks:
            await anext(chunks)
            assert await _say(provider) == "hello"
            assert not old.closed, "somebody still reads from it"
            assert [chunk async for chunk in chunks]
        assert old.closed
        assert not new.closed
    assert new.closed


async def test_a_run_that_is_cancelled_while_a_key_is_read_spoils_nothing_for_the_next(
    tmp_path: Path,
) -> None:
    (tmp_path / "key").write_text("first", encoding="utf-8")
    reading, go_on = threading.Event(), threading.Event()
    providers = [_refusing(), ScriptedProvider("hello", name="mine")]

    def load(config: ProviderConfig) -> Provider:
        if config.api_key.reveal() == "second":
            reading.set()
            assert go_on.wait(10)
        return providers.pop(0)

    catalog = ProviderCatalog(
        [ProviderContribution(type="mine", load=load)],
        providers={"mine": _Settings(api_key=f"file:{tmp_path / 'key'}")},
        environ={},
    )
    async with catalog:
        provider, _ = await catalog.resolve("mine:m")
        (tmp_path / "key").write_text("second", encoding="utf-8")
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(_say, provider)
                await anyio.to_thread.run_sync(reading.wait, 10)
                group.cancel_scope.cancel()
            go_on.set()
            assert await _say(provider) == "hello"
    assert not providers, "what the cancelled run began was taken by the next"


async def test_with_fallbacks_too_a_new_key_is_kept(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("first", encoding="utf-8")
    old = _refusing()
    doors = _Doors(old, ScriptedProvider("a", "b", name="mine"))
    catalog = ProviderCatalog(
        [ProviderContribution(type="mine", load=doors.load)],
        providers={"mine": _Settings(api_key=f"file:{tmp_path / 'key'}")},
        roles={"primary": "mine:m"},
        fallbacks={"primary": ["mine:other"]},
        environ={},
    )
    async with catalog:
        provider, _ = await catalog.resolve("")
        (tmp_path / "key").write_text("second", encoding="utf-8")
        assert await _say(provider) == "a"
        assert len(old.requests) == 1
        provider, _ = await catalog.resolve("")
        await _say(provider)
    assert len(old.requests) == 1


async def test_runs_refused_at_the_same_time_read_the_key_once(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("first", encoding="utf-8")
    fresh = ScriptedProvider(name="mine")
    fresh.respond(lambda request: "hello")
    old = ScriptedProvider(name="mine")
    old.respond(lambda request: Step(error=Fault(kind="auth")))
    doors = _Doors(old, fresh)
    said: list[str] = []
    async with doors.catalog(f"file:{tmp_path / 'key'}") as catalog:
        provider, _ = await catalog.resolve("mine:m")
        (tmp_path / "key").write_text("second", encoding="utf-8")

        async def run() -> None:
            said.append(await _say(provider))

        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(run)
    assert said == ["hello"] * 5
    assert doors.keys == ["first", "second"]


async def test_a_key_of_the_environment_cannot_change_and_is_not_read_again() -> None:
    doors = _Doors(_refusing())
    async with doors.catalog("env:MINE") as catalog:
        provider, _ = await catalog.resolve("mine:m")
        with pytest.raises(AuthenticationFailed):
            await _say(provider)
    assert doors.keys == ["key-of-the-environment"]
