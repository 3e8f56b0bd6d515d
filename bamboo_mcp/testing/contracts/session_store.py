"""What every `SessionStore` promises, as checks to run over an implementation."""

from __future__ import annotations

from functools import partial

import anyio
import msgspec

from bamboo_mcp.domain.errors import InvalidInput, UnknownId
from bamboo_mcp.domain.ids import SessionId, SubagentId, new_session_id
from bamboo_mcp.domain.messages import (
    Message,
    ReasoningBlock,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
    user_message,
)
from bamboo_mcp.domain.sessions import SessionMeta, merged
from bamboo_mcp.domain.subagents import SubagentSpec
from bamboo_mcp.ports import SessionStore
from bamboo_mcp.testing.contracts import raising


def born(at: float = 1.0, *, title: str = "", subagent: str = "") -> SessionMeta:
    return SessionMeta(
        session_id=new_session_id(),
        created_at=at,
        title=title,
        subagent_id=SubagentId(subagent) if subagent else None,
    )


def texts(messages: object) -> list[str]:
    assert isinstance(messages, list | tuple)
    return [message.text for message in messages]


class SessionStoreContract:
    """Override `make`."""

    def make(self) -> SessionStore:
        raise NotImplementedError("return a new, empty session store")

    async def test_a_session_is_loaded_as_it_was_created(self) -> None:
        store = self.make()
        meta = msgspec.structs.replace(
            born(title="töst"), spec=SubagentSpec(task="x" * 100_000), extra={"a": [1, None]}
        )
        messages = (
            user_message("hello\n\u2028 ä"),
            Message(
                role="assistant",
                blocks=(
                    ReasoningBlock(text="hm", ext={"p": {"signature": "s"}}),
                    TextBlock(text=""),
                    ToolCallBlock(id="1", name="read_file", arguments_json='{"path": "a b"}'),
                ),
                origin="scripted:x",
                at=2.5,
            ),
            Message(
                role="user",
                blocks=(ToolResultBlock(call_id="1", content=(TextBlock(text="y" * 200_000),)),),
            ),
        )
        await store.create(meta, messages)
        loaded = await store.load(meta.session_id)
        assert loaded.meta == meta
        assert tuple(loaded.messages) == messages
        assert (loaded.offset, loaded.total) == (0, 3)

    async def test_an_id_is_taken_once(self) -> None:
        store, meta = self.make(), born(title="first")
        await store.create(meta)
        with raising(InvalidInput):
            await store.create(msgspec.structs.replace(meta, title="second"))
        assert (await store.load(meta.session_id)).meta.title == "first"

    async def test_an_unknown_session_is_said_to_be_unknown_by_everything(self) -> None:
        store = self.make()
        for unknown in (new_session_id(), SessionId("../../etc"), SessionId("")):
            with raising(UnknownId):
                await store.load(unknown)
            with raising(UnknownId):
                await store.edit(unknown, lambda meta: meta)
            with raising(UnknownId):
                await store.delete(unknown)
            with raising(UnknownId):
                async with store.open(unknown):
                    raise AssertionError("it opened")

    async def test_windows_of_messages_from_both_ends(self) -> None:
        store, meta = self.make(), born()
        await store.create(meta, [user_message(str(n)) for n in range(10)])

        async def window(offset: int, limit: int | None = None) -> tuple[list[str], int, int]:
            page = await store.load(meta.session_id, offset=offset, limit=limit)
            return texts(page.messages), page.offset, page.total

        assert await window(7) == (["7", "8", "9"], 7, 10)
        assert await window(2, 3) == (["2", "3", "4"], 2, 10)
        assert await window(-3) == (["7", "8", "9"], 7, 10)
        assert await window(-5, 2) == (["5", "6"], 5, 10)
        assert await window(-50, 1) == (["0"], 0, 10)
        assert await window(0, 0) == ([], 0, 10)
        assert await window(10) == ([], 10, 10)
        assert await window(99) == ([], 10, 10)

    async def test_an_open_session_grows_by_what_is_appended(self) -> None:
        store, meta = self.make(), born()
        await store.create(meta, [user_message("0")])
        async with store.open(meta.session_id) as writer:
            assert writer.meta == meta
            messages = writer.messages
            writer.append(user_message("1"))
            assert texts(messages) == ["0", "1"], "the same list, not a copy"
            assert texts((await store.load(meta.session_id)).messages) == ["0", "1"]
            await writer.flush()

    async def test_writers_of_one_session_lose_nothing_of_each_other(self) -> None:
        store, meta = self.make(), born()
        await store.create(meta)
        async with store.open(meta.session_id) as one, store.open(meta.session_id) as other:
            for n in range(10):
                (one, other)[n % 2].append(user_message(str(n)))
            assert texts(other.messages) == [str(n) for n in range(10)]
        assert texts((await store.load(meta.session_id)).messages) == [str(n) for n in range(10)]

    async def test_what_somebody_appends_during_a_run_stays_and_never_parts_a_call_from_its_answer(
        self,
    ) -> None:
        store, meta = self.make(), born()
        await store.create(meta, [user_message("task")])
        call = ToolCallBlock(id="1", name="read_file")
        answer = ToolResultBlock(call_id="1", content=(TextBlock(text="content"),))
        async with store.open(meta.session_id) as run, store.open(meta.session_id) as person:
            run.append(Message(role="assistant", blocks=(call,)))
            person.append(user_message("also this"))
            run.append(Message(role="user", blocks=(answer,)))
            run.append(Message(role="assistant", blocks=(TextBlock(text="done"),)))
            seen = list(run.messages)
        kinds = [type(message.blocks[0]) for message in seen]
        assert kinds == [TextBlock, ToolCallBlock, ToolResultBlock, TextBlock, TextBlock]
        assert [message.text for message in seen] == ["task", "", "", "also this", "done"]
        async with store.open(meta.session_id) as later:
            assert list(later.messages) == seen, "the next run has the same history"
        assert (await store.load(meta.session_id)).total == 5

    async def test_a_run_saves_its_copy_without_undoing_what_people_edited(self) -> None:
        store = self.make()
        meta = msgspec.structs.replace(born(title="old"), extra={"a": 1, "b": 1, "gone": 1})
        await store.create(meta)
        async with store.open(meta.session_id) as run:
            read = run.meta
        await store.edit(
            meta.session_id,
            lambda latest: msgspec.structs.replace(
                latest.retitled("by a person"), pinned=True, extra={"a": 2, "b": 1, "gone": 1}
            ),
        )
        copy = msgspec.structs.replace(
            read, title="by the run", model="m:1", extra={"a": 3, "b": 3, "c": 3}
        )
        change = partial(merged, mine=copy, base=read)
        saved = await store.edit(meta.session_id, change)
        assert (saved.title, saved.title_version, saved.pinned) == ("by a person", 1, True)
        assert (saved.model, saved.version) == ("m:1", 2)
        assert saved.extra == {"a": 2, "b": 3, "c": 3}
        assert (await store.load(meta.session_id)).meta == saved

    async def test_an_edit_changes_the_record_and_raises_its_version(self) -> None:
        store, meta = self.make(), born(title="old")
        await store.create(meta, [user_message("kept")])
        replaced = await store.edit(
            meta.session_id, lambda latest: msgspec.structs.replace(latest, title="new")
        )
        loaded = await store.load(meta.session_id)
        assert loaded.meta == replaced
        assert (replaced.title, replaced.version) == ("new", meta.version + 1)
        assert texts(loaded.messages) == ["kept"]

    async def test_an_edit_that_fails_changes_nothing(self) -> None:
        store, meta = self.make(), born(title="old")
        await store.create(meta)

        def change(latest: SessionMeta) -> SessionMeta:
            raise ZeroDivisionError

        with raising(ZeroDivisionError):
            await store.edit(meta.session_id, change)
        with raising(InvalidInput):
            await store.edit(
                meta.session_id,
                lambda latest: msgspec.structs.replace(latest, session_id=new_session_id()),
            )
        assert (await store.load(meta.session_id)).meta == meta

    async def test_200_edits_at_once_lose_none(self) -> None:
        store, meta = self.make(), born()
        await store.create(meta)

        async def edit(n: int) -> None:
            await store.edit(
                meta.session_id,
                lambda latest: msgspec.structs.replace(latest, extra={**latest.extra, str(n): n}),
            )

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                for n in range(200):
                    group.start_soon(edit, n)
        latest = (await store.load(meta.session_id)).meta
        assert latest.version == 200
        assert latest.extra == {str(n): n for n in range(200)}

    async def test_the_list_is_newest_first_and_pages(self) -> None:
        store = self.make()
        metas = [born(float(n), subagent="sub" if n % 2 else "") for n in (3, 1, 4, 0, 2)]
        for meta in metas:
            await store.create(meta)
        by_age = sorted(metas, key=lambda meta: -meta.created_at)
        assert list(await store.list_sessions()) == by_age
        assert list(await store.list_sessions(limit=2)) == by_age[:2]
        assert list(await store.list_sessions(limit=2, before=3.0)) == by_age[2:4]
        assert list(await store.list_sessions(subagents_only=True)) == [
            meta for meta in by_age if meta.subagent_id
        ]
        assert list(await store.list_sessions(limit=0)) == []

    async def test_the_list_shows_edits_and_long_records_in_full(self) -> None:
        store = self.make()
        meta = msgspec.structs.replace(
            born(), spec=SubagentSpec(task="t" * 50_000), extra={"note": "n" * 9000}
        )
        await store.create(meta)
        assert list(await store.list_sessions()) == [meta]
        edited = await store.edit(
            meta.session_id, lambda latest: msgspec.structs.replace(latest, pinned=True)
        )
        assert list(await store.list_sessions()) == [edited]

    async def test_words_are_found_in_titles_and_messages_wherever_they_are(self) -> None:
        store = self.make()
        plan = born(1.0, title="Plan of the Café")
        await store.create(plan, [user_message("flour"), user_message("and two eggs, beaten")])
        other = born(2.0, title="eggs")
        await store.create(other, [user_message("nothing else")])

        async def found(query: str) -> list[SessionMeta]:
            return [hit.meta for hit in (await store.search(query)).hits]

        assert await found("flour") == [plan]
        assert await found("FLOUR Beaten") == [plan], "in two messages, and in any case"
        assert await found("cafe") == [plan], "without the accent"
        assert await found("caf") == [plan], "as a beginning"
        assert await found("lour") == [], "not in the middle"
        assert await found('"two eggs"') == [plan]
        assert await found('"eggs two"') == []
        assert await found("eggs") == [other, plan], "a title says more than a message"
        assert await found("eggs -plan") == [plan], "no sign has a meaning of its own"
        assert await found("flour absent") == []
        for hit in (await store.search("eggs")).hits:
            assert "eggs" in hit.excerpt
        assert [hit.position for hit in (await store.search("eggs")).hits] == [None, 1]

    async def test_what_is_new_is_found_at_once_and_what_is_gone_is_not(self) -> None:
        store, meta = self.make(), born(title="first")
        await store.create(meta, [user_message("alpha")])

        async def found(query: str) -> bool:
            page = await store.search(query)
            assert page.unread == 0
            return bool(page.hits)

        assert await found("alpha")
        assert not await found("beta")
        async with store.open(meta.session_id) as writer:
            writer.append(user_message("beta"))
            assert await found("beta")
        await store.edit(meta.session_id, lambda latest: latest.retitled("second"))
        assert await found("second")
        assert not await found("first")
        await store.delete(meta.session_id)
        for word in ("alpha", "beta", "second"):
            assert not await found(word)

    async def test_a_script_without_spaces_is_searched_by_its_characters(self) -> None:
        store, meta = self.make(), born(title="会議の記録")
        await store.create(meta, [user_message("東京の天気を調べる")])
        assert (await store.search("天気")).hits[0].meta == meta
        assert (await store.search("天気")).hits[0].excerpt == "東京の天気を調べる"
        assert (await store.search("記録 東京")).hits[0].meta == meta
        assert not (await store.search("気天")).hits

    async def test_a_query_without_a_word_is_refused(self) -> None:
        store = self.make()
        await store.create(born(title="x"))
        for query in ("", "  ", "***", '""', "-"):
            with raising(InvalidInput):
                await store.search(query)
        assert not (await store.search('AND OR NOT "un"closed NEAR(')).hits

    async def test_hits_page_by_offset(self) -> None:
        store = self.make()
        for n in range(5):
            await store.create(born(float(n), title=f"needle {n}"))
        whole = [hit.meta for hit in (await store.search("needle")).hits]
        assert len(whole) == 5
        pages = [
            hit.meta
            for offset in (0, 2, 4, 6)
            for hit in (await store.search("needle", limit=2, offset=offset)).hits
        ]
        assert pages == whole

    async def test_a_deleted_session_is_gone(self) -> None:
        store, meta, other = self.make(), born(), born()
        await store.create(meta, [user_message("x")])
        await store.create(other)
        await store.edit(meta.session_id, lambda latest: latest)
        await store.delete(meta.session_id)
        with raising(UnknownId):
            await store.load(meta.session_id)
        with raising(UnknownId):
            await store.delete(meta.session_id)
        assert list(await store.list_sessions()) == [other]

    async def test_a_writer_whose_session_was_deleted_says_so(self) -> None:
        store, meta = self.make(), born()
        await store.create(meta)
        async with store.open(meta.session_id) as writer:
            await store.delete(meta.session_id)
            with raising(UnknownId):
                writer.append(user_message("into the void"))
