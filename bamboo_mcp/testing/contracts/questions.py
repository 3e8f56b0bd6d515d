"""What every `Questions` broker promises, as tests: subclass, override `make`, run pytest."""

from __future__ import annotations

import anyio

from bamboo_mcp.domain.ids import QuestionId
from bamboo_mcp.domain.questions import Answer, Question
from bamboo_mcp.ports import Questions


def make_question(question_id: str, *, expires_in_s: float = 300.0) -> Question:
    """A permission question, open for five minutes."""
    return Question(
        question_id=QuestionId(question_id),
        topic="permission",
        text="write_file wants to change files",
        asked_at=0.0,
        tool="write_file",
        expires_in_s=expires_in_s,
    )


class QuestionsContract:
    """Override `make`; it must give a broker with nothing open."""

    def make(self) -> Questions:
        raise NotImplementedError("override make()")

    async def test_an_answer_reaches_the_one_who_asked(self) -> None:
        broker = self.make()
        answers = await _ask_and(broker, ["q_1"], [("q_1", Answer(decision="allow_once"))])
        assert answers["q_1"].decision == "allow_once"

    async def test_answers_go_to_their_own_question_in_any_order(self) -> None:
        broker = self.make()
        replies = [("q_2", Answer(text="two")), ("q_1", Answer(text="one"))]
        answers = await _ask_and(broker, ["q_1", "q_2"], replies)
        assert {key: answer.text for key, answer in answers.items()} == {"q_1": "one", "q_2": "two"}

    async def test_only_the_first_answer_counts(self) -> None:
        broker = self.make()
        taken: list[bool] = []

        def answer_twice(question: Question) -> None:
            taken.append(broker.answer(question.question_id, Answer(decision="allow_once")))
            taken.append(broker.answer(question.question_id, Answer(decision="deny")))

        broker.listen(answer_twice)
        with anyio.fail_after(5):
            answer = await broker.ask(make_question("q_1"))
        assert taken == [True, False]
        assert answer.decision == "allow_once"

    async def test_an_answer_to_a_question_that_is_not_open_is_refused(self) -> None:
        assert not self.make().answer(QuestionId("q_none"), Answer(decision="allow_once"))

    async def test_a_question_nobody_answers_is_denied_by_expiry(self) -> None:
        broker = self.make()
        with anyio.fail_after(5):
            answer = await broker.ask(make_question("q_1", expires_in_s=0.01))
        assert answer.by == "expiry"
        assert not answer.allowed
        assert answer.reason
        assert not broker.open_questions()
        assert not broker.answer(QuestionId("q_1"), Answer(decision="allow_once"))

    async def test_open_questions_are_listed_oldest_first(self) -> None:
        broker = self.make()
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                for key in ("q_b", "q_a", "q_c"):
                    group.start_soon(broker.ask, make_question(key))
                    await anyio.wait_all_tasks_blocked()
                listed = [question.question_id for question in broker.open_questions()]
                group.cancel_scope.cancel()
        assert listed == ["q_b", "q_a", "q_c"]

    async def test_a_cancelled_asker_takes_its_question_along(self) -> None:
        broker = self.make()
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(broker.ask, make_question("q_1"))
                await anyio.wait_all_tasks_blocked()
                group.cancel_scope.cancel()
        assert not broker.open_questions()
        assert not broker.answer(QuestionId("q_1"), Answer(decision="allow_once"))

    async def test_a_listener_hears_each_new_question_until_taken_away(self) -> None:
        broker = self.make()
        heard: list[str] = []
        take_away = broker.listen(lambda question: heard.append(question.question_id))
        for key in ("q_1", "q_2"):
            with anyio.fail_after(5):
                await broker.ask(make_question(key, expires_in_s=0.0))
            take_away()
            take_away()
        assert heard == ["q_1"]

    async def test_a_listener_that_fails_disturbs_nobody(self) -> None:
        broker = self.make()

        def fail(question: Question) -> None:
            raise RuntimeError("no screen")

        broker.listen(fail)
        allow = Answer(decision="allow_once")

        def answer(question: Question) -> None:
            broker.answer(question.question_id, allow)

        broker.listen(answer)
        with anyio.fail_after(5):
            assert (await broker.ask(make_question("q_1"))).allowed


async def _ask_and(
    broker: Questions, asked: list[str], replies: list[tuple[str, Answer]]
) -> dict[str, Answer]:
    answers: dict[str, Answer] = {}

    async def ask(key: str) -> None:
        answers[key] = await broker.ask(make_question(key))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for key in asked:
                group.start_soon(ask, key)
            await anyio.wait_all_tasks_blocked()
            for key, answer in replies:
                assert broker.answer(QuestionId(key), answer)
    return answers
