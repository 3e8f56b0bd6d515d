"""What the session tools answer: a session in a line, and one with a page of its messages."""

from __future__ import annotations

import msgspec

from bamboo_mcp.control.answers import Part, framed, said
from bamboo_mcp.control.inspected import TranscriptMessage, transcript_message
from bamboo_mcp.control.paging import shortened
from bamboo_mcp.domain.sessions import Session

_TITLE_CHARS = 200


class SessionLine(Part, frozen=True, kw_only=True):
    """`excerpt` is where what was searched for stands; empty without a query."""

    session_id: str
    title: str
    pinned: bool
    updated_at: float
    messages: int
    model: str
    parent_id: str | None
    excerpt: str = ""

    def as_line(self) -> str:
        pin = " (pinned)" if self.pinned else ""
        found = f": {self.excerpt!r}" if self.excerpt else ""
        return f"{self.session_id}{pin} {self.title!r}, {self.messages} messages{found}"


class SessionList(Part, frozen=True, kw_only=True):
    sessions: list[SessionLine]
    next_page: str | None
    notices: list[str]

    def as_text(self) -> str:
        lines = [one.as_line() for one in self.sessions]
        if self.next_page is not None:
            lines.append(f"next_page: {self.next_page}")
        return said(lines or ["No sessions."], self.notices)


class SessionRecord(Part, frozen=True, kw_only=True):
    """What is noted about a session. `version` counts its edits."""

    session_id: str
    title: str
    pinned: bool
    version: int
    created_at: float
    updated_at: float
    messages: int
    model: str
    workspace: str
    parent_id: str | None
    subagent_id: str | None
    run_id: str | None


class SessionPage(Part, frozen=True, kw_only=True):
    """`offset` is the place of the first message shown; its text is data, whoever wrote it."""

    session: SessionRecord
    messages: list[TranscriptMessage]
    offset: int
    next_offset: int | None
    author: str
    notices: list[str]

    def as_text(self) -> str:
        one = self.session
        parts = []
        for message in self.messages:
            parts.append(f"[{message.index}] {message.role}: {message.text}".rstrip())
            parts += [
                f"    calls {call['tool']} {call['arguments']}" for call in message.tool_calls
            ]
            parts += [f"    {gave['tool']} gave: {gave['text']}" for gave in message.tool_results]
        lines = [
            f"{one.session_id} {one.title!r}; model: {one.model or 'default'}",
            f"{len(self.messages)} of {one.messages} messages:",
            framed(one.session_id, "\n".join(parts)),
        ]
        if self.next_offset is not None:
            lines.append(f"next_offset: {self.next_offset}")
        return said(lines, self.notices)


class SessionUpdated(Part, frozen=True, kw_only=True):
    session: SessionRecord
    notices: list[str]

    def as_text(self) -> str:
        one = self.session
        pin = "pinned" if one.pinned else "not pinned"
        return said([f"{one.session_id} is now {one.title!r}, {pin}"], self.notices)


class SessionDeleted(Part, frozen=True, kw_only=True):
    session_id: str
    deleted: bool
    notices: list[str]

    def as_text(self) -> str:
        return said([f"{self.session_id} is deleted"], self.notices)


def session_line(end: Session, excerpt: str = "") -> SessionLine:
    """Of a session loaded with (at least) its last message."""
    meta = end.meta
    return SessionLine(
        session_id=meta.session_id,
        title=shortened(meta.title, _TITLE_CHARS),
        pinned=meta.pinned,
        updated_at=end.updated_at,
        messages=end.total,
        model=meta.chosen_model,
        parent_id=meta.parent_id,
        excerpt=excerpt,
    )


def session_record(end: Session) -> SessionRecord:
    """As `session_line`."""
    meta = end.meta
    return SessionRecord(
        session_id=meta.session_id,
        title=meta.title,
        pinned=meta.pinned,
        version=meta.version,
        created_at=meta.created_at,
        updated_at=end.updated_at,
        messages=end.total,
        model=meta.chosen_model,
        workspace=meta.workspace,
        parent_id=meta.parent_id,
        subagent_id=meta.subagent_id,
        run_id=meta.run_id,
    )


def shown_messages(session: Session, max_chars: int) -> tuple[list[TranscriptMessage], bool]:
    """The messages as far as there is room, always one, and whether there was for all."""
    shown: list[TranscriptMessage] = []
    for index, message in enumerate(session.messages, start=session.offset):
        part = transcript_message(index, message)
        max_chars -= len(msgspec.json.encode(part))
        if max_chars < 0 and shown:
            return shown, False
        shown.append(part)
    return shown, True
