from __future__ import annotations

from bamboo_mcp.server.instructions import INSTRUCTIONS


def test_instructions_are_short_and_name_the_three_calls_that_matter() -> None:
    assert len(INSTRUCTIONS.split()) < 300
    for name in ("spawn_subagent", "await_subagents", "steer_subagent"):
        assert name in INSTRUCTIONS
