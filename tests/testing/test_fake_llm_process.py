from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import anthropic
import anyio
import openai
import pytest

from tests.testing.fake_process import fake_llm_process, started

WEATHER = r"""
model: demo
steps:
  - when: {last_user: '/weather in (?P<city>\w+)/', tools: [get_weather]}
    reasoning: need the tool
    text: Let me look.
    calls:
      - {name: get_weather, args: {city: "{{city}}"}}
      - {name: get_weather, args: {city: Rome}}
    usage: {input: 120, output: 30, cache_read: 100}
  - when: {tool_result: get_weather}
    text: "It is {{results.get_weather.0.temp}} and {{results.get_weather.1.temp}} degrees."
    chunk: 4
"""
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}


def _script(folder: Path, text: str) -> Path:
    path = folder / "script.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def _anthropic(url: str, **options: Any) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=url, api_key="any", **{"max_retries": 0, **options})


def _openai(url: str, **options: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", **{"max_retries": 0, **options})


async def _ask(client: anthropic.AsyncAnthropic, text: str) -> str:
    answer = await client.messages.create(
        model="m", max_tokens=50, messages=[{"role": "user", "content": text}]
    )
    [block] = answer.content
    assert block.type == "text"
    return block.text


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_anthropic_client_uses_tools_over_two_turns(
    tmp_path: Path, streamed: bool
) -> None:
    async with fake_llm_process(_script(tmp_path, WEATHER)) as fake, _anthropic(fake.url) as client:
        tools: list[Any] = [{"name": "get_weather", "description": "", "input_schema": SCHEMA}]
        messages: list[Any] = [{"role": "user", "content": "How is the weather in Oslo?"}]

        async def ask() -> anthropic.types.Message:
            call: dict[str, Any] = {
                "model": "claude-opus-5-5",
                "max_tokens": 99,
                "messages": messages,
                "tools": tools,
            }
            if not streamed:
                made: anthropic.types.Message = await client.messages.create(**call)
                return made
            async with client.messages.stream(**call) as stream:
                return await stream.get_final_message()

        first = await ask()
        calls = [block for block in first.content if block.type == "tool_use"]
        assert [call.input for call in calls] == [{"city": "Oslo"}, {"city": "Rome"}]
        assert (first.usage.input_tokens, first.usage.cache_read_input_tokens) == (20, 100)
        assert first.stop_reason == "tool_use"
        results = [
            {"type": "tool_result", "tool_use_id": call.id, "content": f'{{"temp": {temp}}}'}
            for call, temp in zip(calls, (7, 21), strict=True)
        ]
        messages += [
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": results},
        ]
        second = await ask()
        assert second.content[0].to_dict()["text"] == "It is 7 and 21 degrees."
        assert (await fake.seen())["step"] == "step 1 (line 4)"
        assert (await fake.seen())["answer"] == "It is 7 and 21 degrees."


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_responses_client_uses_tools_over_two_turns(tmp_path: Path, streamed: bool) -> None:
    async with fake_llm_process(_script(tmp_path, WEATHER)) as fake, _openai(fake.url) as client:
        tools: list[Any] = [{"type": "function", "name": "get_weather", "parameters": SCHEMA}]

        async def ask(sent: Any) -> Any:
            call: dict[str, Any] = {"model": "gpt-6-sol", "input": sent, "tools": tools}
            if not streamed:
                return await client.responses.create(**call)
            async with client.responses.stream(**call) as stream:
                return await stream.get_final_response()

        asked = "How is the weather in Oslo?"
        first = await ask(asked)
        calls = [item for item in first.output if item.type == "function_call"]
        assert [call.arguments for call in calls] == ['{"city":"Oslo"}', '{"city":"Rome"}']
        assert first.usage.input_tokens_details.cached_tokens == 100
        items: list[Any] = [{"role": "user", "content": asked}]
        items += [
            item.model_dump(exclude_none=True, exclude={"parsed_arguments"})
            for item in first.output
        ]
        items += [
            {
                "type": "function_call_output",
                "call_id": call.call_id,
                "output": f'{{"temp": {temp}}}',
            }
            for call, temp in zip(calls, (7, 21), strict=True)
        ]
        assert (await ask(items)).output_text == "It is 7 and 21 degrees."


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_chat_client_uses_tools_over_two_turns(tmp_path: Path, streamed: bool) -> None:
    async with fake_llm_process(_script(tmp_path, WEATHER)) as fake, _openai(fake.url) as client:
        function = {"name": "get_weather", "parameters": SCHEMA}
        messages: list[Any] = [{"role": "user", "content": "How is the weather in Oslo?"}]

        async def ask() -> Any:
            call: dict[str, Any] = {
                "model": "local",
                "messages": messages,
                "tools": [{"type": "function", "function": function}],
            }
            if not streamed:
                return (await client.chat.completions.create(**call)).choices[0].message
            async with client.chat.completions.stream(**call) as stream:
                return (await stream.get_final_completion()).choices[0].message

        first = await ask()
        assert first.content == "Let me look."
        messages.append(
            first.model_dump(exclude_none=True, include={"role", "content", "tool_calls"})
        )
        messages += [
            {"role": "tool", "tool_call_id": call.id, "content": f'{{"temp": {temp}}}'}
            for call, temp in zip(first.tool_calls, (7, 21), strict=True)
        ]
        assert (await ask()).content == "It is 7 and 21 degrees."


async def test_without_a_script_it_says_that_it_is_a_fake_and_repeats() -> None:
    async with fake_llm_process() as fake, _anthropic(fake.url) as client:
        for _ in range(2):
            said = await _ask(client, "first line\nsecond line")
            assert "This is a fake" in said
            assert said.endswith("You said: first line")


async def test_what_no_step_fits_is_a_bad_request_with_the_difference(tmp_path: Path) -> None:
    async with (
        fake_llm_process(_script(tmp_path, WEATHER)) as fake,
        _anthropic(fake.url, max_retries=5) as client,
    ):
        with pytest.raises(anthropic.BadRequestError, match="NO  last_user: /weather in"):
            await _ask(client, "hello")
        told = await fake.seen()
        assert (told["status"], told["step"]) == (400, "")
        assert "waited for:" in told["problem"]
        _, said = await fake.stop()
        assert "never played" in said


async def test_a_client_that_tries_again_by_itself_gets_the_next_step(tmp_path: Path) -> None:
    script = """
steps:
  - error: {kind: rate_limit, retry_after: 0.01}
  - error: {kind: overloaded}
  - text: at last
"""
    async with (
        fake_llm_process(_script(tmp_path, script)) as fake,
        _anthropic(fake.url, max_retries=2) as client,
    ):
        assert await _ask(client, "hello") == "at last"
        assert [(await fake.seen())["status"] for _ in range(3)] == [429, 529, 200]


async def test_what_the_real_service_refuses_is_refused_unless_told_otherwise() -> None:
    call: dict[str, Any] = {
        "model": "claude-opus-5-5",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "hi"}],
        "extra_body": {"temperature": 0.5},
    }
    async with fake_llm_process() as fake, _anthropic(fake.url) as client:
        with pytest.raises(anthropic.BadRequestError, match="temperature"):
            await client.messages.create(**call)
        assert (await fake.seen())["status"] == 400
        older = {"anthropic-version": "2023-06-01"}
        assert (await client.messages.create(**call, extra_headers=older)).content
    async with fake_llm_process(None, "--lenient") as fake, _anthropic(fake.url) as client:
        assert (await client.messages.create(**call)).content


