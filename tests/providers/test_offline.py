from __future__ import annotations

import msgspec

from bamboo_mcp.domain.messages import (
    Message,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
    user_message,
)
from bamboo_mcp.domain.models import ModelRequest, ToolChoice
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.providers.offline import answer

TOOLS = (
    ToolSpec(name="spawn_subagent", description="Start an agent.\nMore of it.", group="control"),
    ToolSpec(name="read_file", description="Read a file.", group="workspace"),
)


def _said(*messages: Message, tool_choice: ToolChoice = "auto") -> str:
    request = ModelRequest(model="offline", messages=messages, tools=TOOLS, tool_choice=tool_choice)
    return "".join(block.text for block in answer(request) if isinstance(block, TextBlock))


def test_it_says_what_it_is_what_works_and_how_to_get_a_model() -> None:
    text = _said(user_message("please refactor everything"))
    assert "not one" in text
    assert "control\n    spawn_subagent: Start an agent." in text
    assert "More of it" not in text
    assert "ANTHROPIC_API_KEY" in text
    assert "providers.anthropic" in text
    assert "bamboo-mcp models" in text
    assert "refactor" not in text


def test_it_runs_the_tool_that_is_named_and_answers_with_its_result() -> None:
    asked = user_message('/tool read_file {"path": "a.md"}')
    blocks = answer(ModelRequest(model="offline", messages=[asked], tools=TOOLS))
    call = blocks[-1]
    assert isinstance(call, ToolCallBlock)
    assert call.name == "read_file"
    assert msgspec.json.decode(call.arguments_json) == {"path": "a.md"}
    result = ToolResultBlock(call_id=call.id, content=(TextBlock(text="# Title"),))
    said = Message(role="assistant", blocks=tuple(blocks))
    text = _said(asked, said, Message(role="user", blocks=(result,)))
    assert text == "read_file answered:\n# Title"


def test_a_tool_that_failed_is_said_to_have_failed() -> None:
    asked = user_message("/tool read_file")
    call = ToolCallBlock(id="c", name="read_file")
    result = ToolResultBlock(call_id="c", content=(TextBlock(text="no such file"),), is_error=True)
    text = _said(
        asked,
        Message(role="assistant", blocks=(call,)),
        Message(role="user", blocks=(result,)),
    )
    assert text == "read_file failed:\nno such file"


def test_a_second_command_sent_meanwhile_is_run_too() -> None:
    call = ToolCallBlock(id="c", name="read_file")
    result = ToolResultBlock(call_id="c", content=(TextBlock(text="text"),))
    request = ModelRequest(
        model="offline",
        tools=TOOLS,
        messages=[
            user_message("/tool read_file"),
            Message(role="assistant", blocks=(call,)),
            Message(role="user", blocks=(result,)),
            user_message("/tool spawn_subagent {}"),
        ],
    )
    blocks = answer(request)
    assert isinstance(blocks[0], TextBlock)
    assert isinstance(blocks[1], ToolCallBlock)
    assert blocks[1].name == "spawn_subagent"


def test_bad_commands_are_explained_and_nothing_runs() -> None:
    assert "Did you mean read_file?" in _said(user_message("/tool raed_file {}"))
    assert "not JSON" in _said(user_message("/tool read_file {path: a}"))
    assert "must be a JSON object" in _said(user_message("/tool read_file [1]"))
    assert "Which tool?" in _said(user_message("/tool"))
    without = _said(user_message("/tool read_file {}"), tool_choice="none")
    assert "without tools" in without


def test_without_tools_it_says_that_there_are_none() -> None:
    blocks = answer(ModelRequest(model="offline", messages=[user_message("hi")]))
    assert isinstance(blocks[0], TextBlock)
    assert "no tools" in blocks[0].text
