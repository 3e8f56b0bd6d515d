from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import jsonschema_rs
import msgspec
import pytest

from bamboo_mcp.control.notebook import MAX_NOTE_CHARS, MAX_STEPS, plan_in
from bamboo_mcp.control.plans import PlanTools
from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.domain.events import PlanUpdated, RunEnded
from bamboo_mcp.domain.ids import LOCAL, RunId, SessionId, Subject
from bamboo_mcp.domain.questions import Answer, Question
from bamboo_mcp.domain.runs import Outcome
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.domain.tools import ToolCall, ToolResult
from bamboo_mcp.ports import SessionStore, ToolContext
from bamboo_mcp.runs.memory_log import MemoryEventLog
from bamboo_mcp.sessions.index import SessionIndex
from bamboo_mcp.sessions.journal_store import JournalSessionStore
from bamboo_mcp.sessions.memory import MemorySessionStore
from bamboo_mcp.tools.function import FunctionExecutor, tools_of

SESSION = SessionId("ses_agent")
ONE = [{"step": "find the cause", "status": "in_progress"}, {"step": "write a test"}]


async def nobody(question: Question) -> Answer:
    raise AssertionError("a plan asks nobody")


class Writer:
    """A caller of the tools of one server."""

    def __init__(
        self,
        sessions: SessionStore,
        *,
        log: MemoryEventLog | None = None,
        session_id: SessionId | None = SESSION,
        caller: Subject = LOCAL,
        workspace: Path | None = None,
        max_result_chars: int = 40_000,
    ) -> None:
        self.log = log or MemoryEventLog()
        tools = PlanTools(sessions, self.log, max_result_chars=max_result_chars)
        self.tools = FunctionExecutor(tools_of(tools))
        self.context = ToolContext(
            caller=caller,
            mode="plan",
            ask=nobody,
            progress=lambda progress: None,
            workspace=workspace,
            session_id=session_id,
            run_id=RunId("run_1") if session_id else None,
        )

    async def result(self, tool: str, **arguments: Any) -> ToolResult:
        call = ToolCall(id="c", name=tool, arguments=arguments)
        return await self.tools.call_tool(call, self.context)

    async def call(self, tool: str, **arguments: Any) -> Any:
        result = await self.result(tool, **arguments)
        assert not result.is_error, result.text
        for spec in await self.tools.list_tools():
            if spec.name == tool:
                jsonschema_rs.validate(dict(spec.output_schema or {}), result.structured)
        return result.structured

    async def error(self, tool: str, **arguments: Any) -> Any:
        result = await self.result(tool, **arguments)
        assert result.is_error, result.text
        return msgspec.json.decode(result.text)["error"]


async def agents_session() -> MemorySessionStore:
    sessions = MemorySessionStore()
    await sessions.create(SessionMeta(session_id=SESSION, created_at=1.0))
    return sessions


@asynccontextmanager
async def on_disk(home: Path) -> AsyncIterator[JournalSessionStore]:
    with Journals("process") as journals:
        yield JournalSessionStore(home, journals, SessionIndex(home))


async def test_the_surface_is_short_has_examples_and_is_free_in_every_mode() -> None:
    specs = await Writer(MemorySessionStore()).tools.list_tools()
    assert [(spec.name, spec.effect) for spec in specs] == [
        ("update_plan", "control"),
        ("write_note", "control"),
        ("read_notes", "read"),
    ]
    for spec in specs:
        assert len(spec.description.split()) < 120, spec.name
        assert "Example: {" in spec.description
        assert "Returns" in spec.description
        assert spec.group == "workspace"
        assert not spec.annotations.destructive


async def test_a_plan_is_replaced_step_by_step_and_told_in_events() -> None:
    sessions = await agents_session()
    writer = Writer(sessions)
    assert (await writer.call("update_plan"))["version"] == 0
    made = await writer.call("update_plan", steps=ONE)
    assert made == {
        "version": 1,
        "completed": 0,
        "steps": [ONE[0], {"step": "write a test", "status": "pending"}],
    }
    done = await writer.call(
        "update_plan", steps=[{**ONE[0], "status": "completed"}, {**ONE[1]}, {"step": "merge"}]
    )
    assert (done["version"], done["completed"]) == (2, 1)
    assert await writer.call("update_plan") == done
    events = [record.event for record in await writer.log.read(RunId("run_1"))]
    assert [event.version for event in events if isinstance(event, PlanUpdated)] == [1, 2]
    assert isinstance(events[0], PlanUpdated)
    assert events[0].steps[0] == ("find the cause", "in_progress")
    kept = (await sessions.load(SESSION)).meta
    assert len(plan_in(kept).steps) == 3
    text = (await writer.result("update_plan")).text
    assert text.startswith("plan, version 2: 1 of 3 completed\n[x] find the cause\n[ ] write")


