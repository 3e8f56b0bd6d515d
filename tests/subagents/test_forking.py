"""A fork knows the end of its parent's conversation: whole calls only, and nobody's thoughts."""

from __future__ import annotations

import anyio
import pytest

from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.domain.events import ToolStarted
from bamboo_mcp.domain.messages import (
    Block,
    Message,
    OpaqueBlock,
    ReasoningBlock,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
    user_message,
)
from bamboo_mcp.subagents.forking import forked, open_calls
from bamboo_mcp.testing.harness import open_harness
from bamboo_mcp.testing.scripted import ScriptedProvider, Step
from tests.subagents.gate import Gate, calling


def said(*blocks: Block) -> Message:
    return Message(role="assistant", blocks=blocks, origin="p:m")


def call(id: str) -> ToolCallBlock:
    return ToolCallBlock(id=id, name="look", ext={"p": {"signature": "s"}})


def answered(*ids: str) -> Message:
    return Message(role="user", blocks=tuple(ToolResultBlock(call_id=id) for id in ids))


def calls_and_answers(messages: list[Message]) -> list[str]:
    shown = []
    for message in messages:
        for block in message.blocks:
            if isinstance(block, ToolCallBlock):
                shown.append(f"call {block.id}")
            if isinstance(block, ToolResultBlock):
                shown.append(f"answer {block.call_id}")
    return shown


HISTORY = [
    user_message("task"),
    said(ReasoningBlock(text="hm", ext={"p": {}}), TextBlock(text="I look"), call("1"), call("2")),
    answered("1", "2"),
    said(call("1")),
    answered("1"),
    said(TextBlock(text="so far"), call("3")),
]


@pytest.mark.parametrize("last", range(1, 7))
def test_wherever_it_is_cut_every_call_has_its_answer_and_every_answer_its_call(last: int) -> None:
    copies = forked(HISTORY[-last:], cut=last < 6)
    shown = calls_and_answers(copies)
    assert [one.replace("call", "answer") for one in shown if one.startswith("call")] == [
        one for one in shown if one.startswith("answer")
    ]
    assert "call 3" not in shown
    assert any(message.text == "so far" for message in copies)
    assert copies[0].role == "user"
    assert copies[-1].origin == "notice:fork"
    assert all(message.blocks for message in copies)


def test_thoughts_and_what_was_signed_stay_behind() -> None:
    opaque = OpaqueBlock(provider="p", raw={})
    signed = TextBlock(text="hello", ext={"p": {"id": "msg_1"}})
    copies = forked([*HISTORY, answered("3"), said(ReasoningBlock(text="x"), opaque)], cut=False)
    blocks = [block for message in copies for block in message.blocks]
    assert not [one for one in blocks if isinstance(one, ReasoningBlock | OpaqueBlock)]
    assert not [one for one in blocks if getattr(one, "ext", None)]
    (kept, _) = forked([said(signed)], cut=False)
    assert kept.blocks == (TextBlock(text="hello"),)
    assert HISTORY[1].blocks[0] == ReasoningBlock(text="hm", ext={"p": {}})


def test_a_call_without_an_answer_is_found_only_at_the_end() -> None:
    assert [one.id for one in open_calls(HISTORY)] == ["3"]
    assert list(open_calls([*HISTORY, answered("3")])) == []
    assert [one.id for one in open_calls([*HISTORY, user_message("steer")])] == ["3"]
    assert list(open_calls([])) == []


async def test_a_fork_reads_its_parents_conversation_before_its_own_task() -> None:
    gate = Gate()
    provider = ScriptedProvider()
    provider.respond(
        lambda request: (
            Step(text="forked")
            if request.messages[-1].text == "the other half"
            else calling("wait_here")
        )
    )
    async with open_harness(provider, tools=gate.tools) as harness:
        parent = await harness.spawn("know this")
        await harness.until(parent.subagent_id, lambda e: isinstance(e, ToolStarted))
        fork = {"parent_id": parent.subagent_id, "depth": 2, "context": "fork"}
        child = await harness.spawn("the other half", **fork)
        assert (await harness.ended(child.subagent_id)).text == "forked"
        request = provider.requests[-1]
        texts = [message.text for message in request.messages]
        assert (texts[0], texts[-1]) == ("know this", "the other half")
        assert "copy of the conversation" in texts[-2]
        assert calls_and_answers(list(request.messages)) == []
        short = await harness.spawn("the other half", **fork, fork_messages=1)
        await harness.ended(short.subagent_id)
        assert "left out" in provider.requests[-1].messages[0].text
        # The parent's own conversation is as it was.
        session = await harness.sessions.load(parent.session_id)
        assert [message.role for message in session.messages] == ["user", "assistant"]


async def test_a_fork_of_nobody_is_refused() -> None:
    async with open_harness(ScriptedProvider("x")) as harness:
        with anyio.fail_after(5), pytest.raises(InvalidInput, match="fork"):
            await harness.spawn("work", context="fork")
