"""What a service says of when to come back, in the forms such headers have."""

from __future__ import annotations

import pytest

from bamboo_mcp.providers.faults import retry_after

NOW = 1_792_566_000.0  # Wed, 21 Oct 2026 07:00:00 GMT


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after-ms": "", "retry-after": "7"}, 7.0),
        ({"retry-after-ms": "inf", "retry-after": "7"}, 7.0),
        ({"retry-after-ms": "nan", "retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "-20", "retry-after": "7"}, 7.0),
        ({"retry-after-ms": "x", "retry-after": "Wed, 21 Oct 2026 07:00:30 GMT"}, 30.0),
        ({"retry-after-ms": "x"}, None),
    ],
)
def test_an_unreadable_number_of_milliseconds_hides_no_readable_seconds(
    headers: dict[str, str], expected: float | None
) -> None:
    assert retry_after(headers, NOW) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("12", 12.0),
        (" 7 ", 7.0),
        ("Wed, 21 Oct 2026 07:01:00 GMT", 60.0),
        ("Wed, 21 Oct 2026 09:01:00 +0200", 60.0),
        ("Wed, 21 Oct 2026 07:01:00", 60.0),
        ("Wed, 21 Oct 2026 06:00:00 GMT", 0.0),
        ("Mon, 01 Jan 0001 00:00:00 -0000", 0.0),
        ("", None),
        ("12s", None),
        ("²", None),
        ("inf", None),
        ("-3", None),
        ("tomorrow", None),
    ],
)
def test_seconds_and_dates_are_read_and_anything_else_is_as_if_unsaid(
    said: str, expected: float | None
) -> None:
    assert retry_after({"retry-after": said}, NOW) == expected
