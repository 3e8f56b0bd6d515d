from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bamboo_mcp.domain.ids import new_session_id, new_subagent_id
from bamboo_mcp.domain.messages import Message, TextBlock, ToolResultBlock, user_message
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.provider_errors import ProviderFailure, UnmatchedRequest
from bamboo_mcp.domain.stream import Chunk, Stop, TextChunk
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.ports import Provider
from bamboo_mcp.providers.scripted.file import parse_script
from bamboo_mcp.providers.scripted.recording import Recording
from bamboo_mcp.providers.scripted.steps import Script
from bamboo_mcp.testing.scripted import Call, Fault, ScriptedProvider, Step, Tokens


def _request(*messages: Message, conversation: str = "c1") -> ModelRequest:
    return ModelRequest(model="test", messages=messages, conversation=conversation)


async def _ask(provider: Provider, request: ModelRequest) -> Stop:
    chunks: list[Chunk] = []
    with anyio.fail_after(5):
        async with provider.stream(request) as stream:
            chunks += [chunk async for chunk in stream]
    stop = chunks[-1]
    assert isinstance(stop, Stop)
    return stop


async def _talk(
    provider: Provider, *turns: Message | dict[str, str], conversation: str = "c1"
) -> list[Stop]:
    """A conversation: what the user says, or what each tool answers, before each model call."""
    messages: list[Message] = []
    stops: list[Stop] = []
    for turn in turns:
        messages.append(turn if isinstance(turn, Message) else _results(stops[-1], turn))
        stops.append(await _ask(provider, _request(*messages, conversation=conversation)))
        messages.append(stops[-1].message)
    return stops


def _results(stop: Stop, answers: dict[str, str]) -> Message:
    blocks = tuple(
        ToolResultBlock(
            call_id=call.id,
            name=call.name,
            content=(TextBlock(text=answers[call.name].removeprefix("!")),),
            is_error=answers[call.name].startswith("!"),
        )
        for call in stop.message.tool_calls
    )
    return Message(role="user", blocks=blocks)


def _script(recording: Recording) -> Script:
    return parse_script(recording.script("run.yaml"), "run.yaml")


def _player(recording: Recording) -> ScriptedProvider:
    return ScriptedProvider(conversations=_script(recording).tracks)


def _said(stop: Stop) -> tuple[Any, ...]:
    calls = [
        (call.name, msgspec.json.decode(call.arguments_json)) for call in stop.message.tool_calls
    ]
    return stop.message.text, calls, stop.usage, stop.reason


def _recorded(*steps: Step | str) -> tuple[Recording, Provider]:
    recording = Recording()
    return recording, recording.wrap(ScriptedProvider(*steps))


async def test_what_was_said_is_said_again() -> None:
    recording, provider = _recorded(
        Step(
            reasoning="first this",
            text="Two looks.\nAt once.",
            calls=(Call(name="look", args={"n": 1, "deep": [None, 1.5]}), Call(name="list")),
            usage=Tokens(input=100, output=7, cache_read=90),
        ),
        Step(text="Cut", stop="max_tokens"),
    )
    turns = (user_message("do it"), {"look": "a", "list": "b"})
    live = await _talk(provider, *turns)
    played = await _talk(_player(recording), *turns)
    assert [_said(stop) for stop in played] == [_said(stop) for stop in live]
    assert played[0].usage == Usage(input=100, output=7, cache_read=90)
    assert (recording.answers, recording.conversations) == (2, 1)


async def test_the_file_reads_like_one_written_by_hand() -> None:
    recording, provider = _recorded(
        Step(reasoning="hm", text="Line one.\nLine two.", calls=(Call(name="look"),)),
        Step(text="Done.", usage=Tokens(input=3, output=4)),
    )
    await _talk(provider, user_message("don't"), {"look": "!gone"})
    assert (
        recording.script("run.yaml")
        == """\
# To play it again: bamboo-mcp run 'don'"'"'t' --model scripted:run.yaml
model: recorded
conversations:
  - when: {last_user: don't}
    steps:
      - reasoning: hm
        text: |-
          Line one.
          Line two.
        calls:
          - {name: look}
      - when: {tool_result: look, is_error: true}
        text: Done.
        usage: {input: 3, output: 4}
"""
    )


