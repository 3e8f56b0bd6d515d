from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import pytest

from bamboo_mcp.server.wire import LineReader, LineWriter


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """Like the client's pipe it is not closed in the end: a daemon thread may still be writing, and
    would go on in whatever has the number then."""
    yield os.pipe()


async def lines_of(*chunks: bytes) -> list[str]:
    with pipe() as (reading, writing), anyio.fail_after(5):
        reader = LineReader(reading)
        for chunk in chunks:
            await anyio.to_thread.run_sync(os.write, writing, chunk)
        os.close(writing)
        return [line async for line in reader]


async def test_lines_come_whole_however_they_were_cut_on_the_way() -> None:
    assert await lines_of(b"on", b"e\ntw", b"o\nthree\n") == ["one", "two", "three"]


async def test_a_last_line_without_its_end_is_a_line() -> None:
    assert await lines_of(b"one\ntwo") == ["one", "two"]


async def test_a_character_cut_in_two_is_one_character() -> None:
    assert await lines_of(b"\xc3", b"\xa4\n", b"\xff\n") == ["ä", "\ufffd"]


async def test_nothing_at_all_is_the_end() -> None:
    assert await lines_of() == []


async def test_a_line_of_many_megabytes_comes_whole() -> None:
    size = 8_000_000
    with pipe() as (reading, writing), anyio.fail_after(10):
        reader = LineReader(reading)

        def write() -> None:
            data = memoryview(b"x" * size + b"\n")
            while data:
                data = data[os.write(writing, data) :]
            os.close(writing)

        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, write)
            assert [len(line) async for line in reader] == [size]


async def test_waiting_for_a_line_can_be_cancelled_and_taken_up_again() -> None:
    with pipe() as (reading, writing), anyio.fail_after(5):
        reader = LineReader(reading)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(reader.__anext__)
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        os.write(writing, b"after\n")
        assert await anext(reader) == "after"


async def test_what_is_written_arrives_in_order() -> None:
    with pipe() as (reading, writing), anyio.fail_after(5):
        writer = LineWriter(writing, on_broken=lambda: None)
        await writer.write("one\n")
        await writer.write("zwei ä\n")
        await writer.flush()
        assert os.read(reading, 100).decode() == "one\nzwei ä\n"
        writer.close()


async def test_a_reader_that_is_gone_is_told_once_and_ends_the_writing() -> None:
    told: list[str] = []
    with pipe() as (reading, writing), anyio.fail_after(5):
        os.close(reading)
        writer = LineWriter(writing, on_broken=lambda: told.append("gone"))
        for _ in range(2):
            with pytest.raises(anyio.ClosedResourceError):
                await writer.write("to nobody\n")
        writer.close()
    assert told == ["gone"]


async def test_a_client_that_does_not_read_holds_the_writer_but_not_its_cancellation() -> None:
    with pipe() as (reading, writing), anyio.fail_after(5):
        writer = LineWriter(writing, on_broken=lambda: None)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(writer.write, "x" * 1_000_000)
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught
        os.close(reading)  # lets the writing thread go
        writer.close()
