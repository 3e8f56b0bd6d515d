"""A plan and notes, kept with a session: bounded, versioned, the same for all processes.

They are part of the session's record (`SessionMeta.extra`), so that one lock guards them, they
follow the session wherever it is stored, and they go when it is deleted.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias, TypeVar

import msgspec

from bamboo_mcp.domain.errors import InvalidInput, LimitReached, StorageCorrupt, UnknownId
from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.domain.value import Value
from bamboo_mcp.ports import SessionStore, ToolContext

StepStatus: TypeAlias = Literal["pending", "in_progress", "completed"]

MAX_STEPS = 50
MAX_STEP_CHARS = 500
MAX_NOTES = 50
MAX_NOTE_CHARS = 20_000
MAX_NOTES_CHARS = 100_000
"""Of all notes of one session; they are part of a record that is written whole."""

_PLAN = "plan"
_NOTES = "notes"

T = TypeVar("T")


class PlanStep(Value, frozen=True, kw_only=True):
    step: str
    status: StepStatus = "pending"


class Plan(Value, frozen=True, kw_only=True):
    """`version` counts the changes; 0: there was never one."""

    version: int = 0
    steps: tuple[PlanStep, ...] = ()

    @property
    def completed(self) -> int:
        return sum(1 for one in self.steps if one.status == "completed")


class Note(Value, frozen=True, kw_only=True):
    text: str
    version: int
    updated_at: float


class Notes(Value, frozen=True, kw_only=True):
    """`version` counts all writes, so that a note made anew is not taken for the deleted one."""

    version: int = 0
    notes: Mapping[str, Note] = {}


class Put(Value, frozen=True, kw_only=True):
    """What a write of a note did; `note` None: deleted, `before` 0: there was none."""

    note: Note | None
    before: int


class Overtaken(InvalidInput):
    """Somebody else wrote first; `version` is what the words of the error show."""

    def __init__(self, message: str, *, hint: str, version: int) -> None:
        super().__init__(message, hint=hint)
        self.version = version


class Notebook:
    """The plan and the notes of whoever calls.

    `seen` versions are what the writer knew: another one on disk is somebody else's work, and the
    write is refused with it.
    """

    def __init__(self, sessions: SessionStore, *, clock: Callable[[], float] = time.time) -> None:
        self._sessions = sessions
        self._clock = clock

    async def plan(self, context: ToolContext) -> Plan:
        return plan_in(await self._record(context))

    async def notes(self, context: ToolContext) -> Mapping[str, Note]:
        return notes_in(await self._record(context)).notes

    async def set_plan(
        self, context: ToolContext, steps: tuple[PlanStep, ...], *, seen: int
    ) -> Plan:
        """Raises `Overtaken` when the plan is not at version `seen`; nothing is written then."""

        def change(meta: SessionMeta) -> SessionMeta:
            now = plan_in(meta)
            if now.version != seen:
                raise Overtaken(
                    f"the plan is at version {now.version}, not {seen}: somebody else changed it",
                    hint=f"It is now:\n{plan_text(now)}",
                    version=now.version,
                )
            return _with(meta, _PLAN, Plan(version=seen + 1, steps=steps))

        return plan_in(await self._edit(context, change))

    async def put_note(
        self, context: ToolContext, name: str, text: str, *, seen: int, append: bool
    ) -> Put:
        """Replace a note, or add to it, which needs no version: nothing is lost by it.

        An empty one is deleted.

        Raises:
            Overtaken: The note is not at version `seen`.
            LimitReached: It, or all of them, would be too long.
        """

        before = 0

        def change(meta: SessionMeta) -> SessionMeta:
            nonlocal before
            now = notes_in(meta)
            old = now.notes.get(name)
            before = there = 0 if old is None else old.version
            if not append and there != seen:
                raise Overtaken(
                    f"note {name!r} is at version {there}, not {seen}: somebody else wrote it",
                    hint="Read it with read_notes, then write what shall be there, or append.",
                    version=there,
                )
            joined = f"{old.text}\n{text}" if append and old is not None else text
            version = now.version + 1
            notes = {
                **now.notes,
                name: Note(text=joined, version=version, updated_at=self._clock()),
            }
            if not joined:
                del notes[name]
            _check_room(name, notes)
            return _with(meta, _NOTES, Notes(version=version, notes=notes))

        after = notes_in(await self._edit(context, change))
        return Put(note=after.notes.get(name), before=before)

    async def _record(self, context: ToolContext) -> SessionMeta:
        session_id = _session_of(context)
        try:
            return (await self._sessions.load(session_id, limit=0)).meta
        except UnknownId:
            if context.session_id is not None:
                raise
            return self._new(session_id, context)

    async def _edit(
        self, context: ToolContext, change: Callable[[SessionMeta], SessionMeta]
    ) -> SessionMeta:
        session_id = _session_of(context)
        try:
            return await self._sessions.edit(session_id, change)
        except UnknownId:
            if context.session_id is not None:
                raise
        new = self._new(session_id, context)
        change(new)  # a write that is refused makes no session
        try:
            await self._sessions.create(new)
        except InvalidInput:
            pass  # another call was first
        return await self._sessions.edit(session_id, change)

    def _new(self, session_id: SessionId, context: ToolContext) -> SessionMeta:
        return SessionMeta(
            session_id=session_id,
            created_at=self._clock(),
            title="Plan and notes of direct calls",
            caller=context.caller,
            workspace=str(context.workspace or ""),
        )


def plan_in(meta: SessionMeta) -> Plan:
    """The plan in a session's record; one of version 0 when it has none."""
    return _read(meta, _PLAN, Plan) or Plan()


