"""Subagents as tools: look at one in detail, list them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from bamboo_mcp.control.answers import result_part, steer_part
from bamboo_mcp.control.caller import caller_of
from bamboo_mcp.control.evidence import Evidence, EvidenceFold
from bamboo_mcp.control.inspected import (
    Inspected,
    Listing,
    Transcript,
    TranscriptMessage,
    details,
    event_of,
    joins,
    listed,
    transcript_message,
)
from bamboo_mcp.control.notebook import plan_in
from bamboo_mcp.control.paging import cursor_of, page_before, page_token, seen_in
from bamboo_mcp.control.plans import PlanPart, plan_part
from bamboo_mcp.domain.errors import InvalidInput, UnknownId
from bamboo_mcp.domain.events import RunEnded
from bamboo_mcp.domain.ids import RunId, SubagentId
from bamboo_mcp.domain.runs import TERMINAL, RunStatus
from bamboo_mcp.domain.subagents import RUN_STRIDE, Subagent
from bamboo_mcp.ports import EventLog, Notices, SessionStore, SubagentPort, ToolContext
from bamboo_mcp.tools.function import tool

Include = Literal["status", "events", "result", "transcript", "evidence", "steers", "plan"]

_EVENTS_READ = 1_000
_ITEMS = 50
_MOST_ITEMS = 500


class SubagentInspection:
    """The two tools that only read."""

    def __init__(
        self,
        subagents: SubagentPort,
        log: EventLog,
        sessions: SessionStore,
        notices: Notices,
        *,
        max_result_chars: int,
    ) -> None:
        self._subagents = subagents
        self._log = log
        self._sessions = sessions
        self._notices = notices
        self._max_chars = max_result_chars

    @tool(title="Look at a subagent", effect="read", group="control")
    async def get_subagent(
        self,
        context: ToolContext,
        *,
        subagent_id: Annotated[str, Meta(description="sub_…", min_length=1)],
        after: Annotated[str, Meta(description="A cursor: only events after it.")] = "",
        include: Annotated[
            tuple[Include, ...], Meta(description="The parts wanted.", min_length=1)
        ] = ("status", "result"),
        offset: Annotated[
            int,
            Meta(
                description="Where to read on: character of result, message of transcript, tool "
                "call of evidence.",
                ge=0,
            ),
        ] = 0,
        limit: Annotated[
            int,
            Meta(
                description="At most so many events, messages, tool calls, or characters of "
                "result.",
                ge=1,
            ),
        ]
        | None = None,
        run_id: Annotated[
            str, Meta(description="An earlier run of one that was resumed: run_…", min_length=1)
        ]
        | None = None,
    ) -> Inspected:
        """Look at one subagent: its state, a further page of its result, what it did, its steering.

        Use it to read on in a long result (include result, with the next_offset you were given), to
        see what became of a steer (steers), its plan (plan), what it really did (evidence: tools
        run with exit codes, files changed, failures, cost, as the server saw them), or what went
        wrong (events, transcript). Not for waiting: await_subagents does that.

        Returns the parts asked for; the others are null, and so is result before the end. All but
        the transcript are of its newest run, or of run_id. cursor marks the last event shown.

        Example: {"subagent_id": "sub_k3…", "include": ["result"], "offset": 40000}
        """
        caller = caller_of(context)
        subagent = await self._subagents.get(
            SubagentId(subagent_id), caller=caller, run_id=RunId(run_id) if run_id else None
        )
        seen = seen_in(after, [subagent.subagent_id]).get(subagent.subagent_id, 0)
        if offset and len({"result", "transcript", "evidence"} & set(include)) > 1:
            raise InvalidInput(
                f"offset {offset} is for one of result, transcript and evidence, not for several "
                "in one call",
                hint="Ask for one of them at a time.",
            )
        shown = await self._parts(subagent, set(include), seen, offset, limit)
        if run_id is None:
            self._notices.watch(subagent)
            self._notices.told(subagent, caller)
        return msgspec.structs.replace(shown, notices=list(self._notices.take(caller)))

    @tool(title="List subagents", effect="read", group="control")
    async def list_subagents(
        self,
        context: ToolContext,
        *,
        status: Annotated[RunStatus, Meta(description="Only these.")] | None = None,
        parent_id: Annotated[str, Meta(description="Only children of this subagent.")] = "",
        limit: Annotated[int, Meta(description="At most so many.", ge=1, le=100)] = 20,
        page: Annotated[str, Meta(description="next_page of the answer before.")] = "",
    ) -> Listing:
        """List your subagents, newest first, one short entry each.

        Use it to find an id again, or to see what is still running after a while. Not for waiting
        (await_subagents), nor for results (get_subagent).

        Returns subagents with subagent_id, title, status, created_at, model, parent_id and
        last_activity, and next_page, which is null on the last page.

        Example: {"status": "running"}
        """
        caller = caller_of(context)
        # One more than asked for tells whether there is another page.
        found = await self._subagents.list_subagents(
            caller=caller,
            status=status,
            parent_id=SubagentId(parent_id) if parent_id else None,
            limit=limit + 1,
            before=page_before(page),
        )
        shown = found[:limit]
        return Listing(
            subagents=[listed(one) for one in shown],
            next_page=page_token(shown[-1].created_at) if len(found) > limit else None,
            notices=list(self._notices.take(caller)),
        )

    async def _parts(
        self, subagent: Subagent, include: set[Include], seen: int, offset: int, limit: int | None
    ) -> Inspected:
        # They share the room of one answer.
        room = self._max_chars // len(include)
        items = min(limit or _ITEMS, _MOST_ITEMS)
        events, result, transcript, evidence = None, None, None, None
        if "result" in include and subagent.outcome is not None:
            result = result_part(subagent, offset, min(limit or room, room))
        if "transcript" in include:
            transcript = await self._transcript(subagent, offset, items, room)
        if "events" in include:
            events, seen = await self._events(subagent, seen, items, room)
        if "evidence" in include:
            evidence = await self._evidence(subagent, offset, items, room)
        return Inspected(
            subagent_id=subagent.subagent_id,
            status=subagent.status,
            details=details(subagent) if "status" in include else None,
            result=result,
            steers=[steer_part(one) for one in subagent.steers] if "steers" in include else None,
            events=events,
            transcript=transcript,
            evidence=evidence,
            plan=await self._plan(subagent) if "plan" in include else None,
            cursor=cursor_of({subagent.subagent_id: seen}),
            notices=[],
        )

    async def _plan(self, subagent: Subagent) -> PlanPart:
        session = await self._sessions.load(subagent.session_id, limit=0)
        return plan_part(plan_in(session.meta))

    async def _events(
        self, subagent: Subagent, after: int, limit: int, max_chars: int
    ) -> tuple[list[dict[str, Any]], int]:
        """Events after a position, and the position of the last one shown."""
        first = len(subagent.earlier_runs) * RUN_STRIDE
        after = max(after - first, 0)
        try:
            records = await self._log.read(subagent.run_id, after=after, limit=_EVENTS_READ)
        except UnknownId:
            return [], first  # it has not begun
        if subagent.status not in TERMINAL and records and isinstance(records[-1].event, RunEnded):
            # Written and not safe yet: nobody is told of an end that could still be lost.
            records = records[:-1]
        shown: list[dict[str, Any]] = []
        room = max_chars
        for record in records:
            last = shown[-1] if shown else None
            event = event_of(record)
            room -= len(msgspec.json.encode(event))
            if last is not None and joins(last, record):
                last.update(seq=record.seq, text=last["text"] + event["text"])
            elif len(shown) < limit and (room > 0 or not shown):
                shown.append(event)
            else:
                break
            after = record.seq
        return shown, first + after

    async def _evidence(
        self, subagent: Subagent, offset: int, limit: int, max_chars: int
    ) -> Evidence:
        fold = EvidenceFold()
        last = subagent.last_seq - len(subagent.earlier_runs) * RUN_STRIDE
        after = 0
        while after < last:
            page = await self._log.read(subagent.run_id, after=after, limit=_EVENTS_READ)
            if not page:
                break
            for record in page:
                fold.take(record)
            after = page[-1].seq
        return fold.evidence(subagent, offset, limit, max_chars)

    async def _transcript(
        self, subagent: Subagent, offset: int, limit: int, max_chars: int
    ) -> Transcript:
        session = await self._sessions.load(subagent.session_id, offset=offset, limit=limit)
        shown: list[TranscriptMessage] = []
        room = max_chars
        for index, message in enumerate(session.messages, start=session.offset):
            part = transcript_message(index, message)
            room -= len(msgspec.json.encode(part))
            if room < 0 and shown:
                break
            shown.append(part)
        following = session.offset + len(shown)
        return Transcript(
            messages=shown,
            total=session.total,
            next_offset=following if following < session.total else None,
        )
