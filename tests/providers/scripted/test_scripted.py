from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.errors import UnknownModel
from bamboo_mcp.domain.messages import (
    Message,
    OpaqueBlock,
    TextBlock,
    ToolResultBlock,
    user_message,
)
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.provider_errors import (
    BadToolJson,
    Overloaded,
    ProviderFailure,
    RateLimited,
    TransportFailed,
    Truncated,
    UnmatchedRequest,
)
from bamboo_mcp.domain.stream import Chunk, Stop, TextChunk, ToolCallChunk
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.ports import Provider
from bamboo_mcp.providers.scripted.provider import ScriptFiles, make
from bamboo_mcp.testing.scripted import Call, Fault, ScriptedProvider, Step, Track, When

WEATHER = r"""
model: demo
steps:
  - when: {last_user: '/weather in (?P<city>\w+)/', tools: [get_weather]}
    reasoning: "need the tool"
    text: "Let me look."
    calls: [{name: get_weather, args: {city: "{{city}}", deep: {list: ["{{city}}", 3]}}}]
    usage: {input: 120, output: 30}
  - when: {tool_result: get_weather}
    text: "It is {{result.temp}} degrees in {{city}}."
    chunk: 8
"""


def _request(
    *messages: Message, tools: Sequence[str] = (), conversation: str = "c1", model: str = "test"
) -> ModelRequest:
    specs = tuple(ToolSpec(name=name, description="") for name in tools)
    return ModelRequest(model=model, messages=messages, tools=specs, conversation=conversation)


async def _play(provider: Provider, request: ModelRequest) -> Stop:
    chunks: list[Chunk] = []
    with anyio.fail_after(5):
        async with provider.stream(request) as stream:
            chunks.extend([chunk async for chunk in stream])
    assert isinstance(chunks[-1], Stop)
    return chunks[-1]


def _answer(stop: Stop, *texts: str, is_error: bool = False, named: bool = True) -> Message:
    """What the tools said to the calls of `stop`."""
    return Message(
        role="user",
        blocks=tuple(
            ToolResultBlock(
                call_id=call.id,
                name=call.name if named else "",
                content=(TextBlock(text=text),),
                is_error=is_error,
            )
            for call, text in zip(stop.message.tool_calls, texts, strict=True)
        ),
    )


def _files(folder: Path, text: str, name: str = "demo") -> ScriptFiles:
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return make(ProviderConfig(name="scripted", type="scripted", options={"folder": str(folder)}))


async def test_a_file_plays_a_tool_call_and_speaks_of_its_result(tmp_path: Path) -> None:
    provider = _files(tmp_path, WEATHER)
    asked = user_message("How is the weather in Oslo today?")
    first = await _play(provider, _request(asked, tools=["get_weather"], model="demo"))
    call = first.message.tool_calls[0]
    assert msgspec.json.decode(call.arguments_json) == {
        "city": "Oslo",
        "deep": {"list": ["Oslo", 3]},
    }
    assert first.usage == Usage(input=120, output=30)
    assert first.reason == "tool_use"
    answer = _answer(first, '{"temp": -3}', named=False)
    second = await _play(provider, _request(asked, first.message, answer, model="demo"))
    assert second.message.text == "It is -3 degrees in Oslo."
    assert second.message.origin == "scripted:demo"
    assert provider.unused("demo") == []


async def test_a_script_is_found_by_path_too_and_a_missing_one_is_named(tmp_path: Path) -> None:
    provider = _files(tmp_path, WEATHER)
    path = str(tmp_path / "demo.yaml")
    assert provider.caps(path).context_window == 128_000
    assert "demo" in [entry.name for entry in await provider.models()]
    with pytest.raises(UnknownModel) as caught:
        provider.caps("dmeo")
    assert "dmeo" in caught.value.message
    assert "demo" in caught.value.hint


