from __future__ import annotations

import pytest

from bamboo_mcp.cli.asking import NobodyThere, Person
from bamboo_mcp.domain.ids import QuestionId
from bamboo_mcp.domain.questions import Question
from tests.cli.small_app import Typed


def question(**changed: object) -> Question:
    said: dict[str, object] = {
        "question_id": QuestionId("q_1"),
        "topic": "permission",
        "text": "write wants to change files",
        "asked_at": 0.0,
    }
    return Question(**(said | changed))  # type: ignore[arg-type]


async def test_an_answer_that_is_none_is_asked_for_again() -> None:
    answer = await Person(Typed("", "maybe", " Y ")).ask(question())
    assert (answer.decision, answer.by) == ("allow_once", "person")


async def test_a_closed_terminal_denies() -> None:
    answer = await Person(Typed(None)).ask(question())
    assert (answer.decision, answer.reason) == (
        "deny",
        "the person at the terminal closed the input",
    )


async def test_a_question_cannot_act_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    text = "run this:\n\x1b[2K\x1b]52;c;eHg=\x07 \u202egnp.exe\r"
    await Person(Typed("n")).ask(question(text=text))
    shown = capsys.readouterr().err
    assert "\\x1b[2K\\x1b]52;c;eHg=\\x07 \\u202egnp.exe\\r" in shown
    assert not {"\x07", "\u202e", "\r"} & set(shown)


@pytest.mark.parametrize(
    ("typed", "text"), [("2", "blue"), ("blue", "blue"), ("3", "3"), ("green", "green")]
)
async def test_a_choice_is_a_number_or_words(typed: str, text: str) -> None:
    asked = question(topic="choice", text="Which?", options=("red", "blue"))
    answer = await Person(Typed("", typed)).ask(asked)
    assert (answer.text, answer.allowed) == (text, True)


async def test_nobody_denies_at_once_and_not_in_a_persons_name() -> None:
    answer = await NobodyThere().ask(question())
    assert (answer.decision, answer.by) == ("deny", "closed")
    assert "not a terminal" in answer.reason