async def test_a_key_in_a_step_does_not_get_into_the_events() -> None:
    writer = Writer(await agents_session())
    key = "sk-ant-api03-" + "a" * 40
    await writer.call("update_plan", steps=[{"step": f"use {key}"}])
    (record,) = await writer.log.read(RunId("run_1"))
    assert key not in msgspec.json.encode(record).decode()


async def test_a_run_that_has_ended_still_keeps_its_plan() -> None:
    writer = Writer(await agents_session())
    writer.log.append(RunId("run_1"), RunEnded(outcome=Outcome(status="completed")))
    await writer.call("update_plan", steps=ONE)
    assert (await writer.call("update_plan"))["version"] == 1


async def test_two_writers_do_not_silently_overwrite_each_others_plan() -> None:
    sessions = await agents_session()
    one, two = Writer(sessions), Writer(sessions)
    await one.call("update_plan", steps=ONE)
    error = await two.error("update_plan", steps=[{"step": "mine"}])
    assert "version 1, not 0" in error["message"]
    assert "[>] find the cause" in error["hint"]
    # Told of it now, the second one may decide.
    assert (await two.call("update_plan", steps=[{"step": "mine"}]))["version"] == 2
    assert (await one.error("update_plan", steps=[], version=1))["code"] == "invalid_input"
    assert (await one.call("update_plan", steps=[], version=2))["steps"] == []


async def test_notes_are_written_added_to_listed_read_and_deleted() -> None:
    writer = Writer(await agents_session())
    assert (await writer.call("read_notes")) == {"notes": [], "text": None, "next_offset": None}
    await writer.call("write_note", name="facts", text="one\nmore")
    await writer.call("write_note", name="decisions", text="keep the API")
    added = await writer.call("write_note", name="facts", text="two", append=True)
    assert added["chars"] == len("one\nmore\ntwo")
    listed = await writer.call("read_notes")
    assert [(one["name"], one["begins"]) for one in listed["notes"]] == [
        ("decisions", "keep the API"),
        ("facts", "one"),
    ]
    assert (await writer.call("read_notes", name="facts"))["text"] == "one\nmore\ntwo"
    await writer.call("write_note", name="facts", text="anew")  # it knows what it replaces
    assert (await writer.call("write_note", name="facts", text=""))["version"] is None
    error = await writer.error("read_notes", name="facts")
    assert (error["code"], error["hint"]) == ("unknown_id", "Notes: decisions.")


async def test_two_writers_do_not_silently_overwrite_each_others_note() -> None:
    sessions = await agents_session()
    one, two = Writer(sessions), Writer(sessions)
    await one.call("write_note", name="n", text="ones")
    assert "somebody else" in (await two.error("write_note", name="n", text="twos"))["message"]
    await two.call("write_note", name="n", text="twos", append=True)
    # It has added and still not read what was there; nor has the first one read the addition.
    assert "version" in (await two.error("write_note", name="n", text="x"))["message"]
    assert "version" in (await one.error("write_note", name="n", text="x"))["message"]
    assert (await one.call("read_notes", name="n"))["text"] == "ones\ntwos"
    await one.call("write_note", name="n", text="both")
    # Deleted and made anew is not the note the second one had in mind.
    seen = (await two.call("read_notes", name="n"))["notes"][0]["version"]
    await one.call("write_note", name="n", text="")
    await one.call("write_note", name="n", text="another")
    assert "version" in (await two.error("write_note", name="n", text="x", version=seen))["message"]
    assert (await one.call("read_notes", name="n"))["text"] == "another"


async def test_many_adding_at_once_lose_nothing() -> None:
    sessions = await agents_session()
    writers = [Writer(sessions) for _ in range(5)]
    async with anyio.create_task_group() as group:
        for writer in writers:
            for number in range(20):

                async def add(writer: Writer = writer, number: int = number) -> None:
                    await writer.call("write_note", name="log", text=f"{number}", append=True)

                group.start_soon(add)
    text = (await writers[0].call("read_notes", name="log"))["text"]
    assert sorted(text.split("\n"), key=int) == sorted(map(str, [*range(20)] * 5), key=int)