async def test_an_unmatched_request_shows_what_was_asked_and_what_was_waited_for() -> None:
    provider = ScriptedProvider(
        Step(when=When(last_user="/count to (?P<n>\\d+)/", tools=("count",)), text="x")
    )
    with pytest.raises(UnmatchedRequest) as caught:
        await _play(provider, _request(user_message("count to ten"), tools=["look"]))
    message = caught.value.message
    assert "'count to ten'" in message
    assert "NO  last_user: /count to (?P<n>\\d+)/" in message
    assert "NO  tools: count" in message
    assert "look" in message
    assert not caught.value.retryable


async def test_a_used_up_script_says_so() -> None:
    provider = ScriptedProvider("one")
    await _play(provider, _request(user_message("a")))
    with pytest.raises(UnmatchedRequest) as caught:
        await _play(provider, _request(user_message("b")))
    assert "every step is used" in caught.value.message


async def test_in_strict_order_a_later_step_does_not_jump_the_queue() -> None:
    steps = (
        Step(when=When(last_user="first"), text="1"),
        Step(when=When(last_user="second"), text="2"),
    )
    strict, loose = ScriptedProvider(*steps), ScriptedProvider(*steps, strict=False)
    with pytest.raises(UnmatchedRequest):
        await _play(strict, _request(user_message("second")))
    assert (await _play(loose, _request(user_message("second")))).message.text == "2"
    assert (await _play(loose, _request(user_message("first")))).message.text == "1"
    loose.assert_complete()


async def test_a_repeating_step_may_come_at_any_time_and_stays() -> None:
    provider = ScriptedProvider(
        Step(when=When(last_user="title"), text="A title", repeat=True),
        "one",
        Step(text="again", repeat=2),
        "last",
    )
    said = []
    for text in ("a", "title", "b", "c", "title", "d"):
        said.append((await _play(provider, _request(user_message(text)))).message.text)
    assert said == ["one", "A title", "again", "again", "A title", "last"]
    provider.assert_complete()


async def test_every_conversation_walks_the_steps_by_itself() -> None:
    provider = ScriptedProvider("one", "two")
    said = []
    for conversation in ("a", "b", "a", "b"):
        request = _request(user_message("x"), conversation=conversation)
        said.append((await _play(provider, request)).message.text)
    assert said == ["one", "one", "two", "two"]


async def test_one_script_plays_several_kinds_of_conversations() -> None:
    provider = ScriptedProvider(
        conversations=[
            Track(when=When(last_user="/count (?P<what>\\w+)/"), steps=(Step(text="{{what}}!"),)),
            Track(when=When(system="poet"), steps=(Step(text="a verse"), Step(text="another"))),
        ]
    )
    counted = await _play(provider, _request(user_message("count files"), conversation="a"))
    poem = ModelRequest(
        model="m", messages=[user_message("go")], system="You are a poet", conversation="b"
    )
    assert counted.message.text == "files!"
    assert (await _play(provider, poem)).message.text == "a verse"
    assert (await _play(provider, poem)).message.text == "another"
    with pytest.raises(UnmatchedRequest) as caught:
        await _play(provider, _request(user_message("sing"), conversation="c"))
    assert "no kind of conversation" in caught.value.message


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{result}}", {"n": 3, "items": [{"id": "x"}], "ok": True}),
        ("{{result.n}}", 3),
        ("{{ result.ok }}", True),
        ("{{result.items.0.id}}", "x"),
        ("{{result.items.-1}}", {"id": "x"}),
        ("n={{result.n}}, {{result.ok}}", "n=3, true"),
        ("{{results.first.n}}", 3),
        ("{{results.second}}", "plain text\nsubagent_id: sub_1\nrounds: 3"),
        ("{{results.second.subagent_id}}", "sub_1"),
        ("{{results.second.rounds}}", 3),
        ("{{results.first.0.n}}", 1),
        ("{{results.first.-1.n}}", 3),
        ("{{last_user}}", "go"),
        ("{{results.first.n}} and {{result.n}}", "3 and 3"),
        (r"{{results.second | /sub_\w+/}}", "sub_1"),
        (r"{{results.second | /(\w+): / | 1}}", "rounds"),
        (r"{{result | /\d/}}", "3"),
        ('{{"{{"}}n}}', "{{n}}"),
        (["{{result.n}}", {"{{result.n}}": None}], [3, {"3": None}]),
    ],
)
async def test_placeholders_take_values_from_results_and_keep_their_type(
    template: Any, expected: Any
) -> None:
    provider = ScriptedProvider(
        Step(calls=(Call(name="first"), Call(name="second"))),
        Step(calls=(Call(name="first"),)),
        Step(when=When(tool_result="first"), calls=(Call(name="use", args={"v": template}),)),
    )
    history = [user_message("go")]
    one = await _play(provider, _request(*history))
    history += [one.message, _answer(one, '{"n": 1}', "plain text\nsubagent_id: sub_1\nrounds: 3")]
    two = await _play(provider, _request(*history))
    history += [two.message, _answer(two, '{"n": 3, "items": [{"id": "x"}], "ok": true}')]
    three = await _play(provider, _request(*history))
    assert msgspec.json.decode(three.message.tool_calls[0].arguments_json) == {"v": expected}


