from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import anyio
import msgspec
import pytest

from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.messages import (
    Message,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
    user_message,
)
from bamboo_mcp.domain.sessions import SessionMeta, merged, place
from bamboo_mcp.sessions.index import SessionIndex
from bamboo_mcp.sessions.journal_store import JournalSessionStore
from bamboo_mcp.testing.harness import open_harness
from bamboo_mcp.testing.scripted import Call, ScriptedProvider, Step
from tests.cli.small_app import Desk

BASE = SessionMeta(session_id=SessionId("s"), created_at=1.0, title="t", extra={"k": 1, "old": 1})

APPENDER = """
import sys
from pathlib import Path
import anyio
from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.sessions.index import SessionIndex
from bamboo_mcp.sessions.journal_store import JournalSessionStore

async def main(home, session_id):
    with Journals("process") as journals:
        store = JournalSessionStore(home, journals, SessionIndex(home))
        async with store.open(session_id) as writer:
            writer.append(user_message("from another process"))
        await store.edit(session_id, lambda meta: meta.retitled("by another process"))

anyio.run(main, Path(sys.argv[1]), SessionId(sys.argv[2]))
"""

EDITOR = """
import sys
from pathlib import Path
import anyio, msgspec
from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.sessions.index import SessionIndex
from bamboo_mcp.sessions.journal_store import JournalSessionStore

async def main(home, me):
    with Journals("process") as journals:
        store = JournalSessionStore(home, journals, SessionIndex(home))

        def change(n, meta):
            return msgspec.structs.replace(
                meta, extra={**meta.extra, "list": [*meta.extra.get("list", []), f"{me}{n}"]}
            )

        async def edit(n):
            await store.edit(SessionId("shared"), lambda meta: change(n, meta))

        async with anyio.create_task_group() as group:
            for n in range(100):
                group.start_soon(edit, n)

anyio.run(main, Path(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.timeout(60)
async def test_200_edits_at_once_from_two_processes_are_200_entries(tmp_path: Path) -> None:
    with Journals("process") as journals:
        store = JournalSessionStore(tmp_path, journals, SessionIndex(tmp_path))
        await store.create(SessionMeta(session_id=SessionId("shared"), created_at=1.0))

        async def run(name: str) -> None:
            await anyio.run_process(
                [sys.executable, "-c", EDITOR, str(tmp_path), name], stderr=None
            )

        async with anyio.create_task_group() as group:
            group.start_soon(run, "p")
            group.start_soon(run, "q")
        meta = (await store.load(SessionId("shared"))).meta
        assert sorted(meta.extra["list"]) == sorted(f"{me}{n}" for me in "pq" for n in range(100))
        assert meta.version == 200


@pytest.mark.timeout(60)
async def test_what_another_process_says_during_a_run_is_kept_and_read_by_the_next_round(
    tmp_path: Path,
) -> None:
    desk = Desk()
    provider = ScriptedProvider(Step(calls=(Call(name="cling"),)), "done")
    with Journals("turn") as journals:
        store = JournalSessionStore(tmp_path, journals, SessionIndex(tmp_path))
        async with open_harness(provider, tools=desk.tools, sessions=store) as harness:
            child = await harness.spawn("the task", title="mine")
            with anyio.fail_after(20):
                await desk.working.wait()
                command = [sys.executable, "-c", APPENDER, str(tmp_path), child.session_id]
                await anyio.run_process(command, stderr=None)
            desk.let_go.set()
            assert (await harness.ended(child.subagent_id)).text == "done"
        read = provider.requests[1].messages
        kinds = [type(message.blocks[0]).__name__ for message in read]
        assert kinds == ["TextBlock", "ToolCallBlock", "ToolResultBlock", "TextBlock"]
        assert read[3].text == "from another process"
        session = await store.load(child.session_id)
        assert session.meta.title == "by another process"
        assert session.meta.title_version == 1
        async with store.open(child.session_id) as again:
            words = [message.text for message in again.messages]
        assert words == ["the task", "", "", "from another process", "done"]


def test_each_side_keeps_what_only_it_changed() -> None:
    latest = msgspec.structs.replace(BASE, version=3, pinned=True, extra={"k": 1, "old": 1, "x": 2})
    mine = msgspec.structs.replace(BASE, model="m", workspace="w", extra={"k": 5, "y": 3})
    saved = merged(latest, mine, base=BASE)
    assert (saved.pinned, saved.model, saved.workspace) == (True, "m", "w")
    assert saved.extra == {"k": 5, "x": 2, "y": 3}
    assert saved.version == 3, "counting it up is the store's"


def test_what_both_changed_stays_as_others_have_it() -> None:
    latest = msgspec.structs.replace(BASE, version=1, model="theirs", extra={"k": 7})
    mine = msgspec.structs.replace(BASE, model="mine", extra={"k": 8, "old": 9})
    saved = merged(latest, mine, base=BASE)
    assert (saved.model, saved.extra) == ("theirs", {"k": 7})


@pytest.mark.parametrize(
    ("theirs", "mine", "wins"),
    [(0, 0, "t"), (1, 0, "theirs"), (1, 1, "theirs"), (1, 2, "mine"), (0, 1, "mine")],
)
def test_of_two_titles_that_of_the_higher_version_wins(theirs: int, mine: int, wins: str) -> None:
    latest, copy = BASE, BASE
    for _ in range(theirs):
        latest = latest.retitled("theirs")
    for _ in range(mine):
        copy = copy.retitled("mine")
    saved = merged(latest, copy, base=BASE)
    assert saved.title == wins
    assert saved.title_version == max(theirs, mine)


def test_a_copy_that_is_as_it_was_read_changes_nothing() -> None:
    latest = msgspec.structs.replace(BASE.retitled("new"), pinned=True, extra={}, updated_at=9.0)
    assert merged(latest, BASE, base=BASE) == latest
    assert partial(merged, mine=BASE, base=BASE)(latest) == latest


def calls(*ids: str) -> Message:
    blocks = tuple(ToolCallBlock(id=one, name="look") for one in ids)
    return Message(role="assistant", blocks=blocks)


def answers(*ids: str) -> Message:
    blocks = tuple(ToolResultBlock(call_id=one, content=(TextBlock(text="x"),)) for one in ids)
    return Message(role="user", blocks=blocks)


def placed(*messages: Message) -> list[Message]:
    found: list[Message] = []
    for message in messages:
        place(found, message)
    return found


def test_answers_stand_behind_their_calls_whoever_spoke_in_between() -> None:
    a, b, said, more = calls("1"), answers("1"), user_message("also"), user_message("and this")
    assert placed(a, said, more, b) == [a, b, said, more]
    assert placed(a, b, said) == [a, b, said]
    later, answer = calls("2"), answers("2")
    assert placed(a, said, b, later, more, answer) == [a, b, said, later, answer, more]


def test_answers_to_no_call_at_hand_stay_where_they_are() -> None:
    said = user_message("also")
    for stray in (
        [said, answers("1")],
        [calls("1"), answers("1"), said, answers("1")],
        [calls("1"), answers("1"), Message(role="assistant", blocks=()), said, answers("1")],
        [answers("1")],
    ):
        assert placed(*stray) == stray
