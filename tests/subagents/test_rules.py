from __future__ import annotations

import anyio
import pytest

from bamboo_mcp.domain.errors import InvalidInput, LimitReached, UnknownId, UnknownModel
from bamboo_mcp.domain.events import (
    QuestionAnswered,
    QuestionAsked,
    Warned,
)
from bamboo_mcp.domain.ids import LOCAL, Subject, new_subagent_id
from bamboo_mcp.domain.questions import Answer
from bamboo_mcp.domain.runs import Limits
from bamboo_mcp.subagents.admission import SubagentRules
from bamboo_mcp.testing.harness import open_harness
from bamboo_mcp.testing.scripted import ScriptedProvider, Step, scripted_models
from tests.subagents.gate import Gate, calling


async def test_a_question_makes_it_wait_and_an_answer_lets_it_go_on() -> None:
    gate = Gate()
    provider = ScriptedProvider(calling("write"), "done")
    async with open_harness(provider, tools=gate.tools) as harness:
        child = await harness.spawn("write it")
        with anyio.fail_after(5):
            waited = await harness.subagents.wait([child.subagent_id], caller=LOCAL)
        [one] = waited.subagents
        assert one.status == "waiting"
        assert one.question is not None
        assert one.question.tool == "write"
        assert gate.wrote == 0
        yes = Answer(decision="allow_once", by="person")
        assert await harness.subagents.answer(child.subagent_id, None, yes, caller=LOCAL)
        outcome = await harness.ended(child.subagent_id)
        events = await harness.events(child.subagent_id)
        late = await harness.subagents.answer(
            child.subagent_id, one.question.question_id, yes, caller=LOCAL
        )
    assert outcome.text == "done"
    assert gate.wrote == 1
    assert sum(isinstance(e, QuestionAsked) for e in events) == 1
    assert [e.answer.by for e in events if isinstance(e, QuestionAnswered)] == ["person"]
    assert not late


async def test_an_unanswered_question_is_a_no_after_its_time() -> None:
    gate = Gate()
    provider = ScriptedProvider(calling("write"))
    provider.respond(lambda request: Step(text="I may not"))
    async with open_harness(provider, tools=gate.tools, question_timeout_s=0.02) as harness:
        outcome = await harness.run("write it")
    assert outcome.text == "I may not"
    assert gate.wrote == 0


async def test_time_spent_waiting_for_an_answer_is_not_the_runs() -> None:
    gate = Gate()
    provider = ScriptedProvider(calling("write"))
    provider.respond(lambda request: Step(text="after the no"))
    limits = Limits(timeout_s=0.5, batch_timeout_s=0.2)
    async with open_harness(provider, tools=gate.tools, question_timeout_s=1.0) as harness:
        outcome = await harness.run("write it", limits=limits)
    assert (outcome.status, outcome.text) == ("completed", "after the no")


async def test_cancelling_while_a_question_is_open_closes_it() -> None:
    gate = Gate()
    provider = ScriptedProvider(calling("write"))
    async with open_harness(provider, tools=gate.tools) as harness:
        child = await harness.spawn("write it")
        await harness.until(child.subagent_id, lambda e: isinstance(e, QuestionAsked))
        await harness.subagents.cancel(child.subagent_id, caller=LOCAL)
        assert harness.questions.open_questions() == ()
        events = await harness.events(child.subagent_id)
    assert [e.answer.by for e in events if isinstance(e, QuestionAnswered)] == ["closed"]


async def test_a_denied_tool_is_neither_offered_nor_run_whatever_its_case() -> None:
    gate = Gate()
    provider = ScriptedProvider(calling("wait_here"), "done")
    async with open_harness(provider, tools=gate.tools) as harness:
        outcome = await harness.run("go", deny_tools=("Wait_Here(x)",))
    assert outcome.text == "done"
    assert gate.entered == 0
    assert [t.name for t in provider.requests[0].tools] == ["write"]


