from __future__ import annotations

import pytest

from bamboo_mcp.agent.inbox import SteeringInbox
from bamboo_mcp.domain.errors import RunClosed
from bamboo_mcp.domain.ids import new_steer_id
from bamboo_mcp.domain.runs import Delivery, Steer


def steer(text: str, delivery: Delivery = "next_round") -> Steer:
    return Steer(steer_id=new_steer_id(), text=text, delivery=delivery)


def test_messages_are_taken_once_in_the_order_they_came() -> None:
    inbox = SteeringInbox()
    inbox.put(steer("one"))
    inbox.put(steer("two"))
    assert [s.text for s in inbox.take()] == ["one", "two"]
    assert inbox.take() == ()


def test_a_message_for_when_idle_waits_until_the_agent_has_nothing_to_do() -> None:
    inbox = SteeringInbox()
    inbox.put(steer("later", "when_idle"))
    inbox.put(steer("now"))
    assert [s.text for s in inbox.take()] == ["now"]
    assert [s.text for s in inbox.take(idle=True)] == ["later"]


def test_an_inbox_with_a_message_does_not_close() -> None:
    inbox = SteeringInbox()
    inbox.put(steer("still here"))
    assert not inbox.close_if_empty()
    inbox.take()
    assert inbox.close_if_empty()


def test_a_closed_inbox_refuses_and_says_so() -> None:
    inbox = SteeringInbox()
    assert inbox.close_if_empty()
    with pytest.raises(RunClosed, match="not queued") as caught:
        inbox.put(steer("too late"))
    assert "spawn another subagent" in caught.value.hint


def test_closing_hands_back_what_was_never_read() -> None:
    inbox = SteeringInbox()
    inbox.put(steer("unread"))
    assert [s.text for s in inbox.close()] == ["unread"]
    assert inbox.close() == []


def test_an_interrupting_message_interrupts_now_or_as_soon_as_somebody_listens() -> None:
    inbox = SteeringInbox()
    called: list[str] = []
    inbox.put(steer("hurry", "interrupt"))
    inbox.on_interrupt(lambda: called.append("late"))
    inbox.take()
    inbox.put(steer("again", "interrupt"))
    assert called == ["late", "late"]


def test_the_first_reason_to_cancel_stays_and_interrupts() -> None:
    inbox = SteeringInbox()
    called: list[int] = []
    inbox.on_interrupt(lambda: called.append(1))
    inbox.cancel("enough")
    inbox.cancel("really")
    assert inbox.cancel_reason == "enough"
    assert called == [1]
    assert not inbox.close_if_empty()
