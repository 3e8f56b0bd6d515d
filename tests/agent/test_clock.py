from __future__ import annotations

import math

import anyio

from bamboo_mcp.agent.clock import RunClock


async def test_a_call_that_starts_while_a_person_is_asked_is_told_of_no_deadline() -> None:
    clock = RunClock(10)
    assert clock.call_deadline() == clock.deadline
    with clock.paused():
        with clock.paused():
            assert clock.call_deadline() == math.inf
        assert clock.call_deadline() == math.inf
    assert clock.call_deadline() == clock.deadline


async def test_a_scope_made_while_a_person_is_asked_is_bounded_again_afterwards() -> None:
    clock = RunClock(10)
    with clock.paused():
        scope = clock.scope(5)
        assert scope.deadline == math.inf
    assert scope.deadline <= anyio.current_time() + 5
    clock.release(scope)