async def test_another_course_is_noticed() -> None:
    recording, provider = _recorded(Step(calls=(Call(name="look"),)), "fine")
    await _talk(provider, user_message("do it"), {"look": "a"})
    for first, result in [("something else", "a"), ("do it", "!failed")]:
        with pytest.raises(UnmatchedRequest):
            await _talk(_player(recording), user_message(first), {"look": result})


async def test_ids_of_this_run_become_places_to_look_them_up() -> None:
    def run_of(child: str) -> tuple[Message, dict[str, str], dict[str, str], dict[str, str]]:
        cursor = f"c1.{os.urandom(8).hex()}"
        running = f"{child} is running (session {new_session_id()})"
        return (
            user_message("do it"),
            {"spawn_subagent": f"{running}\ncursor: {cursor}"},
            {"list": f'{{"agents": [{{"id": "{child}"}}], "page": "p1.abcdefghi"}}'},
            {"await_subagents": f"- {child}: completed"},
        )

    old, new = new_subagent_id(), new_subagent_id()
    turns = run_of(old)
    cursor = turns[1]["spawn_subagent"].rpartition(" ")[2]
    recording, provider = _recorded(
        Step(calls=(Call(name="spawn_subagent", args={"task": "t", "model": "anthropic:x"}),)),
        Step(calls=(Call(name="list"),)),
        Step(
            calls=(
                Call(
                    name="await_subagents",
                    args={"subagent_ids": [old], "cursor": cursor, "page": "p1.abcdefghi"},
                ),
            )
        ),
        _escape(f"{{{old}}} is done, {{{{and}}}} nobody else"),
    )
    await _talk(provider, *turns)
    text = recording.script("run.yaml")
    assert old not in text
    assert cursor not in text
    assert "anthropic:x" not in text
    again = run_of(new)
    played = await _talk(_player(recording), *again)
    assert msgspec.json.decode(played[2].message.tool_calls[0].arguments_json) == {
        "subagent_ids": [new],
        "cursor": again[1]["spawn_subagent"].rpartition(" ")[2],
        "page": "p1.abcdefghi",
    }
    assert played[3].message.text == f"{{{new}}} is done, {{{{and}}}} nobody else"


async def test_conversations_side_by_side_are_played_apart() -> None:
    recording = Recording()
    provider = recording.wrap(
        ScriptedProvider(Step(text="{{last_user}}!", repeat=True), name="live")
    )
    tasks = ["look at a", "look at ab", "/look/", "look at a" + "\n" * 400, "x" * 400 + "1"]
    tasks += [f"look at {new_subagent_id()}", "x" * 400 + "2", "y" * 200 + "1" + "y" * 200]

    async def talk(provider: Provider, said: dict[str, str]) -> None:
        async def one(number: int, task: str) -> None:
            [stop] = await _talk(provider, user_message(task), conversation=f"c{number}")
            said[task] = stop.message.text

        async with anyio.create_task_group() as group:
            for number, task in enumerate(tasks):
                group.start_soon(one, number, task)

    live: dict[str, str] = {}
    played: dict[str, str] = {}
    await talk(provider, live)
    await talk(_player(recording), played)
    assert played == live == {task: f"{task}!" for task in tasks}


async def test_two_conversations_that_begin_alike_are_played_one_each() -> None:
    recording = Recording()
    for number, answer in enumerate(["one", "two"]):
        provider = recording.wrap(ScriptedProvider(answer))
        await _talk(provider, user_message("same"), conversation=f"c{number}")
    player = _player(recording)
    played = [
        (await _talk(player, user_message("same"), conversation=key))[0].message.text
        for key in ("x", "y")
    ]
    assert played == ["one", "two"]
    with pytest.raises(UnmatchedRequest):
        await _talk(player, user_message("same"), conversation="z")


BROKEN = [
    Step(error=Fault(kind="rate_limited")),
    Step(error=Fault(kind="context_overflow", message="{{too}} long")),
    Step(error=Fault(kind="transport_failed")),
    Step(text="half an answer", chunk=4, cut_after=2),
    Step(text="half an answer", chunk=4, error=Fault(kind="overloaded", after=2)),
    Step(text="a", reasoning="b", calls=(Call(name="c"),), error=Fault(kind="server", after=4)),
    Step(text="half an answer", truncate=True),
    Step(reasoning="half a thought", chunk=4, cut_after=2),
    Step(text="so", calls=(Call(name="look", raw_json='{"path": "RE'),)),
]


