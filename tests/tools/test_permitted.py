from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import anyio
import pytest
from msgspec.structs import replace

from bamboo_mcp.domain.ids import QuestionId
from bamboo_mcp.domain.questions import Answer, Answerer, Question
from bamboo_mcp.domain.tools import ToolCall, ToolResult, ToolSpec, text_result
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.testing.contracts.tool_executor import quiet_context
from bamboo_mcp.tools.bounded import BoundedExecutor
from bamboo_mcp.tools.catalogue import Listed
from bamboo_mcp.tools.permitted import PermittedExecutor
from bamboo_mcp.tools.validation import Validators
from tests.tools.small_tools import TEXT_SCHEMA, SmallTools, call, context_answering, echo, spec

QUESTION = Question(
    question_id=QuestionId("q_1"), topic="permission", text="may I?", asked_at=0, expires_in_s=7
)


class FixedPolicy:
    """A policy that always says the same, and keeps what it was told to remember."""

    def __init__(self, verdict: Question | Answer | None) -> None:
        self.verdict = verdict
        self.remembered: list[tuple[Question, Answer]] = []

    def decide(
        self, tool: ToolSpec, call: ToolCall, context: ToolContext
    ) -> Question | Answer | None:
        return self.verdict

    def remember(self, question: Question, answer: Answer) -> None:
        self.remembered.append((question, answer))


def permitted(
    verdict: Question | Answer | None,
) -> tuple[PermittedExecutor, SmallTools, FixedPolicy]:
    tools = SmallTools((spec("tool", schema=TEXT_SCHEMA, effect="write"), echo))
    policy = FixedPolicy(verdict)
    return PermittedExecutor(Listed(tools), policy, validators=Validators()), tools, policy


async def test_what_the_policy_lets_through_is_called() -> None:
    executor, _, _ = permitted(None)
    assert (await executor.call_tool(call("tool", text="hi"), quiet_context())).text == "hi"


async def test_a_refusal_of_the_policy_says_who_and_why_and_nothing_runs() -> None:
    executor, tools, _ = permitted(Answer(reason="plan mode reads only"))
    result = await executor.call_tool(call("tool", text="hi"), quiet_context())
    assert (result.is_error, result.error_code) == (True, "permission_denied")
    assert "the permission policy said no (plan mode reads only)" in result.text
    assert tools.calls == []


async def test_an_answer_of_the_policy_is_a_refusal_whatever_it_says() -> None:
    executor, tools, _ = permitted(Answer(decision="allow_once"))
    result = await executor.call_tool(call("tool", text="hi"), quiet_context())
    assert result.error_code == "permission_denied"
    assert tools.calls == []


@pytest.mark.parametrize("decision", ["allow_once", "allow_session"])
async def test_an_allowed_question_lets_the_call_run_and_is_remembered(decision: str) -> None:
    executor, _, policy = permitted(QUESTION)
    asked: list[Question] = []
    answer = Answer(decision="allow_once" if decision == "allow_once" else "allow_session")
    result = await executor.call_tool(call("tool", text="hi"), context_answering(answer, asked))
    assert result.text == "hi"
    assert asked == [QUESTION]
    assert policy.remembered == [(QUESTION, answer)]


@pytest.mark.parametrize("by", get_args(Answerer))
async def test_a_denied_question_says_who_denied_it_and_is_not_remembered(by: Answerer) -> None:
    executor, tools, policy = permitted(QUESTION)
    context = context_answering(Answer(decision="deny", by=by), [])
    result = await executor.call_tool(call("tool", text="hi"), context)
    words = {
        "person": "a person said no",
        "model": "the agent that started this run said no",
        "expiry": "nobody answered within 7 s",
        "closed": "the end of the run said no",
    }
    assert words[by] in result.text
    assert result.error_code == "permission_denied"
    assert tools.calls == []
    assert policy.remembered == []


async def test_nobody_is_asked_about_a_call_whose_arguments_are_bad() -> None:
    executor, tools, _ = permitted(QUESTION)
    asked: list[Question] = []
    context = context_answering(Answer(decision="allow_once"), asked)
    result = await executor.call_tool(call("tool", text=5), context)
    assert result.error_code == "invalid_input"
    assert asked == []
    assert tools.calls == []


async def test_an_unknown_tool_is_unknown_before_it_is_forbidden() -> None:
    tools = SmallTools("other")
    executor = PermittedExecutor(
        Listed(tools), FixedPolicy(Answer(reason="no")), validators=Validators()
    )
    assert (await executor.call_tool(call("tool"), quiet_context())).error_code == "unknown_tool"


async def test_the_clock_of_a_call_stands_still_while_its_question_is_open() -> None:
    inside: list[float] = []

    async def body(call: ToolCall, context: ToolContext) -> ToolResult:
        inside.append(context.deadline)
        return text_result("ran")

    opened, answered = anyio.Event(), anyio.Event()

    async def ask(question: Question) -> Answer:
        opened.set()
        await answered.wait()
        return Answer(decision="allow_once")

    validators = Validators()
    tools = SmallTools((spec("tool", timeout_s=6000), body))
    bounded = BoundedExecutor(Listed(tools), validators=validators)
    executor = PermittedExecutor(bounded, FixedPolicy(QUESTION), validators=validators)
    began = anyio.current_time()
    deadline = began + 60
    context = replace(quiet_context(), ask=ask, deadline=deadline)
    results: list[ToolResult] = []

    async def run() -> None:
        results.append(await executor.call_tool(call("tool"), context))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await opened.wait()
            await _until(lambda: anyio.current_time() > began + 0.01)
            answered.set()
    assert results[0].text == "ran"
    assert inside[0] > deadline


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await anyio.lowlevel.checkpoint()


async def test_a_caller_who_goes_away_while_asking_leaves_nothing_running() -> None:
    executor, tools, policy = permitted(QUESTION)

    async def ask(question: Question) -> Answer:
        await anyio.sleep_forever()
        raise AssertionError("unreachable")

    async with anyio.create_task_group() as group:
        context = replace(quiet_context(), ask=ask)
        group.start_soon(executor.call_tool, call("tool", text="hi"), context)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert tools.calls == []
    assert policy.remembered == []