def plan_text(plan: Plan) -> str:
    """`[x] read the code [>] write the test [ ] run it`, a line each."""
    marks = {"pending": "[ ]", "in_progress": "[>]", "completed": "[x]"}
    lines = [f"{marks[one.status]} {one.step}" for one in plan.steps]
    return "\n".join(lines) or "(no steps)"


def _session_of(context: ToolContext) -> SessionId:
    """An agent writes into its session; a client into one of its own for each workspace."""
    if context.session_id is not None:
        return context.session_id
    whose = f"{context.caller}\0{context.workspace or ''}"
    return SessionId(f"ses_{hashlib.sha256(whose.encode('utf-8', 'replace')).hexdigest()[:32]}")


def notes_in(meta: SessionMeta) -> Notes:
    return _read(meta, _NOTES, Notes) or Notes()


def _read(meta: SessionMeta, key: str, shape: type[T]) -> T | None:
    found = meta.extra.get(key)
    if found is None:
        return None
    try:
        return msgspec.convert(found, shape)
    except msgspec.ValidationError as error:
        raise StorageCorrupt(
            f"the {key} of session {meta.session_id!r} cannot be read: {error}",
            hint="It is in the session's record, under 'extra'.",
        ) from error


def _with(meta: SessionMeta, key: str, value: object) -> SessionMeta:
    return msgspec.structs.replace(meta, extra={**meta.extra, key: msgspec.to_builtins(value)})


def _check_room(name: str, notes: Mapping[str, Note]) -> None:
    size = len(notes[name].text) if name in notes else 0
    if size > MAX_NOTE_CHARS:
        raise LimitReached(
            f"note {name!r} would have {size:,} characters, at most {MAX_NOTE_CHARS:,} are kept",
            hint="Shorten it, begin another note, or write a file.",
        )
    total = sum(len(note.text) for note in notes.values())
    if len(notes) > MAX_NOTES or total > MAX_NOTES_CHARS:
        raise LimitReached(
            f"{len(notes)} notes with {total:,} characters would be more than the {MAX_NOTES} "
            f"notes and {MAX_NOTES_CHARS:,} characters of a session",
            hint="Delete one: write_note with an empty text.",
        )
