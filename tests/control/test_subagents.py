from __future__ import annotations

import anyio
import pytest

from bamboo_mcp.control.notices import NoticeBoard
from bamboo_mcp.control.subagents import SubagentTools
from bamboo_mcp.control.waiting import Waiting
from bamboo_mcp.domain.events import QuestionAsked, RunEvent
from bamboo_mcp.domain.ids import (
    Subject,
    new_call_id,
    new_steer_id,
)
from bamboo_mcp.domain.runs import Steer, SteerReceipt
from bamboo_mcp.domain.tools import ToolCall, ToolResult
from bamboo_mcp.ports import ToolContext, ToolExecutor
from bamboo_mcp.testing.contracts.tool_executor import quiet_context
from bamboo_mcp.testing.harness import open_harness
from bamboo_mcp.testing.scripted import Call, ScriptedProvider, Step
from bamboo_mcp.tools.function import FunctionExecutor, tool, tools_of
from tests.control.desk import Desk
from tests.control.doubles import CHOICE, PERMISSION


async def test_a_steer_is_queued_and_not_called_more_than_that() -> None:
    desk = Desk()
    one = await desk.spawn()
    result = await desk.call(
        "steer_subagent", subagent_id=one, message="also to a file", delivery="interrupt"
    )
    assert result.structured is not None
    assert result.structured["state"] == "queued"
    assert result.structured["steer_id"].startswith("steer_")
    assert "not read yet" in result.text
    assert desk.subagents.steered == [("also to a file", "interrupt")]


async def test_a_refused_steer_says_why() -> None:
    desk = Desk()
    one = await desk.spawn()
    desk.subagents.steer_state = SteerReceipt(
        steer_id=new_steer_id(), state="refused", reason="the run has ended"
    )
    result = await desk.call("steer_subagent", subagent_id=one, message="m")
    assert not result.is_error
    assert result.structured is not None
    assert (result.structured["state"], result.structured["reason"]) == (
        "refused",
        "the run has ended",
    )
    assert "the run has ended" in result.text


async def test_a_model_answers_a_question_about_the_task() -> None:
    desk = Desk()
    one = await desk.spawn()
    desk.subagents.ask(one, CHOICE)
    answer = {"subagent_id": one, "question_id": "q_choice", "answer": "2"}
    assert (await desk.get("answer_subagent", **answer))["state"] == "answered"
    ((question_id, given),) = desk.subagents.answers
    assert (question_id, given.text, given.by) == ("q_choice", "2", "model")
    again = await desk.get("answer_subagent", **answer)
    assert (again["state"], "not open" in again["reason"]) == ("closed", True)


async def test_a_permission_is_not_a_models_to_give() -> None:
    desk = Desk()
    one = await desk.spawn()
    desk.subagents.ask(one, PERMISSION)
    asked = {"subagent_id": one, "question_id": "q_permission"}
    error = await desk.error("answer_subagent", **asked, decision="allow_once")
    assert (error["code"], error["hint"]) == ("permission_denied", "ask a person")
    # Words are no permission, whatever they say.
    worded = await desk.error("answer_subagent", **asked, answer="please do not")
    assert "decision" in worded["hint"]
    assert desk.subagents.answers == []
    denied = await desk.get("answer_subagent", **asked, decision="deny")
    assert denied["state"] == "answered"


async def test_words_are_no_permission_whichever_of_two_questions_they_are_for() -> None:
    @tool(title="Put", effect="write")
    async def put(context: ToolContext, *, n: int) -> str:
        """Put a number."""
        return "ok"

    calls = (Call(name="put", args={"n": 1}), Call(name="put", args={"n": 2}))
    async with open_harness(
        ScriptedProvider(Step(calls=calls), "end"),
        tools=FunctionExecutor([put]),
        allow_model_approvals=True,
    ) as harness:
        board = NoticeBoard()
        waiting = Waiting(harness.subagents, board, max_wait_s=5, max_result_chars=40_000)
        acting = SubagentTools(harness.subagents, harness.questions, board, waiting)
        tools = FunctionExecutor(tools_of(acting))
        one = await harness.spawn("put both")
        asked = 0

        def is_second(event: RunEvent) -> bool:
            nonlocal asked
            asked += isinstance(event, QuestionAsked)
            return asked == 2

        await harness.until(one.subagent_id, is_second)
        for question in harness.questions.open_questions():
            given = {"subagent_id": one.subagent_id, "question_id": question.question_id}
            worded = await answer_subagent(tools, **given, answer="yes please")
            assert "for permission" in worded.text
        assert len(harness.questions.open_questions()) == 2
        for question in harness.questions.open_questions():
            given = {"subagent_id": one.subagent_id, "question_id": question.question_id}
            taken = await answer_subagent(tools, **given, decision="allow_once")
            assert not taken.is_error, taken.text
        assert (await harness.ended(one.subagent_id)).text == "end"


