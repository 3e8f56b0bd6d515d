"""Arguments of tool calls that are no JSON object, or only half of one."""

from __future__ import annotations

import anyio
import pytest

from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.domain.provider_errors import (
    BadToolJson,
    ProviderFailure,
)
from bamboo_mcp.domain.stream import BlockDone, Chunk
from bamboo_mcp.testing.fake_llm.server import FakeCall, FakeReply
from tests.providers.openai.responses_at import a_request, ask, openai_and_fake

ASK = a_request([user_message("hello")])


async def _failure(reply: FakeReply) -> tuple[ProviderFailure, list[Chunk]]:
    seen: list[Chunk] = []
    async with openai_and_fake() as (provider, server):
        server.reply(reply)
        with pytest.raises(ProviderFailure) as caught, anyio.fail_after(5):
            async with provider.stream(ASK) as chunks:
                async for chunk in chunks:
                    seen.append(chunk)
    return caught.value, seen


@pytest.mark.parametrize("raw", ['{"path": "a', "[1]", '"text"', "{'a': 1}", "null", " "])
async def test_arguments_that_are_no_json_object_never_become_an_empty_call(raw: str) -> None:
    call = FakeCall(id="call_1", name="look", raw_json=raw)
    failure, seen = await _failure(FakeReply(calls=(call,)))
    assert type(failure) is BadToolJson
    assert "look" in failure.message
    assert failure.started
    assert not any(isinstance(chunk, BlockDone) for chunk in seen)


async def test_one_bad_call_of_two_spoils_the_round() -> None:
    calls = (
        FakeCall(id="call_1", name="look", raw_json="{"),
        FakeCall(id="call_2", name="draw", args={}),
    )
    failure, _ = await _failure(FakeReply(calls=calls))
    assert type(failure) is BadToolJson


@pytest.mark.parametrize("raw", ['{"path": "a', ""])
async def test_a_call_cut_off_by_the_token_limit_is_dropped_and_the_limit_told(raw: str) -> None:
    async with openai_and_fake() as (provider, server):
        call = FakeCall(id="call_1", name="look", raw_json=raw)
        reply = FakeReply(thinking="hm", text="Looking.", calls=(call,), stop="max_output_tokens")
        server.reply(reply, FakeReply(text="ok"))
        stop = await ask(provider, ASK)
        assert stop.reason == "max_tokens"
        assert stop.message.text == "Looking."
        assert not stop.message.tool_calls
        history = [user_message("hello"), stop.message, user_message("go on")]
        await ask(provider, a_request(history))


async def test_a_whole_call_before_the_token_limit_is_made() -> None:
    async with openai_and_fake() as (provider, server):
        calls = (
            FakeCall(id="call_1", name="look", args={"a": 1}),
            FakeCall(id="call_2", name="look", raw_json='{"a'),
        )
        server.reply(FakeReply(calls=calls, stop="max_output_tokens"))
        stop = await ask(provider, ASK)
    assert [call.id for call in stop.message.tool_calls] == ["call_1"]
    assert stop.reason == "max_tokens"
