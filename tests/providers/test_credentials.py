"""Where a key comes from, up to the service that is sent it."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import keyring
import pytest
from keyring.backends.fail import Keyring as NoKeyring

from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.provider_errors import AuthenticationFailed
from bamboo_mcp.domain.secrets import Secret
from bamboo_mcp.domain.stream import Stop
from bamboo_mcp.ports import Provider
from bamboo_mcp.providers.catalog import ProviderCatalog
from bamboo_mcp.providers.credentials import key_needed, read_key
from bamboo_mcp.providers.shipped import shipped_providers
from bamboo_mcp.settings import Settings, load_settings
from bamboo_mcp.testing.contracts.provider import simple_request
from bamboo_mcp.testing.fake_llm.anthropic import AnthropicDialect
from bamboo_mcp.testing.fake_llm.server import FakeReply, fake_llm

MODEL = "claude-opus-5-5"
WORK_KEY = "sk-ant-of-the-office-0123456789"
HOME_KEY = "sk-ant-of-the-family-9876543210"
USUAL = "ANTHROPIC_API_KEY"
ENVIRON = dict(os.environ)


def read(reference: str, environ: Mapping[str, str] | None = None) -> tuple[Secret, str]:
    return read_key(reference, usual_env=USUAL, instance="work", environ=environ or {})


def settings_of(**providers: Mapping[str, Any]) -> Settings:
    flags = {
        f"providers.{name}.{key}": value
        for name, said in providers.items()
        for key, value in said.items()
    }
    return load_settings(config=Path(os.devnull), environ={}, flags=flags)


def catalog_of(**providers: Mapping[str, Any]) -> ProviderCatalog:
    return ProviderCatalog(
        shipped_providers(), providers=settings_of(**providers).providers, environ=ENVIRON
    )


def program(folder: Path, text: str) -> str:
    file = folder / "give_key.py"
    file.write_text(text, encoding="utf-8")
    return f"cmd:'{sys.executable}' '{file}'"


async def asked(provider: Provider, model: str) -> str:
    request: ModelRequest = simple_request(model=model)
    with anyio.fail_after(5):
        async with provider.stream(request) as chunks:
            last = [chunk async for chunk in chunks][-1]
    assert isinstance(last, Stop)
    return last.model


def test_the_usual_variable_is_looked_at_when_settings_name_no_place() -> None:
    assert read("", {USUAL: f" {WORK_KEY} "})[0].reveal() == WORK_KEY
    for environ in ({}, {USUAL: " "}):
        key, problem = read("", environ)
        assert (bool(key), problem) == (False, "")


def test_a_place_in_the_settings_goes_before_the_usual_variable() -> None:
    key, problem = read("env:MINE", {"MINE": WORK_KEY, USUAL: HOME_KEY})
    assert (key.reveal(), problem) == (WORK_KEY, "")
    key, problem = read("env:MINE", {USUAL: HOME_KEY})
    assert not key
    assert problem == "the setting providers.work.api_key: 'env:MINE' is not set"


def test_what_can_be_read_at_once_is_and_what_must_be_looked_up_waits() -> None:
    assert not read("env:MINE", {"MINE": WORK_KEY})[0].pending
    for reference in ("keyring:bamboo/work", "cmd:/nowhere/give-key"):
        key, problem = read(reference)
        assert key
        assert key.pending
        assert problem == ""


def test_a_reference_that_is_none_is_said_before_anything_is_looked_up() -> None:
    for reference in ("cmd:bin/give-key", "cmd:'", "keyring:work", WORK_KEY):
        key, problem = read(reference)
        assert not key
        assert problem.startswith("the setting providers.work.api_key: ")
        assert WORK_KEY not in problem


def test_a_failed_look_up_names_the_setting_and_what_to_do(tmp_path: Path) -> None:
    reference = program(tmp_path, f"print({WORK_KEY!r}); raise SystemExit(3)")
    key, _ = read(reference, ENVIRON)
    with pytest.raises(AuthenticationFailed) as caught:
        key.reveal()
    assert caught.value.message.startswith("work: the setting providers.work.api_key: 'cmd:")
    assert "ended with exit code 3" in caught.value.message
    assert caught.value.hint
    assert caught.value.provider == "work"
    assert WORK_KEY not in "".join(traceback.format_exception(caught.value))


def test_what_to_do_without_any_key_names_every_form() -> None:
    said = key_needed("work", USUAL)
    for form in (USUAL, "providers.work.api_key", "env:", "file:", "keyring:", "cmd:"):
        assert form in said


async def test_each_instance_of_one_type_sends_its_own_key_to_its_own_address(
    tmp_path: Path,
) -> None:
    (tmp_path / "key").write_text(f"{HOME_KEY}\n", encoding="utf-8")
    command = program(tmp_path, f"print({WORK_KEY!r})")
    async with fake_llm(AnthropicDialect()) as office, fake_llm(AnthropicDialect()) as family:
        office.reply(FakeReply(text="one"), FakeReply(text="two"))
        family.reply(FakeReply(text="three"))
        async with catalog_of(
            work={"type": "anthropic", "base_url": office.base_url, "api_key": command},
            home={
                "type": "anthropic",
                "base_url": family.base_url,
                "api_key": f"file:{tmp_path / 'key'}",
            },
        ) as catalog:
            for name in (f"work:{MODEL}", f"home:{MODEL}", f"work:{MODEL}"):
                await asked(*await catalog.resolve(name))
        office.assert_complete()
        family.assert_complete()
    for server, key in ((office, WORK_KEY), (family, HOME_KEY)):
        other = HOME_KEY if key is WORK_KEY else WORK_KEY
        for seen in server.requests:
            assert seen.headers["authorization"] == f"Bearer {key}"
            assert seen.headers["x-api-key"] == key
            assert other not in str(seen)


async def test_nothing_is_looked_up_until_a_model_is_used_and_then_once(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    text = f"open({str(ran)!r}, 'a').write('x'); print({WORK_KEY!r})"
    async with fake_llm(AnthropicDialect()) as server:
        server.reply(FakeReply(text="one"), FakeReply(text="two"))
        async with catalog_of(
            work={
                "type": "anthropic",
                "base_url": server.base_url,
                "api_key": program(tmp_path, text),
            },
        ) as catalog:
            rows = [row for row in await catalog.menu() if row.provider == "work"]
            assert rows
            assert all(row.ready for row in rows)
            assert catalog.problem(f"work:{MODEL}") == ""
            assert not ran.exists()
            for _ in range(2):
                await asked(*await catalog.resolve(f"work:{MODEL}"))
    assert ran.read_text(encoding="utf-8") == "x"


async def test_a_key_that_cannot_be_fetched_now_may_be_fetched_the_next_time(
    tmp_path: Path,
) -> None:
    place = tmp_path / "unlocked"
    text = f"print(open({str(place)!r}).read())"
    async with catalog_of(
        work={"type": "anthropic", "api_key": program(tmp_path, text)},
    ) as catalog:
        for _ in range(2):
            with pytest.raises(AuthenticationFailed, match=r"providers\.work\.api_key") as caught:
                await catalog.resolve(f"work:{MODEL}")
            assert "ended with exit code 1" in caught.value.message
        place.write_text(WORK_KEY, encoding="utf-8")
        provider, model = await catalog.resolve(f"work:{MODEL}")
    assert (provider.name, model) == ("work", MODEL)


async def test_a_keyring_that_is_not_there_is_said_when_the_model_is_used() -> None:
    before = keyring.get_keyring()
    keyring.set_keyring(NoKeyring())  # type: ignore[no-untyped-call]
    try:
        async with catalog_of(
            work={"type": "anthropic", "api_key": "keyring:bamboo/work"},
        ) as catalog:
            with pytest.raises(AuthenticationFailed) as caught:
                await catalog.resolve(f"work:{MODEL}")
    finally:
        keyring.set_keyring(before)
    assert "providers.work.api_key: 'keyring:bamboo/work' cannot be read" in caught.value.message
    assert "env:NAME" in caught.value.hint
