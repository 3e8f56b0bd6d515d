from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bamboo_mcp.control.paging import (
    cursor_of,
    page_before,
    page_token,
    seen_in,
    shortened,
    text_page,
)
from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.domain.ids import SubagentId, new_subagent_id


@given(st.text(alphabet="ab\nä🎋", max_size=200), st.integers(1, 50))
def test_the_pages_of_a_text_put_together_are_the_text(text: str, room: int) -> None:
    parts: list[str] = []
    offset: int | None = 0
    while offset is not None:
        part, offset = text_page(text, offset, room)
        assert len(part) <= room
        parts.append(part)
    assert "".join(parts) == text


def test_a_page_ends_with_a_line_where_one_ends() -> None:
    assert text_page("one\ntwo\nthree", 0, 9) == ("one\ntwo\n", 8)
    assert text_page("onetwothree", 0, 9) == ("onetwothr", 9)
    assert text_page("one\n", 0, 4) == ("one\n", None)


def test_an_offset_past_the_end_is_refused() -> None:
    assert text_page("one", 3, 9) == ("", None)
    with pytest.raises(InvalidInput, match="offset 4 is past the end: there are 3 characters"):
        text_page("one", 4, 9)


def test_a_cursor_gives_back_what_was_seen_of_those_asked_for() -> None:
    first, second, third = (new_subagent_id() for _ in range(3))
    cursor = cursor_of({first: 7, second: 123_456})
    assert seen_in(cursor, [second, third]) == {second: 123_456}
    assert seen_in("", [first]) == {}


@pytest.mark.parametrize(
    "forged", ["7", "c1.", "c1.!!!!", "c1.eyJh", "p1.MTIz", "c1.WzFd", "c1." + "A" * 50_000]
)
def test_what_is_no_cursor_is_refused_with_what_to_do(forged: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        seen_in(forged, [SubagentId("sub_x")])
    assert "cursor" in caught.value.message
    assert len(caught.value.message) < 120
    assert "leave it out" in caught.value.hint


def test_a_page_token_keeps_a_time_exactly() -> None:
    assert page_before(page_token(1_795_248_000.123456)) == 1_795_248_000.123456
    assert page_before("") is None
    with pytest.raises(InvalidInput, match="page"):
        page_before(cursor_of({}))


def test_a_shortened_text_says_how_much_is_missing() -> None:
    assert shortened("abc", 3) == "abc"
    assert shortened("abcdef", 2) == "ab… [4 more characters]"
