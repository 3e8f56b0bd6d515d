import os
from pathlib import Path

import pytest

from bamboo_mcp.disk.lines import Scanner, find, frame, last_line, salvage, unframe


def written(path: Path, data: bytes) -> tuple[int, int]:
    path.write_bytes(data)
    return os.open(path, os.O_RDONLY), len(data)


def test_a_line_is_read_back() -> None:
    assert unframe(frame(17, b'{"a":1}')[:-1]) == (17, b'{"a":1}')
    assert unframe(frame(0, b"")[:-1]) == (0, b"")


def test_any_flipped_bit_in_a_line_is_noticed() -> None:
    line = frame(42, b'{"text":"abc"}')[:-1]
    for at in range(len(line)):
        for bit in range(8):
            damaged = bytearray(line)
            damaged[at] ^= 1 << bit
            assert unframe(bytes(damaged)) is None, (at, bit)


@pytest.mark.parametrize(
    "line",
    [b"", b" ", b"00000000", b"00000000 ", b"00000000 1 {}", b"\x00" * 100, b"zzzzzzzz 1 {}"],
)
def test_what_is_no_line_is_none(line: bytes) -> None:
    assert unframe(line) is None


def test_two_records_glued_by_a_flipped_newline_are_both_saved() -> None:
    glued = frame(5, b'{"a":1}')[:-1] + b"\x8a" + frame(6, b'{"b":2}')[:-1]
    assert salvage(glued, 5) == [(5, b'{"a":1}'), (6, b'{"b":2}')]


def test_text_that_looks_like_a_record_is_none() -> None:
    forged = frame(6, b'{"forged":true}')[:-1]
    line = frame(5, b'{"text":"' + forged + b'"}')[:-1]
    assert unframe(line) is not None
    assert salvage(line, 5)[0].seq == 5


def test_the_last_good_line_is_found_behind_any_rubbish(tmp_path: Path) -> None:
    good = b"".join(frame(n, b'"%b"' % (b"x" * 5000)) for n in range(20))
    for rubbish in (b"", b"half a line", b"\x00" * 100_000, b"bad\nbad\n" * 5000, b"\n"):
        fd, size = written(tmp_path / "file", good + rubbish)
        tail = last_line(fd, size)
        os.close(fd)
        assert tail is not None
        assert (tail.seq, tail.end) == (19, len(good))


def test_a_last_line_longer_than_every_block_is_found(tmp_path: Path) -> None:
    data = frame(0, b"{}") + frame(1, b'"' + b"x" * 3_000_000 + b'"')
    fd, size = written(tmp_path / "file", data)
    tail = last_line(fd, size)
    os.close(fd)
    assert tail is not None and tail.seq == 1 and tail.end == size


def test_a_file_without_any_line_has_no_last_one(tmp_path: Path) -> None:
    for data in (b"", b"\n", b"x" * 50_000, b"\n" * 1000):
        fd, size = written(tmp_path / "file", data)
        assert last_line(fd, size) is None
        os.close(fd)


def test_any_record_is_found_without_reading_what_lies_before(tmp_path: Path) -> None:
    data = b"".join(frame(n, b'"%b"' % (b"x" * (n % 7) * 1000)) for n in range(1000))
    fd, size = written(tmp_path / "file", data)
    for after in (0, 1, 17, 500, 998, 999, 5000):
        offset, expected = find(fd, size, after)
        assert expected <= after + 1
        records = Scanner(fd, "file", start=offset, expected=expected).run(size).records
        assert [r.seq for r in records if r.seq > after] == list(range(after + 1, 1000))
    os.close(fd)


def test_records_are_found_in_a_file_with_a_damaged_stretch(tmp_path: Path) -> None:
    lines = [frame(n, b'"%b"' % (b"x" * 500)) for n in range(1000)]
    lines[300:700] = [b"#" * 499 + b"\n"] * 400
    fd, size = written(tmp_path / "file", b"".join(lines))
    for after in (0, 250, 299, 500, 699, 900):
        offset, expected = find(fd, size, after)
        records = Scanner(fd, "file", start=offset, expected=expected).run(size).records
        wanted = [n for n in range(after + 1, 1000) if not 300 <= n < 700]
        assert [r.seq for r in records if r.seq > after] == wanted
    os.close(fd)


def test_missing_and_repeated_records_are_reported(tmp_path: Path) -> None:
    data = b"".join(frame(n, b"{}") for n in (0, 1, 4, 4, 2, 5))
    fd, size = written(tmp_path / "file", data)
    scan = Scanner(fd, "file", start=0, expected=0).run(size)
    os.close(fd)
    assert [r.seq for r in scan.records] == [0, 1, 4, 5]
    assert [damage.reason for damage in scan.damage] == [
        "records 2 to 3 are missing",
        "sequence number 4 comes a second time",
        "sequence number 2 comes a second time",
    ]
