"""Results of failed calls in a form that the service takes, and what is no text at all."""

from __future__ import annotations

from typing import Any

import pytest

from bamboo_mcp.domain.messages import (
    Content,
    ImageBlock,
    Message,
    RawBlock,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
    user_message,
)
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.provider_errors import BadRequest
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.testing.fake_llm.server import FakeReply
from tests.providers.anthropic.at import MODEL, anthropic_and_fake, ask

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

PICTURE = ImageBlock(media_type="image/png", data_b64="aGk=")
BROKEN = "half a \ud83d"


async def _sent(*content: Content, is_error: bool) -> dict[str, Any]:
    history = [
        user_message("go"),
        Message(role="assistant", blocks=(ToolCallBlock(id="c", name="look"),)),
        Message(
            role="user",
            blocks=(ToolResultBlock(call_id="c", content=content, is_error=is_error),),
        ),
    ]
    async with anthropic_and_fake() as (provider, server):
        server.reply(FakeReply(text="ok"))
        await ask(provider, ModelRequest(model=MODEL, messages=history))
        result: dict[str, Any] = server.requests[0].body["messages"][2]["content"][0]
    return result


@pytest.mark.parametrize(
    "content",
    [(), (TextBlock(text=""),), (TextBlock(text=" \n\t"), TextBlock(text="\u3000"))],
    ids=["nothing", "empty", "blank"],
)
async def test_an_error_that_says_nothing_is_still_an_error_with_words(
    content: tuple[Content, ...],
) -> None:
    result = await _sent(*content, is_error=True)
    assert result["is_error"] is True
    assert result["content"] == [{"type": "text", "text": "Error: the tool said nothing"}]
    fine = await _sent(*content, is_error=False)
    assert fine == {"type": "tool_result", "tool_use_id": "c"}


async def test_an_error_in_words_goes_out_as_it_is() -> None:
    raw = RawBlock(raw={"type": "resource_link", "name": "log", "uri": "file:///a.log"})
    result = await _sent(TextBlock(text="no such file"), raw, is_error=True)
    assert result["is_error"] is True
    assert [part["text"] for part in result["content"]] == [
        "no such file",
        "[resource_link log file:///a.log]",
    ]


async def test_an_error_that_shows_a_picture_is_told_in_words_for_it_would_be_refused() -> None:
    result = await _sent(TextBlock(text="no such file"), PICTURE, is_error=True)
    assert "is_error" not in result
    assert [part.get("text") for part in result["content"]] == ["Error:", "no such file", None]


@pytest.mark.parametrize(
    "broken",
    [
        {"system": BROKEN},
        {"tools": [ToolSpec(name="look", description=BROKEN)]},
        {"tools": [ToolSpec(name="look", description="", input_schema={"title": BROKEN})]},
        {
            "messages": [
                user_message("go"),
                Message(
                    role="assistant",
                    blocks=(ToolCallBlock(id="c", name="x", arguments_json=f'{{"a":"{BROKEN}"}}'),),
                ),
            ]
        },
    ],
    ids=["system", "description", "schema", "arguments"],
)
async def test_half_a_character_anywhere_is_a_bad_request_that_shows_the_place(
    broken: dict[str, Any],
) -> None:
    fields: dict[str, Any] = {"model": MODEL, "messages": [user_message("hello")], **broken}
    request = ModelRequest(**fields)
    async with anthropic_and_fake() as (provider, server):
        with pytest.raises(BadRequest) as caught:
            await ask(provider, request)
        assert await provider.count(request) is None
        assert not server.requests
        server.reply(FakeReply(text="ok"))
        await ask(provider, ModelRequest(model=MODEL, messages=[user_message("hello")]))
    assert "half a" in caught.value.message
