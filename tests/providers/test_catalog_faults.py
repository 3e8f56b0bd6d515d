"""A provider that fails or hangs costs itself only: the others are listed and chosen."""

from __future__ import annotations

import threading

import anyio
import anyio.to_thread
import pytest

from bamboo_mcp.contributions import ProviderConfig, ProviderContribution
from bamboo_mcp.domain.errors import PluginError
from bamboo_mcp.domain.models import ModelEntry
from bamboo_mcp.domain.provider_errors import AuthenticationFailed
from bamboo_mcp.ports import Provider
from bamboo_mcp.providers.catalog import ProviderCatalog
from bamboo_mcp.providers.shipped import shipped_providers
from bamboo_mcp.testing.scripted import ScriptedProvider


class Slow:
    """A factory that holds its thread until the test lets it go on."""

    def __init__(self, *, fails: int = 0) -> None:
        self.begun = threading.Event()
        self.release = threading.Event()
        self.loads = 0
        self.closed = 0
        self._fails = fails

    def __call__(self, config: ProviderConfig) -> Provider:
        self.loads += 1
        self.begun.set()
        assert self.release.wait(20)
        if self.loads <= self._fails:
            raise RuntimeError("no")
        return _Closing(self)


class _Closing(ScriptedProvider):
    def __init__(self, slow: Slow) -> None:
        super().__init__(name="slow")
        self._slow = slow

    async def aclose(self) -> None:
        self._slow.closed += 1


def catalog_of(slow: Slow, load_within_s: float = 20.0) -> ProviderCatalog:
    kind = ProviderContribution(type="slow", load=slow)
    return ProviderCatalog([kind], environ={}, load_within_s=load_within_s)


async def give_up_on(catalog: ProviderCatalog, slow: Slow) -> None:
    """Ask for the provider, and be cancelled as soon as its factory is at work."""
    slow.begun.clear()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(catalog.resolve, "slow:m")
            await anyio.to_thread.run_sync(slow.begun.wait, 10)
            group.cancel_scope.cancel()


@pytest.mark.parametrize("raised", [RuntimeError("boom"), SystemExit(3)])
async def test_a_provider_that_cannot_say_what_it_lacks_leaves_the_others_usable(
    raised: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(config: ProviderConfig) -> str:
        raise raised

    rows = (ModelEntry(name="m", provider="bad"),)
    bad = ProviderContribution(
        type="bad", load="no:where", missing=missing, api_key_env="BAD_KEY", models=rows
    )
    catalog = ProviderCatalog([bad, *shipped_providers()], environ={"BAD_KEY": "k"})
    async with catalog:
        menu = {row.provider: row for row in await catalog.menu()}
        chosen, _ = await catalog.resolve("")
        with pytest.raises(AuthenticationFailed, match="the plugin failed"):
            await catalog.resolve("bad:m")
    assert not menu["bad"].ready
    assert f"the plugin failed: {type(raised).__name__}" in menu["bad"].missing
    assert menu["offline"].ready
    assert chosen.name == "offline"
    assert "Traceback" in caplog.text


async def test_a_provider_that_wants_to_end_the_process_at_its_import_is_a_plugin_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def load(config: ProviderConfig) -> Provider:
        raise SystemExit(3)

    kind = ProviderContribution(type="rude", load=load)
    async with ProviderCatalog([kind], environ={}) as catalog:
        with pytest.raises(PluginError, match="SystemExit: 3"):
            await catalog.resolve("rude:m")
    assert "rude" in caplog.text


async def test_a_resolve_can_be_cancelled_while_the_provider_loads_and_a_later_one_takes_it() -> (
    None
):
    slow = Slow()
    async with catalog_of(slow) as catalog:
        await give_up_on(catalog, slow)
        slow.release.set()
        with anyio.fail_after(10):
            provider, model = await catalog.resolve("slow:m")
    assert (provider.name, model) == ("slow", "m")
    assert slow.loads == 1, "the thread that was given up brought it"
    assert slow.closed == 1


async def test_a_provider_that_does_not_load_in_time_is_a_plugin_error_for_everybody() -> None:
    slow = Slow()
    catalog = catalog_of(slow, load_within_s=0.05)
    failures: list[str] = []

    async def ask() -> None:
        with pytest.raises(PluginError) as caught:
            await catalog.resolve("slow:m")
        failures.append(caught.value.message)

    try:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(ask)
            await ask()
    finally:
        slow.release.set()
    assert set(failures) == {"the provider 'slow' did not load within 0.05 s"}
    assert len(failures) == 6
    assert slow.loads == 1


async def test_a_load_that_failed_after_it_was_given_up_is_tried_again() -> None:
    slow = Slow(fails=1)
    async with catalog_of(slow) as catalog:
        await give_up_on(catalog, slow)
        slow.release.set()
        with anyio.fail_after(10):
            # Either still the failure of the first thread, or at once the second try.
            try:
                provider, _ = await catalog.resolve("slow:m")
            except PluginError:
                provider, _ = await catalog.resolve("slow:m")
    assert provider.name == "slow"
    assert slow.loads == 2
