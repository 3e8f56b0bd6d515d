"""The goal keeper: who may end a run when, and that no failure of a judge costs the answer."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
import pytest

from bamboo_mcp.agent.goal import settled
from bamboo_mcp.agent.goal_judge import MOST_CHARS, NoVerdict, Verdict, read_verdict
from bamboo_mcp.domain.events import (
    GoalContinued,
    GoalDeclared,
    GoalJudged,
    GoalSettled,
    ModelAnswered,
    RunEvent,
    SideModelAnswered,
)
from bamboo_mcp.domain.ids import new_steer_id
from bamboo_mcp.domain.models import ModelCaps
from bamboo_mcp.domain.runs import Goal, Limits, Steer
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.ports import Provider
from bamboo_mcp.testing.scripted import Call, Fault, ScriptedProvider, Step, Tokens, Track
from tests.agent.bare_run import BareRun
from tests.agent.two_models import NamedModels

GOAL = Goal(text="file X exists", auto_continue=True, model="judge")


def verdict(decision: str, confidence: str = "high", reasoning: str = "so it is") -> str:
    return msgspec.json.encode(
        {"decision": decision, "confidence": confidence, "reasoning": reasoning}
    ).decode()


def declares(state: str) -> Step:
    return Step(calls=(Call(name="update_goal", args={"state": state, "reason": "looked"}),))


def run_with(
    agent: ScriptedProvider, judge: Provider | None, goal: Goal = GOAL, **more: Any
) -> BareRun:
    models: dict[str, Provider] = {"": agent}
    if judge is not None:
        models["judge"] = judge
    return BareRun(NamedModels(models), goal=goal, **more)


def of_goal(run: BareRun) -> list[RunEvent]:
    return [e for e in run.events if isinstance(e, GoalContinued | GoalSettled | GoalDeclared)]


async def test_an_agent_that_stops_early_is_sent_on_until_the_judge_is_satisfied() -> None:
    agent = ScriptedProvider("I am done", "now it is there")
    judge = ScriptedProvider(verdict("continue", reasoning="X is missing"), verdict("achieved"))
    run = run_with(agent, judge)
    outcome = await run.play()
    assert (outcome.status, outcome.text, outcome.goal) == (
        "completed",
        "now it is there",
        "achieved",
    )
    assert of_goal(run) == [
        GoalContinued(count=1, limit=3),
        GoalSettled(status="achieved", continuations=1),
    ]
    told = run.messages[2]
    assert told.origin == "notice:goal"
    assert "1 of 3" in told.text
    assert "X is missing" in told.text
    assert outcome.rounds == 2


async def test_the_budget_of_tries_is_kept() -> None:
    agent = ScriptedProvider(Step(text="done", repeat=True))
    judge = ScriptedProvider(Step(text=verdict("continue"), repeat=True))
    run = run_with(agent, judge, msgspec.structs.replace(GOAL, max_continuations=2))
    outcome = await run.play()
    assert (outcome.status, outcome.goal, outcome.rounds) == ("completed", "budget_limited", 3)
    assert of_goal(run)[-1] == GoalSettled(status="budget_limited", continuations=2)


@pytest.mark.parametrize("decision", ["blocked", "need_input", "exhausted"])
async def test_a_judge_that_sees_no_way_on_ends_the_run(decision: str) -> None:
    run = run_with(ScriptedProvider("hm"), ScriptedProvider(verdict(decision, "low")))
    outcome = await run.play()
    assert (outcome.status, outcome.text, outcome.goal) == ("completed", "hm", decision)


async def test_an_agent_that_declares_itself_blocked_needs_no_judge() -> None:
    judge = ScriptedProvider()
    agent = ScriptedProvider(declares("blocked"), "I cannot")
    run = run_with(agent, judge)
    assert (await run.play()).goal == "blocked"
    assert judge.requests == []
    assert of_goal(run)[0] == GoalDeclared(state="blocked", reason="looked")


async def test_a_sure_judge_overrules_a_complete_and_the_agent_must_declare_anew() -> None:
    agent = ScriptedProvider(declares("complete"), "done", "really", declares("complete"), "yes")
    judge = ScriptedProvider(
        verdict("continue", "high"), verdict("continue", "low"), verdict("continue", "low")
    )
    run = run_with(agent, judge)
    outcome = await run.play()
    assert (outcome.goal, outcome.text) == ("achieved", "yes")
    asked = [request.messages[-1].text for request in judge.requests]
    assert ['"agent_declared":"complete: looked"' in text for text in asked] == [True, False, True]


async def test_observing_tells_and_never_continues_nor_offers_the_tool() -> None:
    agent = ScriptedProvider("done")
    judge = ScriptedProvider(verdict("continue", "high", "X is missing"))
    run = run_with(agent, judge, msgspec.structs.replace(GOAL, auto_continue=False))
    outcome = await run.play()
    assert (outcome.status, outcome.rounds, outcome.goal) == ("completed", 1, "active")
    assert not agent.requests[0].tools
    assert [event for event in run.events if isinstance(event, GoalJudged)] == [
        GoalJudged(number=1, decision="continue", confidence="high", reasoning="X is missing")
    ]


async def test_the_agent_knows_its_goal_and_has_the_tool_to_say_how_it_stands() -> None:
    agent = ScriptedProvider("done")
    await run_with(agent, ScriptedProvider(verdict("achieved"))).play()
    assert "file X exists" in agent.requests[0].system
    assert [spec.name for spec in agent.requests[0].tools] == ["update_goal"]


class Hangs(ScriptedProvider):
    """Accepts the request and never answers."""

    def __init__(self) -> None:
        super().__init__(Step(stall=True))


class Breaks(ScriptedProvider):
    def caps(self, model: str) -> ModelCaps:
        return ModelCaps()

    def stream(self, *args: Any, **kwargs: Any) -> Any:
        raise ZeroDivisionError("a bug of a plugin")


JUDGES_WITHOUT_VERDICT: dict[str, Provider | None] = {
    "there is none": None,
    "it fails": ScriptedProvider(Step(error=Fault(kind="server_failed"))),
    "it hangs": Hangs(),
    "it breaks": Breaks(),
    "it talks": ScriptedProvider("I think it is fine."),
    "it invents a decision": ScriptedProvider(verdict("maybe")),
}


@pytest.mark.parametrize("why", list(JUDGES_WITHOUT_VERDICT))
@pytest.mark.parametrize("declared", [False, True])
async def test_without_a_verdict_the_agents_own_word_counts_else_a_person_is_needed(
    why: str, declared: bool
) -> None:
    steps = [declares("complete")] if declared else []
    goal = msgspec.structs.replace(GOAL, timeout_s=0.05)
    run = run_with(ScriptedProvider(*steps, "done"), JUDGES_WITHOUT_VERDICT[why], goal)
    outcome = await run.play()
    assert (outcome.status, outcome.text) == ("completed", "done")
    assert outcome.goal == ("achieved" if declared else "need_input")
    [judged] = [event for event in run.events if isinstance(event, GoalJudged)]
    assert judged.error
    assert judged.decision == ""


async def test_a_run_whose_bound_comes_first_says_that_its_budget_ended_it() -> None:
    agent = ScriptedProvider(Step(text="done", repeat=True))
    judge = ScriptedProvider(Step(text=verdict("continue"), repeat=True))
    run = run_with(agent, judge, limits=Limits(max_rounds=2))
    outcome = await run.play()
    assert (outcome.error_code, outcome.goal) == ("limit_reached", "budget_limited")
    assert outcome.text == "done"


async def test_what_the_judge_used_and_cost_is_the_runs() -> None:
    agent = ScriptedProvider(Step(text="done", usage=Tokens(input=10, output=1)))
    judge = ScriptedProvider(Step(text=verdict("achieved"), usage=Tokens(input=100, output=5)))
    run = run_with(agent, judge)
    outcome = await run.play()
    assert outcome.usage == Usage(input=110, output=6)
    assert outcome.cost_usd == 116
    told = [e for e in run.events if isinstance(e, ModelAnswered | SideModelAnswered)]
    assert sum((event.usage for event in told), Usage()) == outcome.usage


async def test_a_message_that_waits_is_read_before_any_judge_looks() -> None:
    agent, judge = ScriptedProvider("first", "second"), ScriptedProvider(verdict("achieved"))
    run = run_with(agent, judge)
    run.inbox.put(Steer(steer_id=new_steer_id(), text="also Y", delivery="when_idle"))
    assert (await run.play()).text == "second"
    assert len(judge.requests) == 1
    assert run.messages[2].text == "also Y"


async def test_a_message_and_a_cancel_reach_an_agent_that_is_being_judged() -> None:
    for delivery in ("next_round", "interrupt"):
        agent = ScriptedProvider("first", "second")
        tracks = [Track(steps=(Step(stall=True, repeat=True),))]
        judge = ScriptedProvider(conversations=tracks)
        run = run_with(agent, judge)

        async def judged(run: BareRun = run, judge: ScriptedProvider = judge) -> None:
            while not judge.requests:
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            group.start_soon(run.start)
            with anyio.fail_after(5):
                await judged()
                if delivery == "interrupt":
                    steer = Steer(steer_id=new_steer_id(), text="also Y", delivery="interrupt")
                    run.inbox.put(steer)
                    while len(judge.requests) < 2:
                        await anyio.lowlevel.checkpoint()
                run.inbox.cancel("enough")
        assert run.outcome is not None
        assert run.outcome.status == "cancelled"
        expected = "second" if delivery == "interrupt" else "first"
        assert run.outcome.text == expected


async def test_the_judge_reads_the_end_of_a_long_conversation_and_no_more() -> None:
    agent = ScriptedProvider("x" * 100_000 + "the very end")
    judge = ScriptedProvider(verdict("achieved"))
    await run_with(agent, judge, msgspec.structs.replace(GOAL, criteria="ls shows X")).play()
    [request] = judge.requests
    assert len(request.messages[0].text) < MOST_CHARS + 1_000
    assert "the very end" in request.messages[0].text
    assert '"criteria":"ls shows X"' in request.messages[0].text
    assert request.max_output == GOAL.max_output_tokens


async def test_without_a_judge_of_its_own_the_fast_model_looks() -> None:
    agent = ScriptedProvider("done", verdict("achieved"))
    models = NamedModels({"": agent, "fast": ScriptedProvider(verdict("achieved"))})
    goal = msgspec.structs.replace(GOAL, model="")
    await BareRun(models, goal=goal, roles_said=["fast"]).play()
    assert models.asked == ["", "fast"]


async def test_an_empty_goal_is_none() -> None:
    run = BareRun(NamedModels({"": ScriptedProvider("done")}), goal=Goal(auto_continue=True))
    outcome = await run.play()
    assert (outcome.status, outcome.goal) == ("completed", None)


def test_the_policy_is_that_of_the_reference() -> None:
    def said(decision: Any, confidence: Any) -> Verdict:
        return Verdict(decision=decision, confidence=confidence, reasoning="")

    cases: list[tuple[Any, Verdict | None, str]] = [
        ("", said("achieved", "medium"), "achieved"),
        ("", said("achieved", "low"), "active"),
        ("", said("continue", "low"), "active"),
        ("", said("blocked", "low"), "blocked"),
        ("", None, "need_input"),
        ("complete", said("continue", "medium"), "active"),
        ("complete", said("continue", "low"), "achieved"),
        ("complete", said("blocked", "high"), "achieved"),
        ("complete", None, "achieved"),
        ("blocked", said("continue", "high"), "blocked"),
        ("blocked", None, "blocked"),
    ]
    for declared, judged, status in cases:
        assert settled(GOAL, declared, judged) == status, (declared, judged)


def test_a_verdict_is_one_json_object_and_nothing_else() -> None:
    fenced = f"```json\n{verdict('achieved')}\n```"
    assert read_verdict(fenced) == read_verdict(verdict("achieved"))
    assert len(read_verdict(verdict("achieved", reasoning="x" * 9_000)).reasoning) == 2_000
    good = msgspec.json.decode(verdict("achieved"))
    for bad in (
        "",
        "achieved",
        "[]",
        verdict("achieved") + " I hope",
        verdict("achieved") * 2,
        msgspec.json.encode({**good, "extra": 1}).decode(),
        msgspec.json.encode({**good, "confidence": 0.9}).decode(),
        msgspec.json.encode({"decision": "achieved"}).decode(),
    ):
        with pytest.raises(NoVerdict):
            read_verdict(bad)
