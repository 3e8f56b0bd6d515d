"""Answers that must be JSON of a schema: asked for, judged, asked for again, given up."""

from __future__ import annotations

import pytest

from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.domain.events import ToolStarted, Warned
from bamboo_mcp.domain.ids import LOCAL
from bamboo_mcp.testing.harness import open_harness
from bamboo_mcp.testing.scripted import ScriptedProvider
from tests.subagents.gate import Gate, calling

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


async def test_an_answer_that_fits_is_taken_and_the_model_was_told_the_schema() -> None:
    provider = ScriptedProvider('{"n": 1}')
    async with open_harness(provider) as harness:
        outcome = await harness.run("count", output_schema=SCHEMA, system_prompt="Be quick.")
    assert (outcome.status, outcome.text) == ("completed", '{"n": 1}')
    [request] = provider.requests
    assert "Be quick." in request.system
    assert '"required":["n"]' in request.system


async def test_without_a_schema_nothing_is_said_of_one() -> None:
    provider = ScriptedProvider("prose")
    async with open_harness(provider) as harness:
        assert (await harness.run("count")).text == "prose"
    assert "JSON Schema" not in provider.requests[0].system


async def test_it_is_asked_again_with_what_is_wrong_and_its_next_answer_counts() -> None:
    provider = ScriptedProvider("one", '{"n": "1"}', '{"n": 1}')
    async with open_harness(provider) as harness:
        child = await harness.spawn("count", output_schema=SCHEMA)
        outcome = await harness.ended(child.subagent_id)
        warned = [e for e in await harness.events(child.subagent_id) if isinstance(e, Warned)]
    assert (outcome.status, outcome.text, outcome.rounds) == ("completed", '{"n": 1}', 3)
    assert "not JSON" in provider.requests[1].messages[-1].text
    assert "/n" in provider.requests[2].messages[-1].text
    assert [one.code for one in warned] == ["output_invalid", "output_invalid"]


async def test_after_two_more_tries_it_is_an_error_that_keeps_the_text() -> None:
    provider = ScriptedProvider("one", "two", "three", '{"n": 1}')
    async with open_harness(provider) as harness:
        child = await harness.spawn("count", output_schema=SCHEMA)
        outcome = await harness.ended(child.subagent_id)
        assert (outcome.status, outcome.error_code) == ("error", "output_invalid")
        assert outcome.text == "three"
        assert "not JSON" in outcome.error
        # It can be resumed, and must still answer in that form.
        await harness.subagents.resume(child.subagent_id, "properly now", caller=LOCAL)
        outcome = await harness.ended(child.subagent_id)
    assert (outcome.status, outcome.text) == ("completed", '{"n": 1}')


async def test_a_message_that_waits_is_read_before_the_answer_is_judged() -> None:
    gate = Gate()
    provider = ScriptedProvider(calling("wait_here"), "prose", '{"n": 1}')
    async with open_harness(provider, tools=gate.tools) as harness:
        child = await harness.spawn("count", output_schema=SCHEMA)
        await harness.until(child.subagent_id, lambda e: isinstance(e, ToolStarted))
        await harness.subagents.steer(
            child.subagent_id, "and then?", caller=LOCAL, delivery="when_idle"
        )
        gate.open.set()
        outcome = await harness.ended(child.subagent_id)
        events = await harness.events(child.subagent_id)
    assert outcome.status == "completed"
    assert not [event for event in events if isinstance(event, Warned)]


async def test_a_schema_that_is_none_is_refused_at_birth() -> None:
    async with open_harness(ScriptedProvider("x")) as harness:
        with pytest.raises(InvalidInput, match="output_schema"):
            await harness.spawn("count", output_schema={"type": "nothing"})
        assert await harness.subagents.list_subagents(caller=LOCAL) == []
