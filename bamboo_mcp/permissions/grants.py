"""What a person allowed for a whole session, in memory, for half an hour."""

from __future__ import annotations

import time
from collections.abc import Callable

from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.value import Value

MAX_GRANTS = 10_000


class Grant(Value, frozen=True, kw_only=True):
    """What is allowed: `tool` in one session, and of it only what `scope` says ("": all of it)."""

    session_id: SessionId
    tool: str
    scope: str = ""


class SessionGrants:
    """Grants that end by themselves (reference section 9.4: after 1800 s)."""

    def __init__(
        self, *, lifetime_s: float = 1800.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._ends: dict[Grant, float] = {}

    def add(self, grant: Grant) -> None:
        self._ends.pop(grant, None)  # so that the order stays that of the ends
        self._ends[grant] = self._clock() + self._lifetime_s
        while len(self._ends) > MAX_GRANTS:
            del self._ends[next(iter(self._ends))]

    def covers(self, grant: Grant) -> bool:
        ends = self._ends.get(grant)
        if ends is not None and ends <= self._clock():
            del self._ends[grant]
            return False
        return ends is not None

    def forget(self, session_id: SessionId) -> None:
        """Take back everything granted in a session."""
        for grant in [grant for grant in self._ends if grant.session_id == session_id]:
            del self._ends[grant]