@pytest.mark.parametrize("step", BROKEN)
async def test_a_call_that_fails_fails_again_in_the_same_way(step: Step) -> None:
    async def failing(provider: Provider) -> tuple[ProviderFailure, str]:
        text = ""
        with pytest.raises(ProviderFailure) as caught:
            async with provider.stream(_request(user_message("do it"))) as stream:
                async for chunk in stream:
                    text += chunk.text if isinstance(chunk, TextChunk) else ""
        return caught.value, text

    recording, provider = _recorded(step)
    live, live_text = await failing(provider)
    player = _player(recording)
    for _ in range(1 if live.started else 3):
        played, played_text = await failing(player)
        assert (type(played), played.started) == (type(live), live.started)
        assert played_text == live_text
        if not isinstance(live, type(None)) and live.code not in (
            "transport_failed",
            "bad_tool_json",
        ):
            assert played.message == live.message


async def test_a_call_that_was_left_is_written_with_what_there_was() -> None:
    recording = Recording()
    provider = recording.wrap(ScriptedProvider(Step(text="first and second", chunk=5)))

    async def leave(provider: Provider, conversation: str) -> None:
        request = _request(user_message(f"do {conversation}"), conversation=conversation)
        async with provider.stream(request) as stream:
            await anext(stream)

    for conversation in ("root", "child"):
        await leave(provider, conversation)
    player = _player(recording)
    with pytest.raises(ProviderFailure) as caught:
        await _talk(player, user_message("do root"), conversation="root")
    assert caught.value.started
    with anyio.move_on_after(0.05) as scope:
        await _talk(player, user_message("do child"), conversation="child")
    assert scope.cancelled_caught, "somebody cancelled it then, somebody has to now"


async def test_leaving_closes_the_stream_behind_and_delays_nothing() -> None:
    class Watched:
        left = False

        async def __aenter__(self) -> Watched:
            return self

        async def __aexit__(self, *_: object) -> None:
            self.left = True

        def __aiter__(self) -> Watched:
            return self

        async def __anext__(self) -> Chunk:
            await anyio.sleep_forever()
            raise AssertionError

    watched = Watched()

    class Standing(ScriptedProvider):
        def stream(self, request: ModelRequest, **_: object) -> Any:
            return watched

    provider = Recording().wrap(Standing())
    with anyio.move_on_after(0.01):
        await _ask(provider, _request(user_message("hi")))
    assert watched.left
    assert provider.name == "scripted"
    assert await provider.count(_request()) is None


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.text(
    st.sampled_from("{}\"|/\n \t-:#x\r\x85\u2028'&*"), max_size=30
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@given(
    task=TEXTS,
    texts=st.lists(TEXTS, min_size=1, max_size=3),
    args=st.dictionaries(TEXTS, VALUES, max_size=3),
)
def test_any_text_survives_being_written_and_played(
    task: str, texts: Sequence[str], args: dict[str, Any]
) -> None:
    def responder(answer: Step) -> Any:
        return lambda request: answer

    async def run() -> None:
        recording = Recording()
        escaped = _escape(args)
        steps = [
            Step(text=_escape(text), calls=(Call(name="look", args=escaped),)) for text in texts
        ]
        turns: list[Message | dict[str, str]] = [
            user_message(task),
            *({"look": "x"} for _ in texts[1:]),
        ]
        live = await _talk(recording.wrap(ScriptedProvider(*steps)), *turns)
        played = await _talk(_player(recording), *turns)
        assert [stop.message.text for stop in live] == list(texts)
        assert [_said(stop)[1:] for stop in played] == [_said(stop)[1:] for stop in live]
        for stop, text in zip(played, texts, strict=True):
            assert stop.message.text == text

    anyio.run(run)


def _escape(value: Any) -> Any:
    """So that the scripted model that plays the live one takes no text for a placeholder."""
    match value:
        case str():
            return value.replace("{{", '{{"{{"}}')
        case dict():
            return {_escape(key): _escape(item) for key, item in value.items()}
        case list():
            return [_escape(item) for item in value]
        case _:
            return value
