"""How the chat provider finds its server's habits, and what it learns of the models there."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.errors import SettingsError
from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.domain.models import ModelCaps, ModelFacts
from bamboo_mcp.domain.provider_errors import AuthenticationFailed
from bamboo_mcp.domain.secrets import Secret
from bamboo_mcp.domain.stream import Stop
from bamboo_mcp.providers.openai.chat import make
from bamboo_mcp.providers.openai.chat_models import described_models
from bamboo_mcp.providers.openai.profiles import PROFILES, complete, guess, root_of
from bamboo_mcp.providers.openai.sdk import make_client
from bamboo_mcp.testing.contracts.provider import Case, ProviderContract
from bamboo_mcp.testing.fake_llm.chat import ChatDialect
from bamboo_mcp.testing.fake_llm.server import FakeCall, FakeError, FakeReply
from tests.providers.openai.chat_at import KEY, ask, chat_and_fake, request


@pytest.mark.parametrize(
    ("base_url", "name"),
    [
        ("http://localhost:11434/v1", "ollama"),
        ("http://127.0.0.1:8080/v1", "llama.cpp"),
        ("http://127.0.0.1:1234", "lmstudio"),
        ("http://gpu.lan:8000/v1/", "vllm"),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", "gemini"),
        ("https://API.DeepSeek.com", "deepseek"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://eu.openrouter.ai/api/v1", "openrouter"),
        ("https://notopenrouter.ai/api/v1", "compatible"),
        ("https://llm.example.org/v1", "compatible"),
        ("http://127.0.0.1:99999/v1", "compatible"),
        ("", "compatible"),
    ],
)
def test_a_profile_is_guessed_by_host_and_port(base_url: str, name: str) -> None:
    assert guess(base_url).name == name


def test_a_path_that_was_left_out_is_completed() -> None:
    for base_url, name, whole in (
        ("http://localhost:11434", "ollama", "http://localhost:11434/v1"),
        ("http://localhost:8080/", "llama.cpp", "http://localhost:8080/v1"),
        ("http://box/llm/v1", "compatible", "http://box/llm/v1"),
        ("https://api.deepseek.com", "deepseek", "https://api.deepseek.com"),
        ("https://openrouter.ai", "openrouter", "https://openrouter.ai/api/v1"),
    ):
        assert complete(base_url, PROFILES[name]) == whole
    assert root_of("http://box:8080/v1/") == "http://box:8080"
    assert root_of("http://box/llm/v1") == "http://box/llm"


async def test_the_options_go_before_the_guess() -> None:
    for options, name in (
        ({}, "ollama"),
        ({"profile": ""}, "ollama"),
        ({"profile": "vllm"}, "vllm"),
    ):
        config = ProviderConfig(
            name="box", type="openai-chat", base_url="http://127.0.0.1:11434", options=options
        )
        async with aclosing(make(config)) as provider:
            assert provider.profile.name == name


def test_without_an_address_it_says_what_to_set_before_any_request() -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        make(ProviderConfig(name="work", type="openai-chat"))
    assert "base_url" in caught.value.message


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"profil": "ollama"}, "profil"),
        ({"profile": "olama"}, "profile"),
        ({"profile": 3}, "profile"),
        ({"keyless": "yes"}, "keyless"),
        ({"stall_timeout_s": 0}, "stall_timeout_s"),
        ({"headers": {"a": 1}}, "headers"),
    ],
)
def test_a_wrong_option_is_named_with_its_place(options: dict[str, object], word: str) -> None:
    config = ProviderConfig(
        name="work",
        type="openai-chat",
        base_url="http://127.0.0.1:9/v1",
        api_key=Secret(KEY),
        options=options,
    )
    with pytest.raises(SettingsError) as caught:
        make(config)
    assert f"providers.work.options.{word}" in caught.value.message
    assert KEY not in caught.value.message


async def test_the_key_shows_in_no_repr() -> None:
    async with chat_and_fake() as (provider, _):
        assert KEY not in repr(provider) + repr(vars(vars(provider)["_faults"]))


async def test_the_key_goes_out_as_a_bearer_and_the_connection_is_used_again() -> None:
    async with chat_and_fake(headers={"x-team": "blue"}) as (provider, server):
        for _ in range(3):
            server.reply(FakeReply(text="ok"))
            with anyio.fail_after(5):
                async with provider.stream(request([user_message("a")])) as chunks:
                    async for chunk in chunks:
                        if isinstance(chunk, Stop):
                            break  # as the agent does: it leaves at the Stop
        assert server.connections == 1
        headers = server.requests[0].headers
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["x-team"] == "blue"


async def test_a_local_server_needs_no_key_and_learns_none_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-you")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-not-for-you")
    async with chat_and_fake() as (_, server):
        config = ProviderConfig(name="box", type="openai-chat", base_url=server.base_url)
        async with aclosing(make(config)) as provider:
            server.reply(FakeReply(text="ok"))
            await ask(provider, request([user_message("a")]))
        assert "not-for-you" not in str(server.requests[0].headers)


async def test_tokens_cannot_be_counted() -> None:
    async with chat_and_fake() as (provider, server):
        assert await provider.count(request([user_message("a")])) is None
        assert not server.requests


async def _rows(
    dialect: ChatDialect,
    profile: str,
    names: list[str],
    models: dict[str, ModelFacts] | None = None,
) -> dict[str, ModelCaps]:
    async with chat_and_fake(dialect, profile=profile, models=models) as (provider, server):
        server.model_ids = names
        with anyio.fail_after(5):
            rows = await provider.models()
        assert all(row.ready and not row.missing and row.provider == "local" for row in rows)
        assert all(provider.caps(row.name) == row.caps for row in rows)
    return {row.name: row.caps for row in rows}


async def test_ollama_is_asked_for_each_model_and_those_with_tools_come_first() -> None:
    def show(window: int, *can: str, **more: Any) -> dict[str, Any]:
        info = {"general.architecture": "x", "x.context_length": window}
        return {"capabilities": ["completion", *can], "model_info": info, **more}

    shows = {
        "plain": show(8192),
        "thinker": show(40960, "tools", "thinking"),
        "levels": show(40960, "tools", "thinking", thinking={"values": ["low", "max"]}),
        "seer": show(32768, "vision", "tools", parameters="temperature 0.7\nnum_ctx    4096"),
        "vectors": {"capabilities": ["embedding"]},
    }
    names = ["plain", "thinker", "levels", "seer", "vectors", "nomic-embed-text", "unknown"]
    caps = await _rows(ChatDialect(shows=shows), "ollama", names)
    assert list(caps) == ["thinker", "levels", "seer", "unknown", "plain"]
    assert caps["thinker"].context_window == 40960
    assert caps["thinker"].efforts == ("none", "low", "medium", "high")
    assert caps["levels"].efforts == ("low", "max")
    assert not caps["thinker"].images
    assert caps["seer"].images
    assert caps["seer"].context_window == 4096
    assert not caps["plain"].tools
    assert caps["unknown"] == ModelCaps()


async def test_only_so_many_models_are_asked_one_by_one() -> None:
    async with chat_and_fake(ChatDialect(shows={}), profile="ollama") as (provider, server):
        server.model_ids = [f"m{number}" for number in range(30)]
        with anyio.fail_after(5):
            rows = await provider.models()
        assert len(rows) == 30
        assert len([seen for seen in server.requests if seen.path == "/api/show"]) == 20


async def test_llama_cpp_says_the_window_it_runs_with() -> None:
    props = {
        "default_generation_settings": {"n_ctx": 16384},
        "modalities": {"vision": False},
        "chat_template_caps": {"supports_tools": True},
    }
    caps = await _rows(ChatDialect(props=props), "llama.cpp", ["model.gguf"])
    assert caps["model.gguf"].context_window == 16384
    assert not caps["model.gguf"].images
    assert list(await _rows(ChatDialect(), "llama.cpp", ["model.gguf"])) == ["model.gguf"]
    assert len(await _rows(ChatDialect(props=props), "llama.cpp", ["a", "b"])) == 2


async def test_vllm_and_openrouter_say_it_in_their_rows() -> None:
    rows: dict[str, dict[str, Any]] = {
        "qwen": {"max_model_len": 32768, "root": "Qwen/Qwen3-8B"},
        "vendor/big": {
            "context_length": 200_000,
            "top_provider": {"max_completion_tokens": 64_000},
            "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
            "supported_parameters": ["max_tokens"],
            "pricing": {"prompt": "0.000003", "completion": "0.000015"},
        },
        "vendor/painter": {"architecture": {"output_modalities": ["image"]}},
        "router": {"pricing": {"prompt": "-1", "completion": None}},
    }
    async with chat_and_fake(ChatDialect(rows=rows), profile="openrouter") as (provider, server):
        server.model_ids = list(rows)
        entries = {row.name: row for row in await provider.models()}
    assert list(entries) == ["qwen", "router", "vendor/big"]
    assert entries["qwen"].caps.context_window == 32768
    big = entries["vendor/big"]
    assert (big.price_input, big.price_output) == (3.0, 15.0)
    assert entries["router"].price_input is None
    assert big.caps == ModelCaps(
        context_window=200_000, max_output=64_000, images=False, tools=False
    )


async def test_lm_studio_is_asked_for_the_rows_of_its_own_list() -> None:
    rows = (
        {"id": "a", "type": "llm", "max_context_length": 131072, "loaded_context_length": 4096},
        {"id": "b", "type": "vlm", "max_context_length": 8192, "capabilities": ["tool_use"]},
        {"id": "c", "type": "embeddings"},
        {"id": "d", "type": "llm", "capabilities": []},
        "noise",
    )
    # The rows are what a server sends, so noise is theirs too.
    caps = await _rows(ChatDialect(rows_v0=rows), "lmstudio", ["a", "b", "c", "d"])  # type: ignore[arg-type]
    assert list(caps) == ["a", "b", "d"]
    assert caps["a"].context_window == 4096
    assert not caps["a"].images
    assert caps["b"].images
    assert caps["b"].tools
    assert not caps["d"].tools


async def test_gemini_models_go_by_their_bare_names() -> None:
    names = ["models/gemini-x", "models/text-embedding-9"]
    assert list(await _rows(ChatDialect(), "gemini", names)) == ["gemini-x"]


async def test_settings_go_before_what_the_server_says() -> None:
    rows = {"qwen": {"max_model_len": 32768}}
    said = {"qwen": ModelFacts(context_window=1000, tools=False)}
    caps = await _rows(ChatDialect(rows=rows), "vllm", ["qwen"], said)
    assert caps["qwen"].context_window == 1000
    assert not caps["qwen"].tools


async def test_a_server_that_does_not_answer_is_one_entry_that_says_why() -> None:
    config = ProviderConfig(name="gone", type="openai-chat", base_url="http://127.0.0.1:9/v1")
    async with aclosing(make(config)) as provider:
        with anyio.fail_after(5):
            (row,) = await provider.models()
    assert (row.name, row.provider, row.ready) == ("", "gone", False)
    assert "could not be reached" in row.missing
    known = ProviderConfig(
        name="gone",
        type="openai-chat",
        base_url="http://127.0.0.1:9/v1",
        models={"qwen": ModelFacts(context_window=1000)},
    )
    async with aclosing(make(known)) as provider:
        (row,) = await provider.models()
    assert (row.name, row.caps.context_window, row.ready) == ("qwen", 1000, False)


async def test_a_list_that_is_none_is_told_and_raises_nothing() -> None:
    for answer in (b"<html>hello</html>", b"[]", b"{}", b'{"data": 7}', b"{"):
        for kind in ("text/html", "application/json"):
            async with _one_answer(answer, kind) as base_url:
                config = ProviderConfig(name="odd", type="openai-chat", base_url=base_url)
                async with aclosing(make(config)) as provider:
                    with anyio.fail_after(5):
                        (row,) = await provider.models()
            assert not row.ready
            assert row.missing


async def test_a_server_that_accepts_and_says_nothing_is_not_waited_for() -> None:
    async with _one_answer(None) as base_url:
        client = make_client(
            ProviderConfig(name="slow", type="openai-chat", base_url=base_url),
            stall_timeout_s=60,
            headers={},
        )
        with anyio.fail_after(5), pytest.raises(TimeoutError):
            await described_models(client, PROFILES["ollama"], within_s=0.05)
        await client.close()


@asynccontextmanager
async def _one_answer(answer: bytes | None, kind: str = "") -> AsyncGenerator[str]:
    """A server that answers every request with this, or never."""

    async def serve(stream: ByteStream) -> None:
        async with stream:
            await stream.receive()
            if answer is None:
                await anyio.sleep_forever()
            head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n"
            await stream.send(head.encode() + (answer or b""))

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/v1"
        group.cancel_scope.cancel()


class TestContract(ProviderContract):
    @asynccontextmanager
    async def case(self) -> AsyncGenerator[Case]:
        async with chat_and_fake() as (provider, server):
            call = FakeCall(id="c1", name="look", args={"path": "a b"})
            by_text = {
                "say": FakeReply(thinking="hm", text="Here is a longer answer."),
                "call": FakeReply(text="Ok.", calls=(call, FakeCall(id="c2", name="draw"))),
                "fail": FakeReply(error=FakeError(status=500, type="server_error")),
            }
            server.reply(lambda body: by_text[body["messages"][-1]["content"]])
            yield Case(
                provider=provider,
                says=request([user_message("say")]),
                calls=request([user_message("call")]),
                fails=request([user_message("fail")]),
            )
