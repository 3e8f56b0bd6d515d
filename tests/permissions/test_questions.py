from __future__ import annotations

import anyio
import msgspec
import pytest

from bamboo_mcp.domain.errors import PermissionDenied
from bamboo_mcp.domain.ids import QuestionId
from bamboo_mcp.domain.questions import Answer, Question
from bamboo_mcp.permissions.questions import QuestionBroker
from bamboo_mcp.ports import Questions
from bamboo_mcp.testing.contracts.questions import QuestionsContract, make_question


class TestQuestionBroker(QuestionsContract):
    def make(self) -> Questions:
        return QuestionBroker()


def choice(question_id: str) -> Question:
    return msgspec.structs.replace(make_question(question_id), topic="choice")


async def answer_of(broker: QuestionBroker, question: Question, by_model: Answer) -> Answer:
    def answer(asked: Question) -> None:
        broker.answer(asked.question_id, msgspec.structs.replace(by_model, by="model"))

    broker.listen(answer)
    with anyio.fail_after(5):
        return await broker.ask(question)


async def test_a_model_may_answer_a_choice() -> None:
    answer = await answer_of(QuestionBroker(), choice("q_1"), Answer(text="the second"))
    assert (answer.text, answer.by) == ("the second", "model")


async def test_a_model_may_grant_a_permission_only_when_the_setting_lets_it() -> None:
    broker = QuestionBroker(allow_model_approvals=True)
    answer = await answer_of(broker, make_question("q_1"), Answer(decision="allow_session"))
    assert (answer.decision, answer.by) == ("allow_session", "model")


async def test_a_model_may_always_deny_a_permission() -> None:
    answer = await answer_of(QuestionBroker(), make_question("q_1"), Answer(reason="not needed"))
    assert (answer.decision, answer.by, answer.reason) == ("deny", "model", "not needed")


@pytest.mark.parametrize("decision", ["allow_once", "allow_session"])
async def test_a_permission_granted_by_a_model_stays_open_and_the_setting_is_named(
    decision: str,
) -> None:
    broker = QuestionBroker()
    answer = msgspec.convert({"decision": decision, "by": "model"}, Answer)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(broker.ask, make_question("q_1"))
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(PermissionDenied) as refused:
                broker.answer(QuestionId("q_1"), answer)
            assert "permissions.allow_model_approvals" in refused.value.hint
            assert len(broker.open_questions()) == 1
            assert broker.answer(QuestionId("q_1"), Answer(decision="allow_once", by="person"))


async def test_a_model_that_answers_what_is_not_open_is_told_so() -> None:
    answer = Answer(decision="allow_once", by="model")
    assert not QuestionBroker().answer(QuestionId("q_1"), answer)


async def test_who_shows_a_question_learns_when_it_is_closed() -> None:
    broker = QuestionBroker()
    closed: list[str] = []

    async def show() -> None:
        await broker.closed(QuestionId("q_1"))
        closed.append("q_1")

    with anyio.fail_after(5):
        async with anyio.create_task_group() as askers, anyio.create_task_group() as group:
            askers.start_soon(broker.ask, make_question("q_1"))
            await anyio.wait_all_tasks_blocked()
            group.start_soon(show)
            await anyio.wait_all_tasks_blocked()
            assert closed == []
            askers.cancel_scope.cancel()
        await broker.closed(QuestionId("q_1"))
        await broker.closed(QuestionId("q_never"))


async def test_the_same_question_cannot_be_open_twice() -> None:
    broker = QuestionBroker()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(broker.ask, make_question("q_1"))
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(ValueError, match="q_1"):
                await broker.ask(make_question("q_1"))
            assert len(broker.open_questions()) == 1
            group.cancel_scope.cancel()


async def test_an_answer_given_before_the_wait_begins_is_not_lost() -> None:
    broker = QuestionBroker()

    def allow(question: Question) -> None:
        broker.answer(question.question_id, Answer(decision="allow_once"))

    broker.listen(allow)
    with anyio.fail_after(5):
        answer = await broker.ask(make_question("q_1", expires_in_s=0.0))
    assert answer.decision == "allow_once"
