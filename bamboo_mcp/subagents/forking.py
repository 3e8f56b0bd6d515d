"""A conversation copied for another agent: its end, whole calls only, and nobody's thoughts."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

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

_CUT = "[fork] What came before this was left out."
_WHOSE = (
    "[fork] All above is a copy of the conversation of the agent that spawned you, so that you "
    "know what it knows. You are another agent, and your task is this alone:"
)


def forked(messages: Sequence[Message], *, cut: bool) -> list[Message]:
    """Copies of `messages` that any model can go on from.

    A call without its answer is left out, an answer without its call too. Thoughts and what a
    provider signed are bound to the exact conversation they stood in, and so are left out as well.
    `cut` says that there was more before them.
    """
    copies: list[Message] = []
    for index, message in enumerate(messages):
        calls = _answered_after(messages, index) if message.tool_calls else frozenset[str]()
        answers = _called_before(messages, index)
        blocks = tuple(
            [kept for block in message.blocks if (kept := _copied(block, calls, answers))]
        )
        if blocks:
            copies.append(msgspec.structs.replace(message, blocks=blocks))
    if cut:
        # Some services want a conversation to begin with the user's words.
        copies.insert(0, user_message(_CUT, origin="notice:fork"))
    copies.append(user_message(_WHOSE, origin="notice:fork", at=time.time()))
    return copies


def open_calls(messages: Sequence[Message]) -> Sequence[ToolCallBlock]:
    """Calls of the last answer that nothing came back for: its process died meanwhile."""
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "assistant":
            answered = _answered_after(messages, index)
            return [call for call in messages[index].tool_calls if call.id not in answered]
    return ()


def _copied(block: Block, calls: frozenset[str], answers: frozenset[str]) -> Block | None:
    match block:
        case ReasoningBlock() | OpaqueBlock():
            return None
        case ToolCallBlock(id=id):
            return msgspec.structs.replace(block, ext={}) if id in calls else None
        case ToolResultBlock(call_id=call_id):
            return block if call_id in answers else None
        case TextBlock(text=text):
            return msgspec.structs.replace(block, ext={}) if text else None
        case _:
            return block


def _answered_after(messages: Sequence[Message], index: int) -> frozenset[str]:
    """What is answered before the next turn of the model; some use an id again in a later one."""
    answered: set[str] = set()
    for message in messages[index + 1 :]:
        if message.role == "assistant":
            break
        answered.update(
            block.call_id for block in message.blocks if isinstance(block, ToolResultBlock)
        )
    return frozenset(answered)


def _called_before(messages: Sequence[Message], index: int) -> frozenset[str]:
    for message in reversed(messages[:index]):
        if message.role == "assistant":
            return frozenset(call.id for call in message.tool_calls)
    return frozenset()
