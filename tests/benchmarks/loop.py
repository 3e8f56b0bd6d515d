"""A round of the agent's loop, model and tool costing nothing, events and journal on."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import anyio

from bamboo_mcp.agent.inbox import SteeringInbox
from bamboo_mcp.domain.ids import new_run_id, new_session_id
from bamboo_mcp.domain.messages import Message, TextBlock, user_message
from bamboo_mcp.domain.runs import Limits, RunRequest
from bamboo_mcp.domain.sessions import SessionMeta
from tests.benchmarks.doubles import MODEL, BenchModel, open_bench
from tests.benchmarks.pairing import Contestant, Row, row, take_turns

ROUNDS = 50
"""Tool rounds of a run. A run without any is taken off, so that loading is not counted."""
SHORT, LONG = 10, 1000
RUNS = 3
PEER_MS = 0.82
"""langchain 1.4's `create_agent` at 10 messages; a stored figure, not of this run or machine."""
PEER_SHARE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class OurLoop:
    """Seconds a round takes in a session that begins with `history` messages."""

    history: int

    def __call__(self) -> float:
        with tempfile.TemporaryDirectory() as folder:
            with_rounds = anyio.run(self._run, Path(folder), ROUNDS)
            without = anyio.run(self._run, Path(folder), 0)
        return (with_rounds - without) / ROUNDS

    async def _run(self, home: Path, rounds: int) -> float:
        model = BenchModel(rounds=rounds)
        fastest = float("inf")
        async with open_bench(model, home, durability="turn") as (_, services):
            for _ in range(RUNS):
                session_id = new_session_id()
                meta = SessionMeta(session_id=session_id, created_at=1.0)
                await services.sessions.create(meta, history_of(self.history))
                request = RunRequest(
                    run_id=new_run_id(),
                    session_id=session_id,
                    model=MODEL,
                    limits=Limits(max_rounds=10_000),
                    allow_tools=("trivial",),
                )
                began = time.perf_counter()
                outcome = await services.execute(request, SteeringInbox())
                fastest = min(fastest, time.perf_counter() - began)
                assert outcome.status == "completed", outcome
                assert outcome.rounds == rounds + 1
        return fastest


def history_of(length: int) -> list[Message]:
    """Turns of a conversation, ending with the user's."""
    asked = user_message("What about this? " * 10, at=1.0)
    answered = Message(role="assistant", blocks=(TextBlock(text="This is so. " * 15),), at=1.0)
    return [(asked if (length - n) % 2 else answered) for n in range(length)]


def measure(rounds: int) -> list[Row]:
    contestants: dict[str, Contestant] = {"short": OurLoop(history=SHORT)}
    contestants["long"] = OurLoop(history=LONG)
    if installed := find_spec("langchain") is not None:
        from tests.benchmarks.peer import langchain_round

        contestants["langchain"] = partial(langchain_round, history_of(SHORT), ROUNDS)
    figures = take_turns(contestants, rounds)
    rows = [
        row(
            f"a round at {LONG} messages against at {SHORT}",
            figures["long"],
            figures["short"],
            unit="ms",
            scale=1e3,
            target=1.1,
        )
    ]
    claim = f"a round at {SHORT} messages against langchain's create_agent"
    if installed:
        peer = figures["langchain"]
        rows.append(row(claim, figures["short"], peer, unit="ms", scale=1e3, target=PEER_SHARE))
    else:
        noted = [PEER_MS / 1e3] * rounds
        note = f"langchain is not installed, left out; {PEER_MS} ms is a stored figure"
        rows.append(
            row(claim, figures["short"], noted, unit="ms", scale=1e3, target=PEER_SHARE, note=note)
        )
    return rows
