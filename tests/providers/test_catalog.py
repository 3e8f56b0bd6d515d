from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from bamboo_mcp.contributions import ProviderConfig, ProviderContribution
from bamboo_mcp.domain.errors import PluginError, UnknownModel
from bamboo_mcp.domain.models import ModelEntry, ModelFacts
from bamboo_mcp.domain.provider_errors import AuthenticationFailed
from bamboo_mcp.ports import Provider
from bamboo_mcp.providers.catalog import ProviderCatalog
from bamboo_mcp.providers.shipped import anthropic_missing, shipped_providers
from bamboo_mcp.testing.scripted import ScriptedProvider

KEY = "sk-ant-very-secret-0123456789"


@dataclass(frozen=True)
class _Settings:
    type: str = ""
    base_url: str = ""
    api_key: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, ModelFacts] = field(default_factory=dict)


def _catalog(
    *,
    environ: Mapping[str, str] | None = None,
    roles: Mapping[str, str] | None = None,
    **providers: _Settings,
) -> ProviderCatalog:
    return ProviderCatalog(
        shipped_providers(), providers=providers, roles=roles, environ=environ or {}
    )


async def _resolved(catalog: ProviderCatalog, name: str) -> str:
    async with catalog:
        provider, model = await catalog.resolve(name)
    return f"{provider.name}:{model}"


async def test_without_anything_the_offline_model_serves() -> None:
    assert await _resolved(_catalog(), "") == "offline:offline"


async def test_a_key_in_the_environment_makes_its_provider_the_default() -> None:
    environ = {"ANTHROPIC_API_KEY": KEY}
    assert await _resolved(_catalog(environ=environ), "") == "anthropic:claude-opus-5-5"
    assert await _resolved(_catalog(environ=environ), "fast") == "anthropic:claude-opus-5-5"


async def test_an_empty_key_is_no_key() -> None:
    assert await _resolved(_catalog(environ={"ANTHROPIC_API_KEY": "  "}), "") == "offline:offline"


async def test_names_are_roles_full_names_bare_names_or_providers() -> None:
    environ = {"ANTHROPIC_API_KEY": KEY}
    roles = {"primary": "offline:offline", "fast": "anthropic:claude-haiku-5-5"}
    for name, expected in {
        "": "offline:offline",
        "primary": "offline:offline",
        "background": "offline:offline",
        "fast": "anthropic:claude-haiku-5-5",
        "anthropic:claude-of-tomorrow": "anthropic:claude-of-tomorrow",
        "claude-sonnet-5-5": "anthropic:claude-sonnet-5-5",
        "claude-of-tomorrow": "anthropic:claude-of-tomorrow",
        "anthropic": "anthropic:claude-opus-5-5",
        "anthropic:": "anthropic:claude-opus-5-5",
        " offline ": "offline:offline",
    }.items():
        assert await _resolved(_catalog(environ=environ, roles=roles), name) == expected


async def test_one_type_serves_under_several_names_with_their_own_keys(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n", encoding="utf-8")
    catalog = _catalog(
        environ={"WORK_KEY": KEY},
        work=_Settings(type="anthropic", api_key="env:WORK_KEY"),
        home=_Settings(type="anthropic", api_key=f"file:{tmp_path / 'key'}"),
    )
    async with catalog:
        work, model = await catalog.resolve("work:claude-opus-5-5")
        home, _ = await catalog.resolve("home:claude-opus-5-5")
        again, _ = await catalog.resolve("work:claude-haiku-5-5")
        bare, _ = await catalog.resolve("claude-opus-5-5")
        chosen, _ = await catalog.resolve("")
    assert (work.name, home.name, model) == ("work", "home", "claude-opus-5-5")
    assert again is work
    assert bare is work, "a ready instance comes before one without a key"
    assert chosen is work


async def test_a_missing_key_is_told_with_what_to_set() -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        await _resolved(_catalog(), "claude-opus-5-5")
    assert "ANTHROPIC_API_KEY" in caught.value.message
    assert "providers.anthropic.api_key" in caught.value.message


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("env:WORK_KEY", "'env:WORK_KEY' is not set"),
        ("file:/nowhere/key", "cannot be read"),
        (KEY, "must say where the key is"),
        ("env:BAD_KEY", "is not a key"),
    ],
)
async def test_a_reference_that_leads_nowhere_is_named_and_no_key_shown(
    reference: str, words: str
) -> None:
    catalog = _catalog(
        environ={"BAD_KEY": f"{KEY}\r\nx-evil: 1"},
        work=_Settings(type="anthropic", api_key=reference),
    )
    with pytest.raises(AuthenticationFailed) as caught:
        await _resolved(catalog, "work:claude-opus-5-5")
    assert "providers.work.api_key" in caught.value.message
    assert words in caught.value.message
    assert KEY not in caught.value.message + repr(caught.value)
    row = next(row for row in await catalog.menu() if row.provider == "work")
    assert not row.ready
    assert words in row.missing
    assert KEY not in row.missing


async def test_an_unknown_model_is_told_with_what_is_near_and_what_is_known() -> None:
    for name, near in {
        "anthropc:claude-opus-5-5": "anthropic:claude-opus-5-5",
        "opus-5-5": "claude-opus-5-5",
        "offlin": "offline",
    }.items():
        with pytest.raises(UnknownModel) as caught:
            await _resolved(_catalog(), name)
        assert repr(name) in caught.value.message
        assert near in caught.value.message
        assert "scripted, offline" in caught.value.hint
    with pytest.raises(UnknownModel, match="no model 'zzz'"):
        await _resolved(_catalog(), "offline:zzz")
    with pytest.raises(UnknownModel):
        await _resolved(_catalog(), ":")


