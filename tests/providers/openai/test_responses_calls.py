"""Arguments of tool calls that are no JSON object, or only half of one."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.domain.provider_errors import (
    BadToolJson,
    ProviderFailure,
)
from bamboo_mcp.domain.stream import BlockDone, Chunk, Stop
from bamboo_mcp.testing.fake_llm.server import FakeCall, FakeReply
from tests.providers.openai.responses_at import MODEL, a_request, ask, openai_and_fake, read

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


def _calls(*statuses: str | None, ends: str) -> FakeReply:
    """Calls whose arguments never came, the way a server marks them, and how the answer ends."""
    events: list[dict[str, Any]] = []
    output: list[dict[str, Any]] = []
    for index, status in enumerate(statuses):
        item = {"type": "function_call", "id": f"fc_{index}", "call_id": f"call_{index}"}
        item |= {"name": "delete_all", "arguments": ""} | ({"status": status} if status else {})
        at = {"output_index": index, "item": item}
        events.append({"type": "response.output_item.added", **at})
        events.append({"type": "response.output_item.done", **at})
        output.append(item)
    response: dict[str, Any] = {"id": "r", "model": MODEL, "output": output, "usage": None}
    if ends == "incomplete":
        response["incomplete_details"] = {"reason": "max_output_tokens"}
    events.append({"type": f"response.{ends}", "response": response})
    return FakeReply(extra_events=tuple(events))


async def _stop(reply: FakeReply) -> Stop:
    async with openai_and_fake() as (provider, server):
        server.reply(reply)
        chunks = await read(provider, ASK)
    stop = chunks[-1]
    assert isinstance(stop, Stop)
    # A stream that is cancelled before its end keeps the same.
    assert tuple(one.block for one in chunks if isinstance(one, BlockDone)) == stop.message.blocks
    return stop


@pytest.mark.parametrize("status", ["completed", "in_progress", "incomplete", None])
async def test_a_call_cut_before_its_arguments_is_not_made_whatever_it_is_marked_as(
    status: str | None,
) -> None:
    stop = await _stop(_calls(status, ends="incomplete"))
    assert (stop.reason, stop.message.blocks) == ("max_tokens", ())


async def test_only_the_last_call_can_have_been_cut() -> None:
    stop = await _stop(_calls("completed", "completed", ends="incomplete"))
    assert [call.id for call in stop.message.tool_calls] == ["call_0"]


@pytest.mark.parametrize("status", ["completed", None])
async def test_calls_without_parameters_are_made_when_nothing_was_cut(status: str | None) -> None:
    stop = await _stop(_calls(status, status, ends="completed"))
    assert stop.reason == "tool_use"
    assert [(call.id, call.arguments_json) for call in stop.message.tool_calls] == [
        ("call_0", "{}"),
        ("call_1", "{}"),
    ]


async def test_a_call_marked_as_incomplete_in_a_complete_answer_is_a_failure() -> None:
    failure, _ = await _failure(_calls("incomplete", ends="completed"))
    assert type(failure) is BadToolJson
    assert "broke off its call of 'delete_all'" in failure.message
