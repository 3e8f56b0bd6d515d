"""A subagent as others see it, put together from what it was asked and what its run has become."""

from __future__ import annotations

import time

import msgspec

from bamboo_mcp.domain.ids import RunId, SessionId, SubagentId
from bamboo_mcp.domain.runs import Outcome, RunState, RunStatus, Steer, SteerReceipt
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.domain.subagents import RUN_STRIDE, Subagent, SubagentSpec
from bamboo_mcp.ports import EventLog
from bamboo_mcp.runs.track import RunTrack
from bamboo_mcp.subagents.child import Child, Record

_REASON_CHARS = 120
NEVER_READ = "the run ended first"

LOST = Outcome(
    status="lost", error_code="lost", error="its server process is gone; what it did is in its log"
)


def session_of(subagent_id: SubagentId) -> SessionId:
    """A subagent's session: the same random part, so that neither needs an index to be found."""
    return SessionId("ses_" + subagent_id.removeprefix("sub_"))


def view(
    spec: SubagentSpec,
    subagent_id: SubagentId,
    created_at: float,
    state: RunState | RunTrack,
    record: Record,
    earlier_runs: tuple[RunId, ...] = (),
) -> Subagent:
    outcome = state.outcome
    if outcome is None and state.status == "lost":
        outcome = LOST
    steers: tuple[SteerReceipt, ...] = ()
    if record.steers:
        steers = tuple(record.steers.values())
        if outcome is not None:
            steers, outcome = _settled(steers, outcome)
    return Subagent(
        subagent_id=subagent_id,
        session_id=state.session_id or session_of(subagent_id),
        run_id=state.run_id,
        spec=spec,
        status=state.status,
        created_at=created_at,
        started_at=state.started_at,
        ended_at=state.ended_at,
        rounds=state.rounds,
        usage=outcome.usage if outcome is not None and outcome.usage.total else state.usage,
        cost_usd=state.cost_usd
        if outcome is None or outcome.cost_usd is None
        else outcome.cost_usd,
        last_activity=activity(state),
        last_seq=state.last_seq + len(earlier_runs) * RUN_STRIDE,
        earlier_runs=earlier_runs,
        question=record.question if outcome is None else None,
        outcome=outcome,
        steers=steers,
    )


def _settled(
    steers: tuple[SteerReceipt, ...], outcome: Outcome
) -> tuple[tuple[SteerReceipt, ...], Outcome]:
    """What a dead process left `queued` was never read: it is handed back like the rest."""
    left = [steer for steer in steers if steer.state == "queued"]
    if not left:
        return steers, outcome
    returned = tuple(Steer(steer_id=steer.steer_id, text=steer.text) for steer in left)
    settled = tuple(
        msgspec.structs.replace(steer, state="undelivered", reason=NEVER_READ)
        if steer.state == "queued"
        else steer
        for steer in steers
    )
    return settled, msgspec.structs.replace(outcome, undelivered=outcome.undelivered + returned)


def view_of_child(child: Child, state: RunState | RunTrack) -> Subagent:
    if child.ended is (state.outcome is not None):
        return view(
            child.spec,
            child.subagent_id,
            child.created_at,
            state,
            child.record,
            child.earlier_runs,
        )
    whole = state.state() if isinstance(state, RunTrack) else state
    status: RunStatus
    ended_at: float | None
    if child.outcome is not None:
        # The log took no more (a full disk), so only we know how it ended.
        status, ended_at = child.outcome.status, whole.last_event_at
    else:
        # Its end is written and not yet safe on the disk: nobody is told before it is.
        status, ended_at = "running", None
    # A cursor given out while the end is not told yet must not cover it.
    last_seq = whole.last_seq if child.ended else whole.last_seq - 1
    whole = msgspec.structs.replace(
        whole, status=status, outcome=child.outcome, ended_at=ended_at, last_seq=last_seq
    )
    return view(
        child.spec, child.subagent_id, child.created_at, whole, child.record, child.earlier_runs
    )


async def view_of_stored(meta: SessionMeta, state: RunState, log: EventLog) -> Subagent:
    """The view of a subagent whose run is not in this process: over, lost, or another server's.

    `state` is that of its newest run, or of one of its earlier ones.
    """
    record = await fold(log, state)
    spec = meta.spec or SubagentSpec(task=meta.title)
    earlier = meta.earlier_runs
    if state.run_id in earlier:
        earlier = earlier[: earlier.index(state.run_id)]
    subagent_id = meta.subagent_id or SubagentId("")
    return view(spec, subagent_id, meta.created_at, state, record, earlier)


async def fold(log: EventLog, state: RunState) -> Record:
    """Read a run's log for its steering and questions."""
    record = Record()
    after = 0
    while after < state.last_seq:
        page = await log.read(state.run_id, after=after)
        if not page:
            break
        for entry in page:
            record.observe(entry.event)
        after = page[-1].seq
    return record


def activity(state: RunState | RunTrack) -> str:
    """One short line for people and models: what it does now, or did last."""
    match state.status:
        case "pending":
            return "waiting for a free place"
        case "waiting":
            return f"round {state.rounds}: waits for an answer"
        case "running":
            if state.last_tool and state.last_tool_phase == "begin":
                return f"round {state.rounds}: {state.last_tool}"
            if (left := state.pause_until - time.time()) > 0:
                reason = state.pause_reason[:_REASON_CHARS]
                return f"round {state.rounds}: waits {left:.0f} s for the model: {reason}"
            return f"round {state.rounds}: thinking"
        case status:
            return f"{status} after {state.rounds} round{'' if state.rounds == 1 else 's'}"
