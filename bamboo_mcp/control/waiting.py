"""Waiting for subagents on behalf of a call: bounded in time and size, with progress on the way."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from bamboo_mcp.control.answers import Awaited, Entry, entry
from bamboo_mcp.control.caller import caller_of
from bamboo_mcp.control.paging import cursor_of, seen_in
from bamboo_mcp.domain.ids import SubagentId, Subject
from bamboo_mcp.domain.runs import TERMINAL
from bamboo_mcp.domain.subagents import Subagent, WaitMode, WaitResult
from bamboo_mcp.domain.tools import Progress
from bamboo_mcp.ports import Notices, SubagentPort, ToolContext

MAX_AWAITED = 100
"""Subagents one call waits for; an entry for each must fit its answer."""

_MIN_RESULT_CHARS = 500
_ENTRY_CHARS = 600
"""What an entry takes beside its result."""
_ANSWERING_S = 0.5
"""Left of a call's deadline for wording the answer."""


class Waiting:
    """Only watches: a wait that ends, or is cancelled, leaves the subagents running."""

    def __init__(
        self,
        subagents: SubagentPort,
        notices: Notices,
        *,
        max_wait_s: float,
        max_result_chars: int,
    ) -> None:
        self._subagents = subagents
        self._notices = notices
        self._max_wait_s = max_wait_s
        self._max_result_chars = max_result_chars

    def unfinished(self, caller: Subject) -> list[SubagentId]:
        """The caller's unfinished subagents, oldest first."""
        return list(self._subagents.unfinished_of(caller))

    async def wait(
        self,
        context: ToolContext,
        wanted: list[SubagentId],
        mode: WaitMode,
        timeout_s: float,
        cursor: str,
        *,
        field: str = "timeout_s",
        stall_s: float | None = None,
    ) -> Awaited:
        """`field` is what the caller's bound is called, to say so when it is cut."""
        caller = caller_of(context)
        wanted, left_out = wanted[:MAX_AWAITED], len(wanted[MAX_AWAITED:])
        seen = seen_in(cursor, wanted)
        if not wanted:
            notices = list(self._notices.take(caller))
            return Awaited(subagents=[], cursor=cursor_of({}), done=True, notices=notices)
        longest = min(self._max_wait_s, context.deadline - anyio.current_time() - _ANSWERING_S)
        result = await self._subagents.wait(
            wanted,
            caller=caller,
            mode=mode,
            timeout_s=max(0.0, min(timeout_s, longest)),
            seen=seen,
            stall_s=stall_s,
            on_change=lambda states: context.progress(_progress(states)),
        )
        for one in result.subagents:
            self._notices.watch(one)
            self._notices.told(one, caller)
        notices = list(self._notices.take(caller))
        if left_out:
            notices.insert(
                0, f"{left_out} more are unfinished; wait for them by naming them in subagent_ids"
            )
        if timeout_s > self._max_wait_s:
            notices.insert(
                0,
                f"{field} {timeout_s:g} was cut to {self._max_wait_s:g} s, the longest one call "
                "may take; call again with the cursor to go on",
            )
        return Awaited(
            subagents=self._entries(result, mode, seen),
            cursor=cursor_of({one.subagent_id: one.last_seq for one in result.subagents}),
            done=result.done,
            notices=notices,
        )

    def _entries(
        self, waited: WaitResult, mode: WaitMode, seen: dict[SubagentId, int]
    ) -> list[Entry]:
        states = waited.subagents

        def is_news(one: Subagent) -> bool:
            # Who takes them one by one has read the earlier results already.
            return mode == "all" or one.last_seq > seen.get(one.subagent_id, 0)

        told = [is_news(one) for one in states]
        results = sum(1 for one, new in zip(states, told, strict=True) if new and one.outcome)
        room = (self._max_result_chars - _ENTRY_CHARS * len(states)) // max(1, results)
        share = max(_MIN_RESULT_CHARS, room)
        return [
            entry(
                one,
                max_chars=share,
                with_result=new,
                stalled_s=waited.stalled.get(one.subagent_id),
            )
            for one, new in zip(states, told, strict=True)
        ]


def _progress(states: Sequence[Subagent]) -> Progress:
    """`1 of 3 done · sub_4f2a: round 2: run_command`"""
    done = sum(1 for one in states if one.status in TERMINAL)
    message = f"{done} of {len(states)} done"
    working = [one for one in states if one.status not in TERMINAL]
    if working:
        busiest = max(working, key=lambda one: one.last_seq)
        message += f" · {busiest.subagent_id[:8]}: {busiest.last_activity}"
    return Progress(done=done, total=len(states), message=message)
