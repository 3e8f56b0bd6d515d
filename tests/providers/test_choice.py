"""Which model serves when nobody names one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import anyio
import msgspec
import pytest
from anyio.abc import SocketAttribute

from bamboo_mcp.contributions import ProviderConfig, ProviderContribution, ProviderPreset
from bamboo_mcp.domain.models import ModelFacts
from bamboo_mcp.providers.catalog import ProviderCatalog
from bamboo_mcp.providers.choice import GIVE_UP_AFTER
from bamboo_mcp.providers.instances import PROBE_WITHIN_S
from bamboo_mcp.providers.shipped import shipped_providers
from bamboo_mcp.testing.fake_llm.chat import ChatDialect
from bamboo_mcp.testing.fake_llm.server import FakeLLM, fake_llm
from bamboo_mcp.testing.scripted import ScriptedProvider

KEY = "sk-very-secret-0123456789"
PROBE = "bamboo_mcp.providers.openai.local:probe"


@dataclass(frozen=True)
class _Settings:
    type: str = ""
    base_url: str = ""
    api_key: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, ModelFacts] = field(default_factory=dict)


def _with_servers(addresses: Mapping[str, str]) -> list[ProviderContribution]:
    """What ships, its servers on this machine being at these addresses instead."""
    presets = tuple(
        ProviderPreset(name=name, base_url=address, options={"profile": name}, probe=PROBE)
        for name, address in addresses.items()
    )
    return [
        msgspec.structs.replace(one, presets=presets) if one.type == "openai-chat" else one
        for one in shipped_providers()
    ]


def _catalog(addresses: Mapping[str, str], *, local: bool = True, **more: Any) -> ProviderCatalog:
    return ProviderCatalog(
        _with_servers(addresses), local=local, environ={}, **{"probe_within_s": 5.0, **more}
    )


async def _chosen(catalog: ProviderCatalog) -> str:
    with anyio.fail_after(15):
        provider, model = await catalog.resolve("")
    return f"{provider.name}:{model}"


async def _server(
    stack: AsyncExitStack, *models: str, dialect: ChatDialect | None = None
) -> FakeLLM:
    server = await stack.enter_async_context(fake_llm(dialect or ChatDialect()))
    server.model_ids = list(models)
    return server


async def test_a_server_on_this_machine_serves_when_there_is_no_key_and_it_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with AsyncExitStack() as stack:
        server = await _server(stack, "llama3")
        catalog = await stack.enter_async_context(
            _catalog({"vllm": "http://127.0.0.1:9/v1", "lmstudio": f"{server.base_url}/v1"})
        )
        assert await _chosen(catalog) == "lmstudio:llama3"
        assert "taking lmstudio:llama3" in caplog.text
        caplog.clear()
        assert await _chosen(catalog) == "lmstudio:llama3"
        assert not caplog.text, "said once"


async def test_a_model_that_can_use_tools_is_taken_before_one_that_cannot() -> None:
    shows = {
        "painter": {"capabilities": ["completion", "vision"], "model_info": {}},
        "worker": {
            "capabilities": ["completion", "tools"],
            "model_info": {"llama.context_length": 4096},
        },
        "embedder": {"capabilities": ["embedding"], "model_info": {}},
    }
    async with AsyncExitStack() as stack:
        server = await _server(stack, *shows, dialect=ChatDialect(shows=shows))
        catalog = await stack.enter_async_context(_catalog({"ollama": f"{server.base_url}/v1"}))
        assert await _chosen(catalog) == "ollama:worker"
        provider, model = await catalog.resolve("")
        assert provider.caps(model).context_window == 4096


async def test_keys_and_settings_come_before_a_server_on_this_machine() -> None:
    async with AsyncExitStack() as stack:
        server = await _server(stack, "llama3")
        address = {"lmstudio": f"{server.base_url}/v1"}
        keyed = ProviderCatalog(_with_servers(address), local=True, environ={"OPENAI_API_KEY": KEY})
        set_up = _catalog(
            address,
            providers={
                "desk": _Settings(type="openai-chat", base_url=f"{server.base_url}/v1"),
            },
        )
        assert await _chosen(await stack.enter_async_context(keyed)) == "openai:gpt-6.1-sol"
        assert await _chosen(await stack.enter_async_context(set_up)) == "desk:llama3"
        named = _catalog(address, roles={"primary": "offline"})
        assert await _chosen(await stack.enter_async_context(named)) == "offline:offline"


async def test_nobody_looks_when_told_not_to_or_when_a_model_is_named() -> None:
    async with AsyncExitStack() as stack:
        server = await _server(stack, "llama3")
        address = {"lmstudio": f"{server.base_url}/v1"}
        quiet = await stack.enter_async_context(_catalog(address, local=False))
        assert await _chosen(quiet) == "offline:offline"
        eager = await stack.enter_async_context(_catalog(address))
        assert eager.problem() == ""
        await eager.resolve("offline")
        assert server.connections == 0


async def test_what_merely_answers_is_not_taken_for_a_model_server() -> None:
    async with AsyncExitStack() as stack:
        empty = await _server(stack)
        other = await stack.enter_async_context(fake_llm())
        addresses = {"vllm": f"{empty.base_url}/v1", "llama.cpp": f"{other.base_url}/v1"}
        catalog = await stack.enter_async_context(_catalog(addresses))
        assert await _chosen(catalog) == "offline:offline"
        rows = {row.provider: row for row in await catalog.menu(ask=True)}
        for name, address in addresses.items():
            assert rows[name].missing == f"no server answers at {address}"


async def test_a_server_that_never_answers_costs_a_moment_and_is_looked_for_once() -> None:
    connections = 0
    hold = anyio.Event()

    async def swallow(stream: Any) -> None:
        nonlocal connections
        connections += 1
        async with stream:
            await hold.wait()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port = listener.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, swallow)
        address = {"vllm": f"http://127.0.0.1:{port}/v1"}
        async with _catalog(address, probe_within_s=PROBE_WITHIN_S) as catalog:
            async with anyio.create_task_group() as runs:
                for _ in range(20):
                    runs.start_soon(_chosen, catalog)
            assert await _chosen(catalog) == "offline:offline"
        hold.set()
        group.cancel_scope.cancel()
    assert connections == 1


async def test_the_menu_shows_the_models_of_a_server_and_what_each_other_lacks() -> None:
    async with AsyncExitStack() as stack:
        server = await _server(stack, "a", "b")
        catalog = await stack.enter_async_context(
            _catalog({"lmstudio": f"{server.base_url}/v1", "vllm": "http://127.0.0.1:9/v1"})
        )
        assert not [row for row in await catalog.menu() if row.provider in ("lmstudio", "vllm")]
        rows = await catalog.menu(ask=True)
        assert [row.name for row in rows if row.provider == "lmstudio" and row.ready] == ["a", "b"]
        (lacking,) = [row for row in rows if row.provider == "vllm"]
        assert lacking.missing == "no server answers at http://127.0.0.1:9/v1"


async def test_settings_can_move_a_server_without_saying_its_type_again() -> None:
    async with AsyncExitStack() as stack:
        server = await _server(stack, "llama3")
        settings = _Settings(base_url=f"{server.base_url}/v1")
        catalog = await stack.enter_async_context(
            _catalog({"ollama": "http://127.0.0.1:9/v1"}, providers={"ollama": settings})
        )
        assert await _chosen(catalog) == "ollama:llama3"
        provider, _ = await catalog.resolve("ollama:other")
        assert provider.name == "ollama"


async def test_a_server_that_is_busy_for_a_while_is_still_the_one() -> None:
    now = 0.0
    busy = False

    async def probe(config: ProviderConfig, within_s: float) -> bool:
        return not busy

    preset = ProviderPreset(name="desk", base_url="http://127.0.0.1:9/v1", probe=probe)
    contributions = [
        ProviderContribution(
            type="desks", load=lambda config: ScriptedProvider(name="desk"), presets=(preset,)
        ),
        *(one for one in shipped_providers() if one.type == "offline"),
    ]
    async with ProviderCatalog(contributions, local=True, environ={}, clock=lambda: now) as catalog:
        assert await _chosen(catalog) == "desk:test"
        busy = True
        for _ in range(GIVE_UP_AFTER - 1):
            now += 60
            assert await _chosen(catalog) == "desk:test"
        now += 60
        assert await _chosen(catalog) == "offline:offline"
        busy = False
        now += 60
        assert await _chosen(catalog) == "desk:test"
