"""What `get_subagent` and `list_subagents` answer: one subagent in parts, many in a line each."""

from __future__ import annotations

from typing import Any

import msgspec

from bamboo_mcp.control.answers import (
    Part,
    QuestionPart,
    ResultPart,
    SteerPart,
    Tokens,
    bounded,
    framed,
    page_text,
    question_part,
    question_text,
    said,
    tokens,
)
from bamboo_mcp.control.evidence import Evidence, evidence_text
from bamboo_mcp.control.paging import shortened
from bamboo_mcp.control.plans import PlanPart
from bamboo_mcp.domain.events import EventRecord, ReasoningDelta, TextDelta
from bamboo_mcp.domain.messages import Message, ToolResultBlock, text_of
from bamboo_mcp.domain.redaction import redacted_text, redacted_value
from bamboo_mcp.domain.subagents import Subagent

_TASK_CHARS = 1_000
_FIELD_CHARS = 2_000
_MESSAGE_CHARS = 8_000


class Details(Part, frozen=True, kw_only=True):
    title: str
    role: str
    task: str
    session_id: str
    run_id: str
    earlier_runs: list[str]
    parent_id: str | None
    depth: int
    model: str
    isolation: str
    workspace: str
    permission_mode: str | None
    created_at: float
    started_at: float
    ended_at: float | None
    rounds: int
    usage: Tokens
    cost_usd: float | None
    question: QuestionPart | None
    last_activity: str


class TranscriptMessage(Part, frozen=True, kw_only=True):
    index: int
    role: str
    origin: str
    text: str
    tool_calls: list[dict[str, Any]]
    tool_results: list[dict[str, Any]]


class Transcript(Part, frozen=True, kw_only=True):
    messages: list[TranscriptMessage]
    total: int
    next_offset: int | None
    author: str = "subagent"


class Inspected(Part, frozen=True, kw_only=True):
    """The parts that were not asked for are null."""

    subagent_id: str
    status: str
    details: Details | None
    result: ResultPart | None
    steers: list[SteerPart] | None
    events: list[dict[str, Any]] | None
    transcript: Transcript | None
    evidence: Evidence | None
    plan: PlanPart | None
    cursor: str
    notices: list[str]

    def as_text(self) -> str:
        lines = [f"{self.subagent_id}: {self.status}"]
        if self.details is not None:
            lines += _details_text(self.details)
        if self.result is not None:
            lines.append(page_text(self.subagent_id, self.result))
        for one in self.steers or ():
            where = f" in round {one.round}" if one.round is not None else ""
            lines.append(f"{one.steer_id}: {one.state}{where} {one.reason} {one.text!r}")
        if self.events is not None:
            text = "\n".join(msgspec.json.encode(event).decode() for event in self.events)
            lines += ["Events:", framed(self.subagent_id, text)]
        if self.transcript is not None:
            lines += _transcript_text(self.subagent_id, self.transcript)
        if self.evidence is not None:
            lines += evidence_text(self.subagent_id, self.evidence)
        if self.plan is not None:
            lines.append(framed(self.subagent_id, self.plan.as_text()))
        return said(lines, self.notices, self.cursor)


class Listed(Part, frozen=True, kw_only=True):
    subagent_id: str
    title: str
    status: str
    created_at: float
    model: str
    parent_id: str | None
    last_activity: str


class Listing(Part, frozen=True, kw_only=True):
    subagents: list[Listed]
    next_page: str | None
    notices: list[str]

    def as_text(self) -> str:
        lines = [
            f"{one.subagent_id} {one.status} {one.title!r} ({one.last_activity})"
            for one in self.subagents
        ]
        if self.next_page is not None:
            lines.append(f"next_page: {self.next_page}")
        return said(lines or ["No subagents."], self.notices)


