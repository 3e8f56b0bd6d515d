"""Waiting for some subagents at once: woken by their ends and questions, never by looking again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

import anyio

from bamboo_mcp.domain.ids import SubagentId
from bamboo_mcp.domain.subagents import WaitMode
from bamboo_mcp.subagents.child import Child


class Wait:
    """A wait until they ended as `mode` says; an open question ends it early.

    What the caller has seen already (an end, by its cursor; a question, by any wait that told of
    it) does not end a wait again.
    """

    def __init__(
        self, children: Sequence[Child], mode: WaitMode, seen: Mapping[SubagentId, int] | None
    ) -> None:
        self._mode = mode
        self._seen = seen or {}
        self._woken = anyio.Event()
        self._unfinished: set[int] = set()
        self._children = children

    async def until_satisfied(self, timeout_s: float) -> bool:
        """True when woken, by the condition or by a question; False when time was up first.

        May be called again.
        """
        # Between two calls nobody watches: look anew, then watch, with no await in between.
        self._unfinished = {id(child) for child in self._children if not child.ended}
        if self._satisfied_at_once():
            return True
        for child in self._children:
            child.watch(self._on_change)
        try:
            with anyio.move_on_after(timeout_s):
                await self._woken.wait()
        finally:
            for child in self._children:
                child.unwatch(self._on_change)
        return self._woken.is_set()

    def _satisfied_at_once(self) -> bool:
        if not self._unfinished:
            return True
        if any(child.record.questions and self._unheard(child) for child in self._children):
            return True
        return self._one_is_enough()

    def holds(self) -> bool:
        """All of them ended; or one did as the mode wants it, and the caller has not seen it."""
        return all(child.ended for child in self._children) or self._one_is_enough()

    def _one_is_enough(self) -> bool:
        return self._mode != "all" and any(
            self._is_wanted(child) and child.changed_seq > self._seen.get(child.subagent_id, 0)
            for child in self._children
        )

    def _is_wanted(self, child: Child) -> bool:
        """Its end alone is what the mode waits for."""
        if self._mode == "all" or child.outcome is None:
            return False
        match self._mode:
            case "any":
                return True
            case "first_success":
                return child.outcome.status == "completed"
            case "first_error":
                return child.outcome.status in ("error", "lost")
            case mode:
                assert_never(mode)

    def _unheard(self, child: Child) -> bool:
        """It asks something that no wait has told yet: a known question wakes nobody again."""
        return child.changed_seq > max(self._seen.get(child.subagent_id, 0), child.told_seq)

    def _on_change(self, child: Child) -> None:
        if child.ended:
            self._unfinished.discard(id(child))
        if child.record.questions or not self._unfinished or self._is_wanted(child):
            self._woken.set()
