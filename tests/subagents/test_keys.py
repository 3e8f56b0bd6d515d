"""An idempotency key means one subagent for a day: in one process, in two, after a restart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import anyio
import pytest

from bamboo_mcp.domain.errors import InvalidInput, UnknownModel
from bamboo_mcp.domain.ids import LOCAL, SubagentId, Subject, new_owner_id
from bamboo_mcp.domain.messages import Message
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.domain.subagents import SubagentSpec
from bamboo_mcp.runs.memory_log import MemoryEventLog
from bamboo_mcp.sessions.memory import MemorySessionStore
from bamboo_mcp.subagents.keys import KEPT_S, asked, keyed_id
from bamboo_mcp.testing.harness import Harness, open_harness
from bamboo_mcp.testing.scripted import ScriptedProvider, scripted_models
from tests.subagents.gate import Gate
from tests.subagents.test_losses import on_disk


async def test_the_same_key_gives_the_first_subagent_whatever_has_become_of_it() -> None:
    async with open_harness(ScriptedProvider("done")) as harness:
        first = await harness.spawn("work", idempotency_key="k")
        again = await harness.spawn("work", idempotency_key="k")
        await harness.ended(first.subagent_id)
        ended = await harness.spawn("work", idempotency_key="k")
        assert again.subagent_id == ended.subagent_id == first.subagent_id
        assert (ended.run_id, ended.status) == (first.run_id, "completed")
        assert len(await harness.subagents.list_subagents(caller=LOCAL)) == 1


async def test_the_same_key_with_other_arguments_is_an_error_that_names_both() -> None:
    async with open_harness(ScriptedProvider("done")) as harness:
        first = await harness.spawn("work", idempotency_key="k")
        with pytest.raises(InvalidInput) as refused:
            await harness.spawn("other work", idempotency_key="k")
        assert "'k'" in refused.value.message
        assert first.subagent_id in refused.value.message
        assert len(await harness.subagents.list_subagents(caller=LOCAL)) == 1


async def test_keys_of_different_callers_and_different_keys_are_different_subagents() -> None:
    async with open_harness(ScriptedProvider("done")) as harness:
        ids = {
            (await harness.spawn("work", idempotency_key=key, caller=Subject(caller))).subagent_id
            for key in ("k", "l")
            for caller in ("a", "b")
        }
        assert len(ids) == 4


async def test_a_hundred_calls_at_once_start_one_subagent(tmp_path: Path) -> None:
    owner = new_owner_id()
    ids: set[SubagentId] = set()

    async def spawn(harness: Harness) -> None:
        ids.add((await harness.spawn("work", idempotency_key="k")).subagent_id)

    async with on_disk(
        tmp_path, ScriptedProvider("done"), Gate(), owner=owner, living={owner}
    ) as harness:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                for _ in range(100):
                    group.start_soon(spawn, harness)
        assert len(await harness.subagents.list_subagents(caller=LOCAL)) == 1
    assert len(ids) == 1


async def test_two_servers_on_one_home_start_one_subagent_and_so_does_the_next(
    tmp_path: Path,
) -> None:
    one, other = new_owner_id(), new_owner_id()
    living = {one, other}
    ids: list[SubagentId] = []

    async def spawn(harness: Harness) -> None:
        ids.append((await harness.spawn("work", idempotency_key="k")).subagent_id)

    provider = ScriptedProvider("done")
    async with (
        on_disk(tmp_path, provider, Gate(), owner=one, living=living) as first,
        on_disk(tmp_path, provider, Gate(), owner=other, living=living) as second,
    ):
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                for harness in (first, second) * 5:
                    group.start_soon(spawn, harness)
            await first.ended(ids[0])
            await second.ended(ids[0])
    later = new_owner_id()
    async with on_disk(tmp_path, provider, Gate(), owner=later, living={later}) as third:
        again = await third.spawn("work", idempotency_key="k")
        ids.append(again.subagent_id)
        assert again.outcome is not None
        assert again.outcome.text == "done"
        assert len(await third.subagents.list_subagents(caller=LOCAL)) == 1
    assert len(set(ids)) == 1


class Overtaken(MemorySessionStore):
    """A store in which somebody else makes a session just before the first one is made."""

    def __init__(self) -> None:
        super().__init__()
        self.before: list[Callable[[], Awaitable[object]]] = []

    async def create(self, meta: SessionMeta, messages: Sequence[Message] = ()) -> None:
        if self.before:
            await self.before.pop()()
        await super().create(meta, messages)


async def test_a_process_that_is_overtaken_takes_the_others_subagent_and_leaves_it_whole() -> None:
    store, log = Overtaken(), MemoryEventLog()
    provider = ScriptedProvider("done")
    one, other = new_owner_id(), new_owner_id()
    living = {one, other}.__contains__
    async with (
        open_harness(provider, sessions=store, log=log, owner=one, alive=living) as first,
        open_harness(provider, sessions=store, log=log, owner=other, alive=living) as second,
    ):
        born: list[SubagentId] = []

        async def overtake() -> None:
            born.append((await first.spawn("work", idempotency_key="k")).subagent_id)

        store.before.append(overtake)
        late = await second.spawn("work", idempotency_key="k")
        assert [late.subagent_id] == born
        assert (await second.ended(late.subagent_id)).text == "done"
        assert len(await second.subagents.list_subagents(caller=LOCAL)) == 1


async def test_a_spawn_that_failed_leaves_its_key_free() -> None:
    models = scripted_models(ScriptedProvider("done"), unknown=("gone",))
    async with open_harness(models) as harness:
        with pytest.raises(UnknownModel):
            await harness.spawn("work", model="x:gone", idempotency_key="k")
        assert (await harness.spawn("work", idempotency_key="k")).subagent_id


async def test_a_deleted_session_leaves_its_key_free() -> None:
    async with open_harness(ScriptedProvider("done", "done")) as harness:
        first = await harness.spawn("work", idempotency_key="k")
        await harness.ended(first.subagent_id)
        await harness.sessions.delete(first.session_id)
        again = await harness.spawn("other work", idempotency_key="k")
        assert again.run_id != first.run_id
        assert (await harness.ended(again.subagent_id)).text == "done"


def test_a_key_makes_another_id_each_day_and_no_two_callers_share_one() -> None:
    spec = SubagentSpec(task="t", caller=Subject("a"), idempotency_key="b")
    moved = SubagentSpec(task="t", caller=Subject("ab"), idempotency_key="")
    ids = {keyed_id(spec, 1), keyed_id(spec, 2), keyed_id(moved, 1)}
    assert len(ids) == 3
    assert all(len(one) == len("sub_") + 32 for one in ids)
    assert KEPT_S == 86_400
    assert asked(spec) != asked(moved)


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


async def test_a_key_is_kept_over_midnight_and_free_after_a_day() -> None:
    clock = Clock(100 * KEPT_S + 0.9 * KEPT_S)
    async with open_harness(ScriptedProvider("done"), clock=clock) as harness:
        first = await harness.spawn("work", idempotency_key="k")
        clock.now += 0.5 * KEPT_S
        assert (await harness.spawn("work", idempotency_key="k")).subagent_id == first.subagent_id
        clock.now = first.created_at + KEPT_S
        later = await harness.spawn("other work", idempotency_key="k")
        assert later.subagent_id != first.subagent_id