async def test_a_model_may_always_deny() -> None:
    @tool(title="Put", effect="write")
    async def put(context: ToolContext) -> str:
        """Put."""
        return "ok"

    async with open_harness(
        ScriptedProvider(Step(calls=(Call(name="put"),)), "end"), tools=FunctionExecutor([put])
    ) as harness:
        board = NoticeBoard()
        waiting = Waiting(harness.subagents, board, max_wait_s=5, max_result_chars=40_000)
        acting = SubagentTools(harness.subagents, harness.questions, board, waiting)
        tools = FunctionExecutor(tools_of(acting))
        one = await harness.spawn("put it")
        await harness.until(one.subagent_id, lambda event: isinstance(event, QuestionAsked))
        [question] = harness.questions.open_questions()
        given = {"subagent_id": one.subagent_id, "question_id": question.question_id}
        allowed = await answer_subagent(tools, **given, decision="allow_once")
        assert allowed.error_code == "permission_denied"
        denied = await answer_subagent(tools, **given, decision="deny")
        assert not denied.is_error, denied.text
        assert (await harness.ended(one.subagent_id)).text == "end"


async def answer_subagent(tools: ToolExecutor, **arguments: str) -> ToolResult:
    call = ToolCall(id=new_call_id(), name="answer_subagent", arguments=arguments)
    with anyio.fail_after(5):
        return await tools.call_tool(call, quiet_context())


@pytest.mark.parametrize("given", [{}, {"answer": "a", "decision": "deny"}])
async def test_an_answer_is_words_or_a_decision(given: dict[str, str]) -> None:
    desk = Desk()
    one = await desk.spawn()
    desk.subagents.ask(one, CHOICE)
    error = await desk.error("answer_subagent", subagent_id=one, question_id="q_choice", **given)
    assert "answer or decision" in error["message"]
    assert desk.subagents.answers == []


async def test_a_decision_to_allow_answers_no_question_of_another_kind() -> None:
    desk = Desk()
    one = await desk.spawn()
    desk.subagents.ask(one, CHOICE)
    error = await desk.error(
        "answer_subagent", subagent_id=one, question_id="q_choice", decision="allow_session"
    )
    assert "in words" in error["message"]


async def test_cancelling_says_what_stopped() -> None:
    desk = Desk()
    one = await desk.spawn(title="long one")
    answer = await desk.get(
        "cancel_subagent", subagent_id=one, reason="plan changed", descendants=False, force=True
    )
    assert answer["stopped"] == [{"subagent_id": one, "title": "long one", "status": "cancelled"}]
    assert answer["notices"] == []
    assert desk.subagents.cancelled == [(one, "plan changed", False)]


async def test_what_happened_meanwhile_comes_with_the_next_answer_once() -> None:
    desk = Desk()
    first, second, third = [await desk.spawn(title=title) for title in ("a", "b", "c")]
    desk.subagents.finish(first)
    desk.subagents.ask(second, CHOICE)
    unread = Steer(steer_id=new_steer_id(), text="t")
    desk.subagents.finish(third, undelivered=(unread,))
    notices = (await desk.get("list_subagents"))["notices"]
    assert notices[0] == f"{first} (a) finished"
    assert notices[1] == f"{second} (b) asks (q_choice): 'Which version?'"
    assert "ended before it read steer_" in notices[2]
    assert notices[3:] == [f"{third} (c) finished"]
    assert (await desk.get("list_subagents"))["notices"] == []


async def test_what_an_answer_shows_is_no_notice_beside_it() -> None:
    desk = Desk()
    one = await desk.spawn()
    desk.subagents.finish(one)
    assert (await desk.get("await_subagents", subagent_ids=[one]))["notices"] == []
    assert (await desk.get("list_subagents"))["notices"] == []


async def test_a_child_that_ended_before_its_spawn_returned_is_noticed() -> None:
    desk = Desk()
    desk.subagents.on_spawn = lambda one: desk.subagents.finish(one.subagent_id)
    spawned = await desk.get("spawn_subagent", task="t")
    assert spawned["status"] == "running"  # it was, when it was looked at
    assert spawned["notices"] == [f"{spawned['subagent_id']} finished"]


async def test_nobody_hears_of_what_is_not_theirs() -> None:
    desk = Desk()
    one = await desk.spawn()
    desk.subagents.finish(one)
    other = await desk.call_as(desk.context(caller=Subject("other")), "list_subagents")
    assert other.structured == {"subagents": [], "next_page": None, "notices": []}