async def test_a_subagent_has_no_spawn_tools_unless_it_may_spawn() -> None:
    gate = Gate()
    rules = SubagentRules(spawn_tools=("wait_here",))
    for may_spawn in (False, True):
        provider = ScriptedProvider("done")
        async with open_harness(provider, tools=gate.tools, rules=rules) as harness:
            await harness.run("go", may_spawn=may_spawn)
        offered = [t.name for t in provider.requests[0].tools]
        assert ("wait_here" in offered) is may_spawn


@pytest.mark.parametrize(
    ("asked", "mode"), [(None, "default"), ("plan", "plan"), ("bypass", "accept_edits")]
)
async def test_a_mode_can_only_be_narrowed(asked: str | None, mode: str) -> None:
    rules = SubagentRules(default_mode="default", max_mode="accept_edits")
    async with open_harness(ScriptedProvider("done"), rules=rules) as harness:
        child = await harness.spawn("go", permission_mode=asked)
        assert child.spec.permission_mode == mode
        grandchild = await harness.spawn(
            "go", permission_mode="bypass", parent_id=child.subagent_id, depth=2
        )
        assert grandchild.spec.permission_mode == mode


async def test_bad_spawns_are_refused_before_anything_starts() -> None:
    provider = ScriptedProvider("never")
    models = scripted_models(provider, unknown=["nope:nothing"])
    async with open_harness(models) as harness:
        with pytest.raises(InvalidInput, match="empty"):
            await harness.spawn("  \n")
        with pytest.raises(InvalidInput, match="5000000 characters"):
            await harness.spawn("x" * 5_000_000)
        with pytest.raises(LimitReached, match="depth 5"):
            await harness.spawn("deep", depth=5)
        with pytest.raises(InvalidInput, match="isolation 'moon'"):
            await harness.spawn("there", isolation="moon")
        with pytest.raises(UnknownModel, match="nope"):
            await harness.spawn("who", model="nope:nothing")
        assert await harness.subagents.list_subagents(caller=LOCAL) == []
    assert provider.requests == []


async def test_unknown_ids_are_named() -> None:
    async with open_harness(ScriptedProvider("done")) as harness:
        nobody = new_subagent_id()
        for call in (
            harness.subagents.get(nobody, caller=LOCAL),
            harness.subagents.wait([nobody], caller=LOCAL),
            harness.subagents.steer(nobody, "hello", caller=LOCAL),
            harness.subagents.cancel(nobody, caller=LOCAL),
        ):
            with pytest.raises(UnknownId, match=nobody):
                await call


async def test_what_another_caller_spawned_is_not_there() -> None:
    async with open_harness(ScriptedProvider("done")) as harness:
        other = await harness.spawn("secret work", caller=Subject("other"))
        with pytest.raises(UnknownId):
            await harness.subagents.get(other.subagent_id, caller=LOCAL)
        assert await harness.subagents.list_subagents(caller=LOCAL) == []
        seen = await harness.subagents.list_subagents(caller=Subject("other"))
        assert [one.subagent_id for one in seen] == [other.subagent_id]


async def test_a_caller_sees_the_children_of_its_children() -> None:
    async with open_harness(ScriptedProvider("done")) as harness:
        child = await harness.spawn("child")
        grandchild = await harness.spawn(
            "grandchild",
            parent_id=child.subagent_id,
            caller=Subject(child.subagent_id),
            depth=2,
        )
        await harness.ended(grandchild.subagent_id)
        listed = await harness.subagents.list_subagents(caller=LOCAL)
    assert [one.subagent_id for one in listed] == [grandchild.subagent_id, child.subagent_id]


async def test_an_allowed_tool_that_is_not_there_is_said_in_the_log() -> None:
    gate = Gate()
    async with open_harness(ScriptedProvider("done"), tools=gate.tools) as harness:
        child = await harness.spawn("go", allow_tools=("wait_here", "wait_ther", "read_*"))
        await harness.ended(child.subagent_id)
        events = await harness.events(child.subagent_id)
    [warned] = [event for event in events if isinstance(event, Warned)]
    assert warned.message.endswith(": wait_ther")
