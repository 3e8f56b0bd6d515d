from __future__ import annotations

import pytest

from bamboo_mcp.domain.events import SteerUndelivered
from bamboo_mcp.domain.ids import (
    Subject,
    new_steer_id,
)
from bamboo_mcp.domain.runs import SteerReceipt
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
    desk.subagents.happen(third, SteerUndelivered(steer_id=new_steer_id(), text="t"))
    notices = (await desk.get("list_subagents"))["notices"]
    assert notices[0] == f"{first} (a) finished"
    assert notices[1] == f"{second} (b) asks (q_choice): 'Which version?'"
    assert "ended before it read steer_" in notices[2]
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