async def test_an_unknown_model_in_a_role_names_the_setting() -> None:
    for role in ("primary", "fast"):
        with pytest.raises(UnknownModel, match=rf"models\.{role}"):
            await _resolved(_catalog(roles={role: "nothing:at-all"}), role)


async def test_a_provider_of_an_unknown_type_is_on_the_menu_with_the_reason() -> None:
    catalog = _catalog(odd=_Settings(type="antropic"))
    row = next(row for row in await catalog.menu() if row.provider == "odd")
    assert not row.ready
    assert "antropic" in row.missing
    with pytest.raises(UnknownModel, match="antropic"):
        await _resolved(catalog, "odd:x")


async def test_the_menu_says_what_is_ready() -> None:
    rows = await _catalog(environ={"ANTHROPIC_API_KEY": KEY}).menu()
    ready = {f"{row.provider}:{row.name}" for row in rows if row.ready}
    assert {"anthropic:claude-opus-5-5", "offline:offline"} <= ready
    assert rows[0].caps.context_window == 1_000_000
    without = {row.provider: row for row in await _catalog().menu()}
    assert "ANTHROPIC_API_KEY" in without["anthropic"].missing


def test_a_keyless_server_is_not_sent_the_vendors_key() -> None:
    seen: list[ProviderConfig] = []

    def load(config: ProviderConfig) -> Provider:
        seen.append(config)
        return ScriptedProvider()

    kind = ProviderContribution(
        type="anthropic",
        load=load,
        missing=anthropic_missing,
        api_key_env="ANTHROPIC_API_KEY",
    )
    catalog = ProviderCatalog(
        [kind],
        providers={"local": _Settings(type="anthropic", options={"keyless": True})},
        environ={"ANTHROPIC_API_KEY": KEY},
    )
    anyio.run(catalog.resolve, "local:llama3:8b")
    assert not seen[0].api_key


async def test_a_provider_is_loaded_once_at_first_use_and_closed_at_the_end() -> None:
    loaded: list[str] = []
    closed: list[str] = []

    class Closing(ScriptedProvider):
        async def aclose(self) -> None:
            closed.append(self.name)

    def load(config: ProviderConfig) -> Provider:
        loaded.append(config.name)
        return Closing(name=config.name)

    rows = (ModelEntry(name="m", provider="mine"),)
    catalog = ProviderCatalog(
        [ProviderContribution(type="mine", load=load, models=rows)], environ={}
    )
    async with catalog:
        await catalog.menu()
        assert not loaded
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(catalog.resolve, "m")
        assert loaded == ["mine"]
        assert not closed
    assert closed == ["mine"]


async def test_a_provider_that_does_not_load_or_close_costs_only_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Stuck(ScriptedProvider):
        async def aclose(self) -> None:
            raise OSError("the door is stuck")

    catalog = ProviderCatalog(
        [
            ProviderContribution(type="gone", load="bamboo_mcp.no_such_module:make"),
            ProviderContribution(type="stuck", load=lambda config: Stuck(name=config.name)),
        ],
        environ={},
    )
    async with catalog:
        with pytest.raises(PluginError, match="gone"):
            await catalog.resolve("gone:x")
        await catalog.resolve("stuck:x")
    assert "stuck" in caplog.text


def test_the_catalog_and_its_menu_import_neither_an_sdk_nor_yaml() -> None:
    program = (
        "import sys, anyio\n"
        "from bamboo_mcp.providers.catalog import ProviderCatalog\n"
        "from bamboo_mcp.providers.shipped import shipped_providers\n"
        "catalog = ProviderCatalog(shipped_providers(), environ={'ANTHROPIC_API_KEY': 'k'})\n"
        "assert anyio.run(catalog.menu)\n"
        "heavy = {'anthropic', 'openai', 'yaml', 'httpx2', 'mcp', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=25, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("vendor", ["anthropic", "openai"])
async def test_the_address_of_the_environment_is_that_of_the_vendors_own_instance(
    vendor: str,
) -> None:
    seen: dict[str, str] = {}

    def load(config: ProviderConfig) -> Provider:
        seen[config.name] = config.base_url
        return ScriptedProvider(name=config.name)

    kinds = [msgspec.structs.replace(one, load=load) for one in shipped_providers()]
    catalog = ProviderCatalog(
        kinds,
        providers={"other": _Settings(type=vendor), "moved": _Settings(vendor, "http://moved")},
        environ={
            f"{vendor.upper()}_BASE_URL": "http://proxy.example",
            f"{vendor.upper()}_API_KEY": KEY,
        },
    )
    async with catalog:
        for name in (vendor, "other", "moved"):
            await catalog.resolve(f"{name}:m")
    assert seen == {vendor: "http://proxy.example", "other": "", "moved": "http://moved"}


async def test_a_role_in_the_place_of_the_primary_model_is_that_role() -> None:
    roles = {"primary": "fast", "fast": "offline:offline"}
    assert await _resolved(_catalog(roles=roles), "") == "offline:offline"
