"""What the operator's log says at the start of a run, and what it keeps to itself."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from bamboo_mcp.agent.prompt import SECTIONS
from bamboo_mcp.agent.run import Agent
from bamboo_mcp.compaction.stop import StopWhenFull
from bamboo_mcp.domain.runs import Goal
from bamboo_mcp.permissions.questions import QuestionBroker
from bamboo_mcp.testing.scripted import ScriptedProvider, scripted_models
from bamboo_mcp.tools.function import FunctionExecutor
from tests.agent.bare_run import BareRun

SECRET = "the project is called Nightfall"


async def said(level: int, caplog: pytest.LogCaptureFixture, **request: Any) -> str:
    with caplog.at_level(level, logger="bamboo_mcp.agent"):
        run = BareRun(scripted_models(ScriptedProvider("hi", "hi")), **request)
        await run.play()
    return caplog.text


async def test_a_start_tells_model_effort_and_who_chose_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = await said(logging.INFO, caplog, effort="high", effort_source="argument")
    assert "model scripted:test, effort high (from: argument)" in text
    caplog.clear()
    assert "effort none (from: default)" in await said(logging.INFO, caplog)


async def test_the_prompt_is_told_by_its_sections_and_its_text_only_when_debugging(
    caplog: pytest.LogCaptureFixture,
) -> None:
    goal = Goal(text="find it")
    text = await said(logging.INFO, caplog, system_prompt=SECRET, goal=goal)
    for name in SECTIONS:
        assert f"{name}=" in text
    assert f"instructions={len(SECRET)} " in text
    for absent in ("skills", "tool_guide", "memory", "plan"):
        assert f"{absent}=0" in text
    assert "goal=0" not in text
    assert SECRET not in text
    caplog.clear()
    assert SECRET in await said(logging.DEBUG, caplog, system_prompt=SECRET)


async def test_nothing_is_said_when_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    assert await said(logging.WARNING, caplog, system_prompt=SECRET) == ""


async def test_a_provider_of_the_runs_own_answers_in_the_place_of_the_named_one() -> None:
    usual, own = ScriptedProvider("usual"), ScriptedProvider("own", name="mine")
    agent = Agent(
        models=scripted_models(usual),
        tools_for=lambda request: FunctionExecutor(()),
        questions=QuestionBroker(),
        compactor=StopWhenFull(),
    )
    run = BareRun(scripted_models(usual), model="scripted:big")
    run.agent = agent.using(provider=own)
    outcome = await run.play()
    assert (outcome.text, outcome.model) == ("own", "mine:big")
    assert own.requests[0].model == "big"
    assert usual.requests == []