@pytest.mark.parametrize(
    "template",
    ["{{nobody}}", "{{result.b}}", "{{results.other}}", "{{results.t.4}}", "{{result | /z+/}}"],
)
async def test_a_placeholder_without_a_value_names_itself_and_the_step(template: str) -> None:
    provider = ScriptedProvider(Step(calls=(Call(name="t"),)), Step(text=f"so {template}"))
    one = await _play(provider, _request(user_message("go")))
    with pytest.raises(UnmatchedRequest) as caught:
        await _play(provider, _request(user_message("go"), one.message, _answer(one, '{"a": 1}')))
    assert "step 2" in caught.value.message


async def test_the_words_of_a_result_can_be_waited_for_and_caught() -> None:
    provider = ScriptedProvider(
        Step(calls=(Call(name="t"),)),
        Step(when=When(tool_result="t", is_error=True), text="it failed"),
        Step(when=When(contains="/id: (?P<id>\\w+)/"), text="got {{id}}"),
        strict=False,
    )
    one = await _play(provider, _request(user_message("go")))
    base = (user_message("go"), one.message)
    good = await _play(provider, _request(*base, _answer(one, "id: x7 done")))
    bad = await _play(provider, _request(*base, _answer(one, "no", is_error=True)))
    assert (good.message.text, bad.message.text) == ("got x7", "it failed")


async def test_faults_are_played_as_the_failures_they_stand_for() -> None:
    cases: list[tuple[Step, type[ProviderFailure], int]] = [
        (Step(error=Fault(kind="rate_limit", retry_after=1.5)), RateLimited, 0),
        (Step(text="abcdef", chunk=2, cut_after=2), TransportFailed, 2),
        (Step(text="abcdef", chunk=2, cut_after=0), TransportFailed, 0),
        (Step(text="abcdef", chunk=2, truncate=True), Truncated, 3),
    ]
    for step, kind, deltas in cases:
        seen: list[Chunk] = []
        with pytest.raises(kind) as caught:
            async with ScriptedProvider(step).stream(_request(user_message("a"))) as chunks:
                async for chunk in chunks:
                    seen.append(chunk)
        assert len([chunk for chunk in seen if isinstance(chunk, TextChunk)]) == deltas
        assert caught.value.started == bool(deltas)
        if step.error is not None:
            assert caught.value.retry_after_s == 1.5


async def test_a_stall_says_what_it_has_and_waits_to_be_cancelled() -> None:
    step = Step(text="abcdef", chunk=2, cut_after=2, stall=True)
    heard = ""
    with anyio.fail_after(5), anyio.move_on_after(0.05) as scope:
        async with ScriptedProvider(step).stream(_request(user_message("a"))) as chunks:
            async for chunk in chunks:
                heard += chunk.text if isinstance(chunk, TextChunk) else ""
    assert (heard, scope.cancelled_caught) == ("abcd", True)