@pytest.mark.parametrize(
    ("tool", "arguments", "named"),
    [
        ("update_plan", {"steps": [{"step": "x", "status": "done"}]}, "status"),
        ("update_plan", {"steps": [{"step": ""}]}, "step"),
        ("update_plan", {"steps": [{"step": "x" * 501}]}, "step"),
        ("update_plan", {"steps": [{"step": "x"}] * (MAX_STEPS + 1)}, "steps"),
        ("update_plan", {"steps": [{"step": "x", "note": "y"}]}, "note"),
        ("update_plan", {"steps": [{"step": "\ud800"}]}, "half a character"),
        ("write_note", {"name": "", "text": "x"}, "name"),
        ("write_note", {"name": "x" * 81, "text": "x"}, "name"),
        ("write_note", {"name": "n"}, "text"),
        ("write_note", {"name": "n", "text": "x" * (MAX_NOTE_CHARS + 1)}, "text"),
        ("write_note", {"name": "n", "text": "x", "append": True, "version": 1}, "version"),
        ("write_note", {"name": "n", "text": "", "append": True}, "text"),
        ("write_note", {"name": "n", "text": "\udfff"}, "half a character"),
        ("read_notes", {"offset": -1}, "offset"),
    ],
)
async def test_a_bad_argument_is_named_and_nothing_is_written(
    tool: str, arguments: dict[str, Any], named: str
) -> None:
    sessions = await agents_session()
    error = await Writer(sessions).error(tool, **arguments)
    assert named in error["message"]
    assert (await sessions.load(SESSION)).meta.extra == {}


async def test_a_session_keeps_only_so_many_notes() -> None:
    writer = Writer(await agents_session())
    for number in range(5):
        await writer.call("write_note", name=f"n{number}", text="x" * MAX_NOTE_CHARS)
    error = await writer.error("write_note", name="more", text="x")
    assert error["code"] == "limit_reached"
    assert "empty text" in error["hint"]
    too_long = await writer.error("write_note", name="n0", text="x", append=True)
    assert "20,002" in too_long["message"]
    await writer.call("write_note", name="n0", text="short")
    await writer.call("write_note", name="more", text="x")


async def test_a_long_note_is_read_in_pages_and_replaced_only_when_read_to_its_end() -> None:
    sessions = await agents_session()
    text = "".join(f"line {n}\n" for n in range(300))
    await Writer(sessions).call("write_note", name="n", text=text)
    writer = Writer(sessions, max_result_chars=1000)
    got, offset = "", 0
    while True:
        page = await writer.call("read_notes", name="n", offset=offset)
        got += page["text"]
        if page["next_offset"] is None:
            break
        await writer.error("write_note", name="n", text="x")
        offset = page["next_offset"]
    assert got == text
    await writer.call("write_note", name="n", text="x")


async def test_a_client_has_its_own_for_each_workspace_and_others_do_not_see_it(
    tmp_path: Path,
) -> None:
    sessions = MemorySessionStore()
    here, there = tmp_path / "here", tmp_path / "there"
    mine = Writer(sessions, session_id=None, workspace=here)
    await mine.call("update_plan", steps=ONE)
    await mine.call("write_note", name="n", text="mine")
    elsewhere = Writer(sessions, session_id=None, workspace=there)
    stranger = Writer(sessions, session_id=None, workspace=here, caller=Subject("other"))
    for other in (elsewhere, stranger):
        assert (await other.call("update_plan"))["version"] == 0
        assert (await other.call("read_notes"))["notes"] == []
    again = Writer(sessions, session_id=None, workspace=here)
    assert (await again.call("read_notes", name="n"))["text"] == "mine"
    assert len(await sessions.list_sessions()) == 1  # looking makes none


async def test_of_a_session_that_is_gone_nothing_is_made_up() -> None:
    writer = Writer(MemorySessionStore())
    for tool, arguments in (
        ("update_plan", {}),
        ("update_plan", {"steps": ONE}),
        ("write_note", {"name": "n", "text": "x"}),
        ("read_notes", {}),
    ):
        assert (await writer.error(tool, **arguments))["code"] == "unknown_id"


async def test_on_disk_it_survives_the_server_and_two_servers_keep_all(tmp_path: Path) -> None:
    async with on_disk(tmp_path) as first, on_disk(tmp_path) as second:
        await first.create(SessionMeta(session_id=SESSION, created_at=1.0))
        await Writer(first).call("update_plan", steps=ONE)
        async with anyio.create_task_group() as group:
            for number in range(20):
                writer = Writer((first, second)[number % 2])

                async def add(writer: Writer = writer, number: int = number) -> None:
                    await writer.call("write_note", name="n", text=str(number), append=True)

                group.start_soon(add)
    async with on_disk(tmp_path) as third:
        writer = Writer(third)
        text = (await writer.call("read_notes", name="n"))["text"]
        assert sorted(map(int, text.split())) == list(range(20))
        assert (await writer.call("update_plan"))["version"] == 1
        await third.delete(SESSION)
        assert (await writer.error("update_plan"))["code"] == "unknown_id"
    assert not (tmp_path / "sessions" / SESSION).exists()


async def test_a_plan_that_makes_no_sense_is_reported_and_not_overwritten() -> None:
    sessions = MemorySessionStore()
    broken = SessionMeta(session_id=SESSION, created_at=1.0, extra={"plan": {"steps": 7}})
    await sessions.create(broken)
    error = await Writer(sessions).error("update_plan", steps=ONE)
    assert error["code"] == "storage_corrupt"
    assert (await sessions.load(SESSION)).meta.extra == broken.extra
