"""The habits of compatible servers, through the real SDK over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from bamboo_mcp.domain.messages import Block, ReasoningBlock, TextBlock, user_message
from bamboo_mcp.domain.provider_errors import BadRequest
from bamboo_mcp.domain.stream import BlockDone, Stop, TextChunk, ToolCallChunk
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.testing.fake_llm.chat import ChatDialect
from bamboo_mcp.testing.fake_llm.server import FakeCall, FakeError, FakeReply
from tests.providers.openai.chat_at import ask, chat_and_fake, read, request

ASK = request([user_message("go")])


def _call(name: str | None = None, arguments: Any = None, **fields: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    said = {key: value for key, value in function.items() if value is not None}
    return {"tool_calls": [{"type": "function", "function": said, **fields}]}


async def _stop(
    deltas: Sequence[Mapping[str, Any]], finish: str = "stop", profile: str = "compatible"
) -> Stop:
    """What these raw deltas come to."""
    async with chat_and_fake(ChatDialect(finish=finish), profile=profile) as (provider, server):
        server.reply(FakeReply(blocks=tuple(deltas)))
        chunks = await read(provider, ASK)
    stop = chunks[-1]
    assert isinstance(stop, Stop)
    done = [chunk for chunk in chunks if isinstance(chunk, BlockDone)]
    assert stop.message.blocks == tuple(chunk.block for chunk in done)
    for chunk in done:
        pieces = [p for p in chunks if isinstance(p, ToolCallChunk) and p.index == chunk.index]
        written = "".join(piece.arguments_json for piece in pieces)
        if pieces:
            assert pieces[0].id
            assert pieces[0].name
            assert not any(piece.name for piece in pieces[1:])
            assert getattr(chunk.block, "arguments_json", "") == (written.strip() or "{}")
    said = "".join(chunk.text for chunk in chunks if isinstance(chunk, TextChunk))
    assert stop.message.text == said
    return stop


def _calls(stop: Stop) -> list[tuple[str, str]]:
    calls = stop.message.tool_calls
    assert len({call.id for call in calls}) == len(calls)
    assert all(call.id for call in calls)
    return [(call.name, call.arguments_json) for call in calls]


TWO = (
    FakeCall(id="a", name="look", args={"path": "x"}),
    FakeCall(id="b", name="draw", args={"size": 3}),
)


@pytest.mark.parametrize(
    "dialect",
    [
        ChatDialect(),
        ChatDialect(ids=False),
        ChatDialect(indexes=False),
        ChatDialect(whole_arguments=True),
        ChatDialect(repeat_name=True),
        ChatDialect(repeat_name=True, ids=False),
        ChatDialect(repeat_name=True, indexes=False, ids=False),
        ChatDialect(finish="stop", done=False, usage=False),
        ChatDialect(ids=False, indexes=False, whole_arguments=True, finish="stop"),
    ],
)
async def test_two_calls_come_through_whatever_the_server_leaves_out(dialect: ChatDialect) -> None:
    async with chat_and_fake(dialect) as (provider, server):
        server.reply(FakeReply(text="Ok.", calls=TWO))
        stop = await ask(provider, ASK)
    assert stop.reason == "tool_use"
    assert stop.message.text == "Ok."
    assert _calls(stop) == [("look", '{"path":"x"}'), ("draw", '{"size":3}')]
    if dialect.ids:
        assert [call.id for call in stop.message.tool_calls] == ["a", "b"]
    assert stop.usage == (Usage(input=10, output=5) if dialect.usage else Usage())


async def test_several_calls_under_one_index_are_told_apart_by_their_ids() -> None:
    stop = await _stop(
        [
            _call("look", '{"a":1}', index=0, id="x"),
            _call("look", '{"a":2}', index=0, id="y"),
            _call("look", '{"a":', index=0, id="z"),
            _call(None, "3}", index=0),
        ]
    )
    assert _calls(stop) == [("look", '{"a":1}'), ("look", '{"a":2}'), ("look", '{"a":3}')]


async def test_several_whole_calls_of_one_tool_without_ids_or_index_stay_apart() -> None:
    for place in ({"index": 0}, {"index": None}, {}):
        stop = await _stop([_call("look", f'{{"a":{n}}}', **place) for n in range(3)])
        assert _calls(stop) == [("look", f'{{"a":{n}}}') for n in range(3)]


async def test_interleaved_calls_are_put_together_by_their_index() -> None:
    stop = await _stop(
        [
            _call("look", "", index=0, id="x"),
            _call("draw", "", index=1, id="y"),
            _call(None, '{"a"', index=0),
            _call(None, '{"b"', index=1),
            _call(None, ":1}", index=0),
            _call(None, ":2}", index=1),
        ]
    )
    assert _calls(stop) == [("look", '{"a":1}'), ("draw", '{"b":2}')]


async def test_two_calls_with_the_same_id_get_ids_of_their_own() -> None:
    stop = await _stop(
        [_call("look", '{"a":1}', index=0, id="x"), _call("draw", "{}", index=1, id="x")]
    )
    assert _calls(stop) == [("look", '{"a":1}'), ("draw", "{}")]


async def test_pieces_without_an_index_find_their_call_by_id() -> None:
    stop = await _stop(
        [
            _call("look", '{"a"', id="x"),
            _call("draw", '{"b"', id="y"),
            _call(None, ":1}", id="x"),
            _call(None, ":2}", id="y"),
        ]
    )
    assert _calls(stop) == [("look", '{"a":1}'), ("draw", '{"b":2}')]


async def test_a_name_that_comes_late_goes_out_with_what_was_written_before_it() -> None:
    stop = await _stop(
        [
            {"tool_calls": [{"index": 0, "id": "x"}]},
            _call(None, '{"a"', index=0),
            _call("look", ":1}", index=0),
            _call("", None, index=0),
        ]
    )
    assert _calls(stop) == [("look", '{"a":1}')]


async def test_arguments_may_come_as_an_object_or_not_at_all() -> None:
    stop = await _stop([_call("look", {"a": [1]}, index=0), _call("draw", index=1)])
    assert _calls(stop) == [("look", '{"a":[1]}'), ("draw", "{}")]


async def test_the_function_call_of_old_is_a_call() -> None:
    stop = await _stop(
        [
            {"function_call": {"name": "look", "arguments": '{"a"'}},
            {"function_call": {"arguments": ":1}"}},
        ],
        finish="function_call",
    )
    assert stop.reason == "tool_use"
    assert _calls(stop) == [("look", '{"a":1}')]


async def test_text_after_a_call_stays_in_its_place_and_nothing_is_lost() -> None:
    stop = await _stop(
        [
            {"content": "Before. "},
            _call("look", '{"a":1}', index=0, id="x"),
            {"content": "After."},
        ]
    )
    assert stop.message.text == "Before. After."
    assert _calls(stop) == [("look", '{"a":1}')]


async def test_chunks_that_hold_nothing_are_nothing() -> None:
    async with chat_and_fake() as (provider, server):
        empty: tuple[dict[str, Any], ...] = (
            {"choices": []},
            {"choices": None},
            {"choices": [{"index": 0, "delta": None, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {"content": None}, "finish_reason": ""}]},
            {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": None}},
        )
        server.reply(FakeReply(text="ok", extra_events=empty))
        stop = await ask(provider, ASK)
    assert stop.message.text == "ok"


async def test_usage_may_come_on_the_last_chunk_or_in_every_one() -> None:
    last = {
        "choices": [{"index": 0, "delta": {"content": "!"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
    }
    early = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 1}}
    async with chat_and_fake(ChatDialect(usage=False, finish="")) as (provider, server):
        server.reply(FakeReply(text="ok", extra_events=(early, last)))
        stop = await ask(provider, ASK)
    assert stop.usage == Usage(input=7, output=2)
    assert stop.message.text == "ok!"


def _kinds(stop: Stop) -> list[tuple[type[Block], str]]:
    return [
        (type(block), block.text)
        for block in stop.message.blocks
        if isinstance(block, TextBlock | ReasoningBlock)
    ]


@pytest.mark.parametrize("chunk", [1, 3, 7, 1000])
async def test_thinking_between_tags_is_reasoning_however_it_is_cut(chunk: int) -> None:
    async with chat_and_fake(ChatDialect(reasoning_field="think")) as (provider, server):
        server.reply(FakeReply(thinking="a < b </thin", text="So </think> it is.", chunk=chunk))
        stop = await ask(provider, ASK)
    assert _kinds(stop) == [
        (ReasoningBlock, "a < b </thin\n"),
        (TextBlock, "So </think> it is."),
    ]


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        (["<think>never closed </th"], [(ReasoningBlock, "never closed </th")]),
        (["\n", "<think>", "\n\n", "</think>", "\n\n", "hi"], [(TextBlock, "hi")]),
        (["<thi"], [(TextBlock, "<thi")]),
        (["<thi", "s> is text"], [(TextBlock, "<this> is text")]),
        (["A <think> tag</think>"], [(TextBlock, "A <think> tag</think>")]),
        (["<think>a</think>b<think>c"], [(ReasoningBlock, "a"), (TextBlock, "b<think>c")]),
        ([" ", "hello"], [(TextBlock, " hello")]),
    ],
)
async def test_only_tags_at_the_very_beginning_are_reasoning_and_no_text_is_lost(
    deltas: list[str], expected: list[tuple[type[Block], str]]
) -> None:
    stop = await _stop([{"content": delta} for delta in deltas])
    assert _kinds(stop) == expected


async def test_tags_are_text_where_reasoning_has_a_field_of_its_own() -> None:
    stop = await _stop(
        [{"content": "<th"}, {"reasoning": "a", "reasoning_content": "a"}, {"content": "<think>b"}]
    )
    assert _kinds(stop) == [
        (TextBlock, "<th"),
        (ReasoningBlock, "a"),
        (TextBlock, "<think>b"),
    ]
    stop = await _stop([{"content": "<think>b</think>"}], profile="deepseek")
    assert _kinds(stop) == [(TextBlock, "<think>b</think>")]


async def test_content_as_a_list_of_parts_is_read() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    stop = await _stop([{"content": [thinking]}, {"content": [{"type": "text", "text": "hi"}]}])
    assert _kinds(stop) == [(ReasoningBlock, "hm"), (TextBlock, "hi")]


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("stream_options", {}),
        ("parallel_tool_calls", {}),
        ("reasoning_effort", {"effort": "high", "model": "o9"}),
        ("tool_choice", {"tool_choice": "none"}),
        ("max_tokens", {"max_output": 50}),
    ],
)
async def test_a_field_the_server_does_not_know_is_left_out_from_then_on(
    field: str, more: dict[str, Any]
) -> None:
    dialect = ChatDialect(refuses=(field,))
    profile = "openrouter" if field == "reasoning_effort" else "llama.cpp"
    async with chat_and_fake(dialect, profile=profile) as (provider, server):
        server.reply(FakeReply(text="one"), FakeReply(text="two"))
        asked = request([user_message("go")], **more)
        assert (await ask(provider, asked)).message.text == "one"
        assert (await ask(provider, asked)).message.text == "two"
        with_field = [field in seen.body for seen in server.requests]
        last = server.requests[-1].body
    assert with_field == [True, False, False]
    if field == "max_tokens":
        assert last["max_completion_tokens"] == 50
    assert ("tools" in last) == (field != "tool_choice")


async def test_several_unknown_fields_are_left_out_one_by_one() -> None:
    dialect = ChatDialect(refuses=("stream_options", "max_tokens", "parallel_tool_calls"))
    async with chat_and_fake(dialect, profile="llama.cpp") as (provider, server):
        server.reply(FakeReply(text="ok"))
        stop = await ask(provider, request([user_message("go")], max_output=5))
        assert len(server.requests) == 4
    assert stop.message.text == "ok"


@pytest.mark.parametrize(
    ("field", "error"),
    [
        ("stream_options", FakeError(status=422, type="x", message="stream_options: not here")),
        ("reasoning_effort", FakeError(status=400, message='"qwen3" does not support thinking')),
        ("tool_choice", FakeError(status=404, message="No endpoints support 'tool_choice'")),
    ],
)
async def test_refusals_come_in_many_words(field: str, error: FakeError) -> None:
    async with chat_and_fake(profile="openrouter") as (provider, server):
        server.reply(FakeReply(error=error), FakeReply(text="ok"))
        await ask(provider, request([user_message("a")], effort="low", tool_choice="none"))
        assert [field in seen.body for seen in server.requests] == [True, False]


async def test_a_refusal_for_another_reason_is_not_tried_again() -> None:
    for error in (
        FakeError(status=400, type="invalid_request_error", message="model not found"),
        FakeError(status=400, type="x", message="max_tokens is too large"),
        FakeError(status=400, type="x", message="reasoning_effort: not sent at all"),
    ):
        async with chat_and_fake() as (provider, server):
            server.reply(FakeReply(error=error))
            with pytest.raises(BadRequest):
                await ask(provider, request([user_message("a")], max_output=9))
            assert len(server.requests) == 1