async def test_both_vendors_list_their_models_and_count_tokens(tmp_path: Path) -> None:
    async with (
        fake_llm_process(_script(tmp_path, WEATHER)) as fake,
        _anthropic(fake.url) as claude,
        _openai(fake.url) as gpt,
    ):
        assert [one.id async for one in claude.models.list()] == ["demo"]
        assert [one.id async for one in gpt.models.list()] == ["demo"]
        few, many = [
            (
                await claude.messages.count_tokens(
                    model="m", messages=[{"role": "user", "content": "word " * words}]
                )
            ).input_tokens
            for words in (10, 1_000)
        ]
        assert 0 < few < many
        counted = await gpt.responses.input_tokens.count(model="m", input="word " * 10)
        assert counted.input_tokens > 0
        with pytest.raises(openai.NotFoundError):
            await gpt.images.generate(prompt="a cat")


async def test_the_same_question_anew_is_another_conversation(tmp_path: Path) -> None:
    path = _script(tmp_path, "steps: [{text: one}, {text: two}]")
    async with fake_llm_process(path) as fake, _anthropic(fake.url) as client:
        assert [await _ask(client, "hello") for _ in range(2)] == ["one", "one"]
    async with fake_llm_process(path, "--in-order") as fake, _anthropic(fake.url) as client:
        assert [await _ask(client, text) for text in ("hello", "bye")] == ["one", "two"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.skipif(sys.platform == "win32", reason="there a signal ends a process at once")
async def test_a_signal_ends_it_with_0_also_while_a_stream_stands_still(
    tmp_path: Path, number: signal.Signals
) -> None:
    path = _script(tmp_path, "steps: [{text: half an answer, chunk: 4, cut_after: 2, stall: true}]")
    async with fake_llm_process(path) as fake, _anthropic(fake.url) as client:
        stream = await client.messages.create(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}], stream=True
        )
        async with stream:
            texts: list[object] = []
            with anyio.fail_after(5):
                while len(texts) < 2:
                    event = await anext(stream)
                    if event.type == "content_block_delta":
                        texts.append(event.delta)
            assert await fake.stop(number) == (0, "")


async def test_the_first_line_says_where_and_what_to_set() -> None:
    async with started() as fake:
        line = await fake.line()
        url = line.split("; ")[0].removeprefix("fake-llm listens on ")
        assert f"ANTHROPIC_BASE_URL={url} " in line
        assert f"OPENAI_BASE_URL={url}/v1 " in line
        async with _anthropic(url) as client:
            await _ask(client, "hi\x1b[31m")
        assert "\x1b" not in await fake.line()


async def test_what_is_wrong_with_the_start_is_a_misuse(tmp_path: Path) -> None:
    async with fake_llm_process() as other:
        port = other.url.rpartition(":")[2]
        async with started("--port", port) as fake:
            code, said = await fake.ended()
            assert (code, f"port {port} cannot be listened on" in said) == (2, True)
    async with started(_script(tmp_path, "steps: [{txt: a}]")) as fake:
        code, said = await fake.ended()
        assert (code, "did you mean 'text'" in said) == (2, True)


async def test_another_host_than_loopback_is_warned_about() -> None:
    # An address for documents: nothing on this machine has it.
    async with started("--host", "192.0.2.1") as fake:
        code, said = await fake.ended()
        assert (code, "192.0.2.1 is not loopback" in said) == (2, True)
