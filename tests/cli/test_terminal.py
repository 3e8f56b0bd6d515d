from __future__ import annotations

import os
import sys

import anyio
import pytest

from bamboo_mcp.cli.plain_text import printable, short
from bamboo_mcp.cli.terminal import StandardInput

posix = pytest.mark.skipif(sys.platform == "win32", reason="a pseudo-terminal is POSIX's")


@posix
async def test_lines_come_as_they_are_typed_and_then_the_end() -> None:
    keyboard, terminal = os.openpty()
    lines = StandardInput(terminal)
    with anyio.fail_after(5):
        os.write(keyboard, b"yes\nno\n")
        assert await lines.read_line() == "yes"
        assert await lines.read_line() == "no"
        os.write(keyboard, b"\x04")
        assert await lines.read_line() is None
    os.close(keyboard)
    os.close(terminal)


@posix
async def test_waiting_for_a_line_can_be_cancelled_and_the_next_wait_gets_it() -> None:
    keyboard, terminal = os.openpty()
    lines = StandardInput(terminal)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(lines.read_line)
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        os.write(keyboard, b"late\n")
        assert await lines.read_line() == "late"
    os.close(keyboard)
    os.close(terminal)


@posix
async def test_a_terminal_that_goes_away_is_the_end() -> None:
    keyboard, terminal = os.openpty()
    os.close(keyboard)
    with anyio.fail_after(5):
        assert await StandardInput(terminal).read_line() is None
    os.close(terminal)


def test_text_is_printed_as_it_is_and_controls_are_written_out() -> None:
    assert printable("é 🎋\n\t") == "é 🎋\n\t"
    assert printable("\x1b[0m\x00\x7f\x9b") == "\\x1b[0m\\x00\\x7f\\x9b"


def test_short_is_the_first_line_cut() -> None:
    assert short("  one\ntwo", 10) == "one"
    assert short("x" * 20, 10) == "x" * 9 + "…"
