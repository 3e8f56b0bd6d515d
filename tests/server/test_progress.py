from __future__ import annotations

import anyio

from bamboo_mcp.domain.tools import Progress
from bamboo_mcp.server.progress import ProgressPump


async def test_only_the_newest_is_sent_when_a_client_cannot_keep_up() -> None:
    sent: list[str | None] = []
    room, last = anyio.Event(), anyio.Event()

    async def send(done: float, total: float | None, line: str | None) -> None:
        sent.append(line)
        if line == "999":
            last.set()
        await room.wait()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            pump = ProgressPump(group, send, every_s=0)
            pump.report(Progress(done=0, message="first"))
            await anyio.wait_all_tasks_blocked()
            for number in range(1_000):
                pump.report(Progress(done=number, message=str(number)))
            room.set()
            await last.wait()
            group.cancel_scope.cancel()
    assert sent == ["first", "999"]


async def test_values_only_grow_though_the_count_stands_still() -> None:
    sent: list[float] = []
    enough = anyio.Event()

    async def send(done: float, total: float | None, line: str | None) -> None:
        sent.append(done)
        if len(sent) == 4:
            enough.set()
        else:
            pump.report(Progress(done=(1, 1, 0, 5)[len(sent)]))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            pump = ProgressPump(group, send, every_s=0)
            pump.report(Progress(done=1))
            await enough.wait()
            group.cancel_scope.cancel()
    assert sent == sorted(set(sent))
    assert sent[0] == 1
    assert sent[-1] == 5


async def test_a_client_that_left_ends_the_sending_without_an_error() -> None:
    asked = anyio.Event()

    async def send(done: float, total: float | None, line: str | None) -> None:
        asked.set()
        raise anyio.ClosedResourceError

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            pump = ProgressPump(group, send, every_s=0)
            pump.report(Progress(done=1))
            await asked.wait()
        pump.report(Progress(done=2))  # the group is closed by now: still no error


async def test_a_long_message_is_cut() -> None:
    sent: list[str | None] = []
    done = anyio.Event()

    async def send(value: float, total: float | None, line: str | None) -> None:
        sent.append(line)
        done.set()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            ProgressPump(group, send).report(Progress(done=1, message="x " * 5_000))
            await done.wait()
            group.cancel_scope.cancel()
    assert sent[0] is not None
    assert len(sent[0]) <= 200
