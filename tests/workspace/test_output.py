from __future__ import annotations

import anyio
import pytest

from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.workspace.output import CommandOutput


def written(*chunks: bytes, limit: int = 1000, ended: bool = False) -> CommandOutput:
    output = CommandOutput(limit)
    for chunk in chunks:
        output.add(chunk)
    if ended:
        output.end()
    return output


def read_all(output: CommandOutput, limit: int) -> tuple[str, int]:
    """Everything by cursor, and how many bytes were stepped over."""
    text, skipped, offset = "", 0, 0
    while offset < output.total:
        page = output.page(offset, limit)
        assert page.end > offset
        text, skipped, offset = text + page.text, skipped + page.skipped, page.end
    return text, skipped


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7, 1000])
def test_read_by_cursor_in_any_pieces_the_whole_comes_out(limit: int) -> None:
    words = "eins\nzwei ü\n漢字 😀 end\n\nlast"
    output = written(*(words.encode()[i : i + 3] for i in range(0, 60, 3)), ended=True)
    assert output.total == len(words.encode())
    if limit >= 4:  # a smaller page cannot hold every character
        assert read_all(output, limit) == (words, 0)
    else:
        assert read_all(output, limit)[1] == 0


def test_a_page_ends_with_a_whole_line_if_that_is_most_of_it() -> None:
    output = written(b"first line\nsecond line\nthird", ended=True)
    assert output.page(0, 25).text == "first line\nsecond line\n"
    assert output.page(0, 14).text == "first line\n"
    assert output.page(0, 8).text == "first li"


def test_the_beginning_and_the_end_are_kept_and_what_is_missing_is_said() -> None:
    numbers = [f"{n}\n".encode() for n in range(100_000)]
    output = written(*numbers, limit=4000, ended=True)
    assert output.total == sum(map(len, numbers))
    text, skipped = read_all(output, 700)
    assert skipped == output.left_out == output.total - 4000
    assert text.startswith("0\n1\n2\n")
    assert text.endswith("99998\n99999\n")
    middle = output.page(output.total // 2, 100)
    assert middle.skipped > 0
    assert middle.start == output.total - 3000


def test_memory_stays_flat_while_it_grows() -> None:
    output = CommandOutput(4000)
    for _ in range(1000):
        output.add(b"x" * 1000)
        assert output.total - output.left_out <= 1000 + 2 * 3000
    output.end()
    assert output.total - output.left_out == 4000


def test_a_negative_offset_shows_the_end_in_whole_characters() -> None:
    output = written("äöü".encode() * 3, ended=True)
    page = output.page(-3, 100)
    assert (page.text, page.end, page.skipped) == ("ü", 18, 0)
    assert output.page(-1000, 100).text == "äöü" * 3


def test_half_a_character_waits_for_its_other_half_while_the_command_runs() -> None:
    output = written(b"a\xe6\xbc")
    page = output.page(0, 100)
    assert (page.text, page.end) == ("a", 1)
    output.add(b"\xa2")
    assert output.page(page.end, 100).text == "漢"
    output.add(b"\xe6")
    output.end()
    assert output.page(4, 100).text == "\ufffd"


def test_what_is_no_text_is_shown_as_such_and_still_moves_on() -> None:
    output = written(bytes(range(128, 256)) * 20, limit=900, ended=True)
    text, skipped = read_all(output, 100)
    assert set(text) <= {"\ufffd", *map(chr, range(128, 2048))}
    assert skipped >= output.left_out


def test_an_offset_past_the_end_is_refused_with_the_size() -> None:
    output = written(b"abc")
    assert output.page(3, 100).text == ""
    with pytest.raises(InvalidInput, match="3 bytes"):
        output.page(4, 100)


async def test_news_ends_when_something_came_and_it_pauses() -> None:
    output = written(b"old")
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(output.news, 3, 100, 60)
            await anyio.lowlevel.checkpoint()
            output.add(b"new")


async def test_news_ends_at_once_when_a_page_is_full_or_the_command_has_ended() -> None:
    output = written(b"x" * 200)
    with anyio.fail_after(5):
        await output.news(0, 100, 60)
        async with anyio.create_task_group() as group:
            group.start_soon(output.news, 200, 100, 60)
            group.start_soon(output.news, -50, 100, 60)
            await anyio.lowlevel.checkpoint()
            output.end()
        await output.news(200, 100, 60)


async def test_news_gives_up_when_its_time_is_over() -> None:
    with anyio.fail_after(5):
        await written().news(0, 100, 0.05)
