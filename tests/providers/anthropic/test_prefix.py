"""Signed thoughts belong to the instructions and tools they were thought under."""

from __future__ import annotations

from typing import Any

import msgspec

from bamboo_mcp.domain.messages import Message, user_message
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.testing.fake_llm.server import FakeReply, Seen
from tests.providers.anthropic.at import MODEL, anthropic_and_fake, ask

TOOL = ToolSpec(name="look", description="Look at it.")
OTHER = ToolSpec(name="touch", description="Touch it.")


def _thoughts(seen: Seen) -> list[str]:
    messages: list[dict[str, Any]] = seen.body["messages"]
    return [
        block["thinking"]
        for message in messages
        for block in message["content"]
        if block["type"] == "thinking"
    ]


def _request(history: list[Message], **changes: Any) -> ModelRequest:
    plain = ModelRequest(
        model=MODEL, messages=history, system="be kind", tools=[TOOL], conversation="c"
    )
    return msgspec.structs.replace(plain, **changes)


async def _go_on(provider: Any, history: list[Message], **changes: Any) -> None:
    stop = await ask(provider, _request(history, **changes))
    history += [stop.message, user_message("and then?")]


async def test_thoughts_go_back_as_long_as_instructions_and_tools_stay() -> None:
    async with anthropic_and_fake() as (provider, server):
        server.reply(*(FakeReply(thinking=f"thought {n}", text="yes") for n in range(3)))
        history = [user_message("go")]
        for _ in range(2):
            await _go_on(provider, history)
        await _go_on(provider, history, tool_choice="none")
        assert _thoughts(server.requests[-1]) == ["thought 0", "thought 1"]


async def test_under_other_instructions_or_tools_the_older_thoughts_stay_behind() -> None:
    for changes in ({"system": "be strict"}, {"tools": [TOOL, OTHER]}):
        async with anthropic_and_fake() as (provider, server):
            server.reply(*(FakeReply(thinking=f"thought {n}", text="yes") for n in range(4)))
            history = [user_message("go")]
            await _go_on(provider, history)
            await _go_on(provider, history, **changes)
            await _go_on(provider, history, **changes)
            assert _thoughts(server.requests[1]) == []
            assert _thoughts(server.requests[2]) == ["thought 1"], "a new stretch of its own"
            await _go_on(provider, history)
            assert _thoughts(server.requests[3]) == ["thought 0"]
            # That last one is odd but legal: what came after the first thought is left out, and it
            # is bound only to what stands before it.


async def test_a_thought_of_before_a_restart_is_told_by_what_is_kept_with_it() -> None:
    async with anthropic_and_fake() as (provider, server):
        server.reply(FakeReply(thinking="kept", text="yes"))
        history = [user_message("go")]
        await _go_on(provider, history)
    kept = msgspec.json.decode(msgspec.json.encode(history), type=list[Message])
    async with anthropic_and_fake() as (provider, server):
        server.reply(FakeReply(text="a"), FakeReply(text="b"))
        await ask(provider, _request(kept))
        await ask(provider, _request(kept, system="be strict"))
        assert [_thoughts(seen) for seen in server.requests] == [["kept"], []]