async def test_an_error_may_come_in_the_middle_of_an_answer() -> None:
    step = Step(text="abcdef", chunk=2, error=Fault(kind="overloaded", after=2))
    seen: list[Chunk] = []
    with pytest.raises(Overloaded) as caught:
        async with ScriptedProvider(step).stream(_request(user_message("a"))) as chunks:
            seen += [chunk async for chunk in chunks]
    assert caught.value.started


@pytest.mark.parametrize("raw", ['{"path": "REA', "[1]", "nonsense"])
async def test_arguments_that_are_no_object_fail_as_those_of_a_real_model(raw: str) -> None:
    step = Step(text="so", calls=(Call(name="fine"), Call(name="look", raw_json=raw)))
    pieces = ""
    with pytest.raises(BadToolJson) as caught:
        async with ScriptedProvider(step).stream(_request(user_message("a"))) as chunks:
            async for chunk in chunks:
                pieces += chunk.arguments_json if isinstance(chunk, ToolCallChunk) else ""
    assert (pieces, caught.value.started) == ("{}" + raw, True)


async def test_raw_arguments_that_are_an_object_are_called_with() -> None:
    calls = (Call(name="a", raw_json='{"n":  1}'), Call(name="b", raw_json=""))
    stop = await _play(ScriptedProvider(Step(calls=calls)), _request(user_message("a")))
    assert [call.arguments_json for call in stop.message.tool_calls] == ['{"n":  1}', "{}"]


async def test_raw_blocks_are_kept_for_whoever_knows_them() -> None:
    step = Step(text="so", blocks=({"type": "thing", "n": 1},))
    stop = await _play(ScriptedProvider(step), _request(user_message("a")))
    assert stop.message.blocks == (
        OpaqueBlock(provider="scripted", raw={"type": "thing", "n": 1}),
        TextBlock(text="so"),
    )


async def test_a_delayed_answer_can_be_cancelled() -> None:
    provider = ScriptedProvider(Step(text="late", delay_ms=60_000))
    with anyio.fail_after(5), anyio.move_on_after(0.01) as scope:
        await _play(provider, _request(user_message("a")))
    assert scope.cancelled_caught


async def test_a_model_without_delay_can_still_be_cancelled() -> None:
    provider = ScriptedProvider(Step(text="x", repeat=True))
    with anyio.fail_after(5), anyio.CancelScope() as scope:
        scope.cancel()
        while True:
            await _play(provider, _request(user_message("a")))
    assert scope.cancelled_caught


async def test_call_ids_are_fresh_each_time_unless_given() -> None:
    provider = ScriptedProvider(
        Step(calls=(Call(name="a"), Call(name="b", id="mine")), repeat=True)
    )
    one = await _play(provider, _request(user_message("a")))
    two = await _play(provider, _request(user_message("a")))
    ids = [call.id for stop in (one, two) for call in stop.message.tool_calls]
    assert ids[0] != ids[2]
    assert ids[1] == ids[3] == "mine"


async def test_the_double_records_what_it_was_asked_as_it_was_then() -> None:
    provider = ScriptedProvider("one", "two")
    history = [user_message("a")]
    request = ModelRequest(model="test", messages=history, conversation="c")
    await _play(provider, request)
    history.append(user_message("b"))
    await _play(provider, request)
    assert [len(request.messages) for request in provider.requests] == [1, 2]


async def test_the_double_answers_by_a_function_and_tells_what_was_left_over() -> None:
    provider = ScriptedProvider("one", "two")
    with pytest.raises(AssertionError, match="step 1"):
        provider.assert_complete()
    await _play(provider, _request(user_message("a")))
    with pytest.raises(AssertionError, match="step 2"):
        provider.assert_complete()
    await _play(provider, _request(user_message("a")))
    provider.assert_complete()
    provider.respond(lambda request: f"{len(request.messages)} messages")
    stop = await _play(provider, _request(user_message("a"), user_message("b")))
    assert stop.message.text == "2 messages"
    provider.assert_complete()
