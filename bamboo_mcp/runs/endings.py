"""What a run left running elsewhere, ended before the run's own end is written."""

from __future__ import annotations

import logging

import anyio
import msgspec

from bamboo_mcp.domain.ids import RunId
from bamboo_mcp.domain.runs import Outcome, RunRequest
from bamboo_mcp.ports import AtRunEnd, Conversation, Emit, Inbox, RunBody

logger = logging.getLogger(__name__)

_PATIENCE_S = 10.0


class RunEndings:
    """Whoever keeps something for a run says here how it is ended; `around` sees to it."""

    def __init__(self) -> None:
        self._enders: list[AtRunEnd] = []

    def add(self, end: AtRunEnd) -> None:
        self._enders.append(end)

    def around(self, body: RunBody) -> RunBody:
        return _Tidied(body, self)

    async def end(self, run_id: RunId) -> tuple[str, ...]:
        """What was ended, in lines. Also while being cancelled, and bounded in time."""
        lines: list[str] = []
        for end in self._enders:
            with anyio.move_on_after(_PATIENCE_S, shield=True) as patience:
                try:
                    lines += await end(run_id)
                except Exception:
                    # It may be a plugin's, and the run's result must not go down with it.
                    logger.exception("what run %s left running could not be ended", run_id)
            if patience.cancelled_caught:
                logger.error("run %s: ending what it left took over %g s", run_id, _PATIENCE_S)
        return tuple(lines)


class _Tidied:
    """A `RunBody` after which nothing of the run goes on."""

    def __init__(self, body: RunBody, endings: RunEndings) -> None:
        self._body = body
        self._endings = endings

    async def run(
        self, request: RunRequest, conversation: Conversation, inbox: Inbox, emit: Emit
    ) -> Outcome:
        try:
            outcome = await self._body.run(request, conversation, inbox, emit)
        except BaseException:
            await self._endings.end(request.run_id)
            raise
        ended = await self._endings.end(request.run_id)
        return msgspec.structs.replace(outcome, notes=outcome.notes + ended) if ended else outcome
