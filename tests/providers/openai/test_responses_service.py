"""How the provider reaches its service: keys, headers, connections, models and token counts."""

from __future__ import annotations

import anyio
import pytest

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.errors import SettingsError
from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.domain.models import ModelFacts
from bamboo_mcp.domain.provider_errors import AuthenticationFailed
from bamboo_mcp.domain.secrets import Secret
from bamboo_mcp.domain.stream import Stop
from bamboo_mcp.providers.openai.responses import make
from bamboo_mcp.testing.contracts.provider import simple_request
from bamboo_mcp.testing.fake_llm.anthropic import AnthropicDialect
from bamboo_mcp.testing.fake_llm.server import FakeReply, fake_llm
from tests.providers.openai.responses_at import KEY, MODEL, a_request, ask, openai_and_fake


async def test_the_key_goes_out_in_the_headers_and_the_connection_is_used_again() -> None:
    options = {"headers": {"x-team": "blue"}, "organization": "org-1", "project": "proj_2"}
    async with openai_and_fake(**options) as (provider, server):
        for _ in range(3):
            server.reply(FakeReply(text="ok"))
            with anyio.fail_after(5):
                async with provider.stream(simple_request(model=MODEL)) as chunks:
                    async for chunk in chunks:
                        if isinstance(chunk, Stop):
                            break  # as the agent does: it leaves at the Stop
        assert server.connections == 1
        headers = server.requests[0].headers
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["x-team"] == "blue"
    assert headers["openai-organization"] == "org-1"
    assert headers["openai-project"] == "proj_2"


async def test_a_server_of_ones_own_gets_neither_a_key_nor_the_account_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-the-environment")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-of-the-environment")
    async with openai_and_fake() as (_, server):
        config = ProviderConfig(
            name="local",
            type="openai",
            base_url=f"{server.base_url}/v1",
            options={"keyless": True},
        )
        provider = make(config)
        server.reply(FakeReply(text="ok"))
        await ask(provider, simple_request(model="llama3:8b"))
        await provider.models()
        await provider.aclose()
        seen = str([request.headers for request in server.requests])
    assert KEY not in seen
    assert "of-the-environment" not in seen


async def test_tokens_are_counted_by_the_service_with_all_that_is_input_and_nothing_else() -> None:
    async with openai_and_fake() as (provider, server):
        server.token_count = 1234
        request = a_request([user_message("a")], system="s", effort="high", max_output=99)
        assert await provider.count(request) == 1234
        body = server.requests[0].body
    assert body["instructions"] == "s"
    assert [tool["name"] for tool in body["tools"]] == ["look", "draw"]
    allowed = {"model", "input", "instructions", "tools", "parallel_tool_calls", "reasoning"}
    assert body.keys() <= allowed | {"truncation", "tool_choice"}


async def test_a_service_that_cannot_count_says_nothing() -> None:
    async with fake_llm(AnthropicDialect()) as server:
        config = ProviderConfig(
            name="odd", type="openai", base_url=f"{server.base_url}/v1", api_key=Secret(KEY)
        )
        provider = make(config)
        assert await provider.count(simple_request(model=MODEL)) is None
        await provider.aclose()


async def test_its_models_are_those_we_know_and_those_of_the_service_that_converse() -> None:
    async with openai_and_fake() as (provider, server):
        server.model_ids = [
            *("gpt-of-tomorrow", MODEL, "o3-pro", "o4-mini", "chatgpt-4o-latest"),
            *("dall-e-3", "gpt-image-2", "gpt-realtime-2", "gpt-6-audio", "gpt-6-transcribe"),
            *("text-embedding-3-large", "whisper-1", "omni-moderation-latest", "gpt-4o-mini-tts"),
        ]
        rows = {row.name: row for row in await provider.models()}
    assert {"gpt-of-tomorrow", MODEL, "o3-pro", "o4-mini", "chatgpt-4o-latest"} <= rows.keys()
    for word in ("dall", "image", "realtime", "audio", "transcribe", "text", "omni", "tts"):
        assert not any(word in name for name in rows)
    assert rows[MODEL].ready
    assert rows[MODEL].caps.context_window > 500_000


async def test_a_service_that_does_not_answer_leaves_the_known_models_with_the_reason() -> None:
    config = ProviderConfig(
        name="gone", type="openai", base_url="http://127.0.0.1:9/v1", options={"keyless": True}
    )
    provider = make(config)
    rows = await provider.models()
    assert await provider.count(simple_request(model=MODEL)) is None
    await provider.aclose()
    assert rows
    assert all(row.provider == "gone" and not row.ready and row.missing for row in rows)


async def test_settings_go_before_the_table_and_bound_the_answer() -> None:
    async with openai_and_fake() as (_, server):
        facts = {
            "gpt-of-ours": ModelFacts(efforts=("low", "high"), max_output=4_000),
            MODEL: ModelFacts(efforts=()),
        }
        config = ProviderConfig(
            name="work",
            type="openai",
            base_url=f"{server.base_url}/v1",
            api_key=Secret(KEY),
            options={"reasoning_summary": ""},
            models=facts,
        )
        provider = make(config)
        server.reply(FakeReply(text="ok"), FakeReply(text="ok"))
        await ask(provider, a_request([user_message("a")], model="gpt-of-ours", effort="medium"))
        await ask(provider, a_request([user_message("a")], effort="medium"))
        await provider.aclose()
        ours, without = (seen.body for seen in server.requests)
    assert ours["reasoning"] == {"effort": "low"}
    assert ours["max_output_tokens"] == 4_000
    assert "reasoning" not in without
    assert "max_output_tokens" not in without


async def test_the_cache_key_of_a_conversation_is_stable_and_fits() -> None:
    async with openai_and_fake() as (provider, server):
        for conversation in ("s" * 200, "s" * 200, "s" * 201, "gespräch", "short-1"):
            server.reply(FakeReply(text="ok"))
            await ask(provider, a_request([user_message("a")], conversation=conversation))
        keys = [seen.body["prompt_cache_key"] for seen in server.requests]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4
    assert keys[4] == "short-1"
    assert all(key.isascii() and len(key) <= 64 for key in keys)


def test_without_a_key_it_says_what_to_set_before_any_request() -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        make(ProviderConfig(name="work", type="openai"))
    assert "OPENAI_API_KEY" in caught.value.message
    assert "providers.work.api_key" in caught.value.message


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"cache_ttl": "5m"}, "cache_ttl"),
        ({"reasoning_summary": "long"}, "reasoning_summary"),
        ({"stall_timeout_s": "long"}, "stall_timeout_s"),
        ({"organization": 7}, "organization"),
        ({"project": ["a"]}, "project"),
        ({"headers": ["a"]}, "headers"),
    ],
)
def test_a_wrong_option_is_named_with_its_place(options: dict[str, object], word: str) -> None:
    config = ProviderConfig(name="work", type="openai", api_key=Secret(KEY), options=options)
    with pytest.raises(SettingsError) as caught:
        make(config)
    assert f"providers.work.options.{word}" in caught.value.message
    assert KEY not in caught.value.message


async def test_the_key_shows_in_no_repr() -> None:
    async with openai_and_fake() as (provider, _):
        assert KEY not in repr(provider) + repr(vars(vars(provider)["_faults"]))
