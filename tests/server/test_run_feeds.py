from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bamboo_mcp.domain.events import EventRecord, TextDelta
from bamboo_mcp.domain.ids import RunId
from bamboo_mcp.server import run_feeds
from bamboo_mcp.server.run_feeds import BATCH_BYTES, BATCH_EVENTS, RunFeed, frame_of


def record(seq: int, text: str = "x") -> EventRecord:
    return EventRecord(run_id=RunId("run_1"), seq=seq, at=1.0, event=TextDelta(text=text))


def seqs(data: bytes) -> list[int]:
    return [int(line[4:]) for line in data.decode().splitlines() if line.startswith("id: ")]


def read(feed: RunFeed, after: int) -> list[int]:
    """All that a watcher that has seen `after` gets, batch by batch."""
    found: list[int] = []
    while (batch := feed.since(after)) is not None and batch[0]:
        found += seqs(batch[0])
        after = batch[1]
    return found


def test_a_frame_is_one_event_whatever_its_text() -> None:
    text = "a\n\ndata: b\r\n\r\nid: 9\u2028\0"
    lines = frame_of(record(7, text)).decode().split("\n")
    assert lines[0] == "id: 7"
    assert msgspec.json.decode(lines[1].removeprefix("data: "))["event"]["text"] == text
    assert lines[2:] == ["", ""]


def test_watchers_that_are_equally_far_get_the_same_bytes() -> None:
    feed = RunFeed(0)
    for seq in range(1, 1_000):
        feed.push(record(seq))
    first, second = feed.since(0), feed.since(0)
    assert first is not None and second is not None
    assert first[0] is second[0]
    assert seqs(first[0]) == list(range(1, BATCH_EVENTS + 1))
    assert read(feed, 0) == list(range(1, 1_000))


def test_a_batch_is_bounded_but_holds_an_event_that_is_larger() -> None:
    feed = RunFeed(0)
    for seq in range(1, 4):
        feed.push(record(seq, "x" * (BATCH_BYTES - 1_000)))
    feed.push(record(4, "x" * (2 * BATCH_BYTES)))
    feed.push(record(5))
    after, batches = 0, []
    while (batch := feed.since(after)) is not None and batch[0]:
        batches.append(seqs(batch[0]))
        after = batch[1]
    assert batches == [[1], [2], [3], [4], [5]]


def test_a_watcher_behind_what_is_kept_is_told_to_read_the_log() -> None:
    feed = RunFeed(5)
    assert feed.since(4) is None
    assert feed.since(5) == (b"", 5)


@pytest.mark.parametrize("text", ["x", "x" * 5_000])
def test_a_feed_keeps_no_more_than_its_bound(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_feeds, "KEPT_EVENTS", 100)
    monkeypatch.setattr(run_feeds, "KEPT_BYTES", 50_000)
    feed = RunFeed(0)
    for seq in range(1, 1_001):
        feed.push(record(seq, text))
        kept = feed.top - feed.base
        assert feed.top == seq
        assert kept <= 200
        assert kept * len(text) <= 120_000
    assert read(feed, feed.base) == list(range(feed.base + 1, 1_001))


@settings(max_examples=50, deadline=None)
@given(steps=st.lists(st.integers(1, 3), min_size=1, max_size=60), start=st.integers(0, 60))
def test_a_damaged_event_leaves_a_place_and_nothing_comes_twice(
    steps: list[int], start: int
) -> None:
    feed, seq, pushed = RunFeed(0), 0, []
    for step in steps:
        seq += step
        feed.push(record(seq))
        pushed.append(seq)
    assert read(feed, start) == [one for one in pushed if one > start]