def details(subagent: Subagent) -> Details:
    spec = subagent.spec
    ran = subagent.outcome.model if subagent.outcome else ""
    return Details(
        title=spec.title,
        role=spec.role,
        task=shortened(spec.task, _TASK_CHARS),
        session_id=subagent.session_id,
        run_id=subagent.run_id,
        earlier_runs=list(subagent.earlier_runs),
        parent_id=spec.parent_id,
        depth=spec.depth,
        model=ran or spec.model,
        isolation=spec.isolation,
        workspace=spec.workspace,
        permission_mode=spec.permission_mode,
        created_at=subagent.created_at,
        started_at=subagent.started_at,
        ended_at=subagent.ended_at,
        rounds=subagent.rounds,
        usage=tokens(subagent.usage),
        cost_usd=subagent.cost_usd,
        question=question_part(subagent.question),
        last_activity=subagent.last_activity,
    )


def listed(subagent: Subagent) -> Listed:
    return Listed(
        subagent_id=subagent.subagent_id,
        title=subagent.spec.title or shortened(" ".join(subagent.spec.task.split()), 60),
        status=subagent.status,
        created_at=subagent.created_at,
        model=subagent.outcome.model if subagent.outcome else subagent.spec.model,
        parent_id=subagent.spec.parent_id,
        last_activity=subagent.last_activity,
    )


def event_of(record: EventRecord) -> dict[str, Any]:
    """`{seq, at, kind, …}` with what is too long to show cut."""
    fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(record.event))
    return {"seq": record.seq, "at": record.at, **bounded(fields, _FIELD_CHARS)}


def joins(last: dict[str, Any] | None, record: EventRecord) -> bool:
    """Does this piece of streamed text go on from the event shown last?

    Piece by piece an answer would take its length many times over.
    """
    if last is None or not isinstance(record.event, TextDelta | ReasoningDelta):
        return False
    kind = "text_delta" if isinstance(record.event, TextDelta) else "reasoning_delta"
    return last["kind"] == kind and len(last["text"]) < _FIELD_CHARS


def transcript_message(index: int, message: Message) -> TranscriptMessage:
    return TranscriptMessage(
        index=index,
        role=message.role,
        origin=message.origin,
        text=shortened(message.text, _MESSAGE_CHARS),
        tool_calls=[
            {
                "call_id": call.id,
                "tool": call.name,
                "arguments": _shown_json(call.arguments_json),
            }
            for call in message.tool_calls
        ],
        tool_results=[
            {
                "call_id": block.call_id,
                "tool": block.name,
                "is_error": block.is_error,
                "text": shortened(text_of(block.content), _FIELD_CHARS),
            }
            for block in message.blocks
            if isinstance(block, ToolResultBlock)
        ],
    )


def _shown_json(arguments_json: str) -> str:
    """Arguments as the model wrote them, without what looks secret: they may be no JSON at all."""
    try:
        arguments = msgspec.json.decode(arguments_json)
        shown = msgspec.json.encode(redacted_value("", arguments)).decode()
    except (msgspec.MsgspecError, RecursionError):
        shown = redacted_text(arguments_json)
    return shortened(shown, _FIELD_CHARS)


def _details_text(one: Details) -> list[str]:
    used = one.usage.input + one.usage.output
    lines = [
        f"title: {one.title!r}; model: {one.model or 'default'}; {one.last_activity}",
        f"rounds: {one.rounds}; tokens: {used}; session: {one.session_id}; run: {one.run_id}",
        f"task: {one.task!r}",
    ]
    if one.earlier_runs:
        lines.append(f"earlier runs: {', '.join(one.earlier_runs)}")
    if one.question is not None:
        lines.append(question_text(one.question))
    return lines


def _transcript_text(subagent_id: str, transcript: Transcript) -> list[str]:
    parts = []
    for one in transcript.messages:
        parts.append(f"[{one.index}] {one.role}: {one.text}".rstrip())
        parts += [f"    calls {call['tool']} {call['arguments']}" for call in one.tool_calls]
        parts += [f"    {answer['tool']} gave: {answer['text']}" for answer in one.tool_results]
    lines = [f"{len(transcript.messages)} of {transcript.total} messages:"]
    lines.append(framed(subagent_id, "\n".join(parts)))
    if transcript.next_offset is not None:
        lines.append(f"next_offset: {transcript.next_offset}")
    return lines
