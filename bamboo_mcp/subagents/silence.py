"""Children that give no sign of life: noticed by the age of their last event, told once a while."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from bamboo_mcp.domain.errors import UnknownId
from bamboo_mcp.domain.ids import RunId, SubagentId
from bamboo_mcp.runs.board import RunBoard
from bamboo_mcp.subagents.child import Child

_KEPT = 1_000


class Silences:
    """How long children have been silent.

    Who waits for a place, for an answer, or for the time its model's service named is not: nobody
    expects anything of it before that.
    """

    def __init__(self, board: RunBoard, clock: Callable[[], float] = time.time) -> None:
        self._board = board
        self._clock = clock
        self._told: OrderedDict[RunId, float] = OrderedDict()

    async def due_in(self, children: Sequence[Child], stall_s: float) -> float | None:
        """Seconds until one has been silent for `stall_s`, since it was last told of for one that
        was; None when none of them can be.
        """
        due = None
        for child in children:
            since = await self._since(child)
            if since is not None:
                told = self._told.get(child.request.run_id, 0.0)
                left = max(0.0, max(since, told) + stall_s - self._clock())
                due = left if due is None else min(due, left)
        return due

    async def tell(self, children: Sequence[Child], stall_s: float) -> dict[SubagentId, float]:
        """Those that have been silent for `stall_s`, and how long; they count as told with this."""
        silent: dict[SubagentId, float] = {}
        now = self._clock()
        for child in children:
            since = await self._since(child)
            if since is None or now - since < stall_s:
                continue
            silent[child.subagent_id] = round(now - since, 3)
            self._told.pop(child.request.run_id, None)
            self._told[child.request.run_id] = now
            if len(self._told) > _KEPT:
                self._told.popitem(last=False)
        return silent

    async def _since(self, child: Child) -> float | None:
        """When it gave its last sign of life; None for one that owes none."""
        if child.ended:
            return None
        run_id = child.request.run_id
        try:
            state = self._board.track(run_id) or await self._board.state(run_id)
        except UnknownId:
            return None  # of another process, where it has not begun
        queued = not child.own or child.waiting_for_slot is not None
        if state.ended_at is not None or state.status == "waiting":
            return None
        if not state.last_event_at or (state.status == "pending" and queued):
            return None
        return max(state.last_event_at, state.pause_until)
