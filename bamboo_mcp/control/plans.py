"""A plan and notes as tools: update_plan, write_note, read_notes."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from bamboo_mcp.control.answers import Part
from bamboo_mcp.control.notebook import (
    MAX_NOTE_CHARS,
    MAX_STEP_CHARS,
    MAX_STEPS,
    Note,
    Notebook,
    Overtaken,
    Plan,
    PlanStep,
    StepStatus,
    plan_text,
)
from bamboo_mcp.control.paging import shortened, text_page
from bamboo_mcp.domain.errors import InvalidInput, RunClosed, UnknownId
from bamboo_mcp.domain.events import PlanUpdated
from bamboo_mcp.domain.redaction import redacted_text
from bamboo_mcp.ports import EventLog, SessionStore, ToolContext, ToolExecutor
from bamboo_mcp.tools.function import FunctionExecutor, tool, tools_of

if TYPE_CHECKING:
    from bamboo_mcp.contributions import Services

_SEEN_KEPT = 10_000
_FIRST_CHARS = 100
_PLAN_KEY = "plan"

NoteName = Annotated[str, Meta(description="Of the note.", min_length=1, max_length=80)]
Version = Annotated[
    int, Meta(description="The version you change; when not given, the last you were told.", ge=0)
]


class StepArgument(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    step: Annotated[
        str, Meta(description="What is to be done.", min_length=1, max_length=MAX_STEP_CHARS)
    ]
    status: StepStatus = "pending"


class PlanPart(Part, frozen=True, kw_only=True):
    version: int
    steps: list[StepArgument]
    completed: int

    def as_text(self) -> str:
        head = f"plan, version {self.version}: {self.completed} of {len(self.steps)} completed"
        return f"{head}\n{plan_text(Plan(version=self.version, steps=_steps(self.steps)))}"


class NoteLine(Part, frozen=True, kw_only=True):
    name: str
    version: int
    chars: int
    updated_at: float
    begins: str


class NotesPart(Part, frozen=True, kw_only=True):
    """`text` is of the note asked for, null when they are listed."""

    notes: list[NoteLine]
    text: str | None
    next_offset: int | None

    def as_text(self) -> str:
        if self.text is not None:
            (line,) = self.notes
            more = "" if self.next_offset is None else f", next_offset: {self.next_offset}"
            return f"note {line.name!r}, version {line.version}{more}\n{self.text}"
        lines = [
            f"{one.name!r}, version {one.version}, {one.chars} characters: {one.begins}"
            for one in self.notes
        ]
        return "\n".join(lines) or "No notes."


class Written(Part, frozen=True, kw_only=True):
    """`version` null: the note was deleted."""

    name: str
    version: int | None
    chars: int

    def as_text(self) -> str:
        if self.version is None:
            return f"note {self.name!r} is gone"
        return f"note {self.name!r} has {self.chars} characters, version {self.version}"


class PlanTools:
    """Writes go by the version the writer was last told, so that two do not undo each other."""

    def __init__(
        self, sessions: SessionStore, log: EventLog, *, max_result_chars: int = 40_000
    ) -> None:
        self._notebook = Notebook(sessions)
        self._log = log
        self._max_chars = max_result_chars
        self._seen: OrderedDict[tuple[str, ...], int] = OrderedDict()

    @tool(
        title="Update plan",
        effect="control",
        group="workspace",
        destructive=False,
        sequential=True,
    )
    async def update_plan(
        self,
        context: ToolContext,
        *,
        steps: Annotated[
            tuple[StepArgument, ...], Meta(description="All steps, in order.", max_length=MAX_STEPS)
        ]
        | None = None,
        version: Version | None = None,
    ) -> PlanPart:
        """Keep a plan of several steps, for yourself and for those who watch you.

        Use it when a task has three steps or more: write them down first, set one to in_progress
        when you begin it, to completed when it is done. Each call replaces the whole plan; without
        steps it only shows it. Not for one simple step, nor for facts to remember: write_note.

        Returns the plan and its version. If somebody else changed it meanwhile, nothing is written
        and the error shows it.

        Example: {"steps": [{"step": "find the cause", "status": "in_progress"},
        {"step": "write a test", "status": "pending"}]}
        """
        if steps is None:
            plan = await self._notebook.plan(context)
        else:
            _check_whole("steps", *(one.step for one in steps))
            wanted = _steps(steps)
            seen = self._version(context, _PLAN_KEY, version)
            try:
                plan = await self._notebook.set_plan(context, wanted, seen=seen)
            except Overtaken as error:
                self._told(context, _PLAN_KEY, error.version)
                raise
            self._tell(context, plan)
        self._told(context, _PLAN_KEY, plan.version)
        return plan_part(plan)

    @tool(
        title="Write note",
        effect="control",
        group="workspace",
        destructive=False,
        sequential=True,
    )
    async def write_note(
        self,
        context: ToolContext,
        *,
        name: NoteName,
        text: Annotated[
            str, Meta(description="The note; empty deletes it.", max_length=MAX_NOTE_CHARS)
        ],
        append: Annotated[bool, Meta(description="Add to what is there.")] = False,
        version: Version | None = None,
    ) -> Written:
        """Keep a note in your session, to find again when this conversation has grown long.

        For what you learned and will need: decisions, facts, where things are. It replaces the note
        of that name, or with append adds lines to it. Not for files of the project: write_file; not
        for steps: update_plan.

        Returns the note's version. If somebody else wrote it meanwhile, nothing is replaced and the
        error says so.

        Example: {"name": "decisions", "text": "keep the old API", "append": true}
        """
        _check_whole("text", name, text)
        if append and version is not None:
            raise InvalidInput(f"version {version} does not go with append, which replaces nothing")
        if append and not text:
            raise InvalidInput("text is empty, there is nothing to append")
        seen = self._version(context, _note_key(name), version)
        put = await self._notebook.put_note(context, name, text, seen=seen, append=append)
        version = None if put.note is None else put.note.version
        # Who appended to what somebody else wrote has not read that.
        if put.before == seen:
            self._told(context, _note_key(name), version or 0)
        return Written(name=name, version=version, chars=len(put.note.text) if put.note else 0)

    @tool(title="Read notes", effect="read", group="workspace")
    async def read_notes(
        self,
        context: ToolContext,
        *,
        name: Annotated[str, Meta(description="Only this one, whole.", max_length=80)] = "",
        offset: Annotated[int, Meta(description="Character to read on from.", ge=0)] = 0,
    ) -> NotesPart:
        """Read the notes of your session: one whole by its name, or a list of all of them.

        Use it when you begin to work in a session that was worked in before, and before you replace
        a note that somebody else may have written. Not for files: read_file.

        Returns for each its name, version, length and beginning, and text, the note itself, if you
        named one, with next_offset when there is more of it.

        Example: {"name": "decisions"}
        """
        notes = await self._notebook.notes(context)
        if not name:
            lines = [_line(one, note) for one, note in sorted(notes.items())]
            return NotesPart(notes=lines, text=None, next_offset=None)
        if name not in notes:
            known = ", ".join(sorted(notes)) or "none"
            raise UnknownId(f"there is no note {name!r}", hint=f"Notes: {known}.")
        text, following = text_page(notes[name].text, offset, self._max_chars)
        if following is None:
            self._told(context, _note_key(name), notes[name].version)
        return NotesPart(notes=[_line(name, notes[name])], text=text, next_offset=following)

    def _version(self, context: ToolContext, what: str, given: int | None) -> int:
        """The version the writer means: 0 when it was never told of one."""
        return self._seen.get(_key(context, what), 0) if given is None else given

    def _told(self, context: ToolContext, what: str, version: int) -> None:
        key = _key(context, what)
        self._seen[key] = version
        self._seen.move_to_end(key)
        if len(self._seen) > _SEEN_KEPT:
            self._seen.popitem(last=False)

    def _tell(self, context: ToolContext, plan: Plan) -> None:
        """Those who watch the run see its plan; a direct call has no run to watch."""
        if context.run_id is None:
            return
        steps = tuple((redacted_text(one.step), one.status) for one in plan.steps)
        with contextlib.suppress(RunClosed):
            self._log.append(context.run_id, PlanUpdated(version=plan.version, steps=steps))


def plan_part(plan: Plan) -> PlanPart:
    return PlanPart(
        version=plan.version,
        steps=[StepArgument(step=one.step, status=one.status) for one in plan.steps],
        completed=plan.completed,
    )


def tools(services: Services) -> ToolExecutor:
    """The hook's factory."""
    family = PlanTools(
        services.sessions,
        services.log,
        max_result_chars=services.settings.server.max_result_chars,
    )
    return FunctionExecutor(tools_of(family))


def _steps(steps: Sequence[StepArgument]) -> tuple[PlanStep, ...]:
    return tuple(PlanStep(step=one.step, status=one.status) for one in steps)


def _line(name: str, note: Note) -> NoteLine:
    first = note.text.strip().partition("\n")[0]
    return NoteLine(
        name=name,
        version=note.version,
        chars=len(note.text),
        updated_at=note.updated_at,
        begins=shortened(first, _FIRST_CHARS),
    )


def _note_key(name: str) -> str:
    return f"note {name}"


def _key(context: ToolContext, what: str) -> tuple[str, ...]:
    """What a run was told, the next one over the same session was not."""
    whose = (context.run_id or context.caller, context.session_id or str(context.workspace))
    return (*whose, what)


def _check_whole(field: str, *texts: str) -> None:
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidInput(f"{field!r} has half a character (a lone surrogate)") from None
