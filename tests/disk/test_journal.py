import errno
import re
from pathlib import Path

import pytest

from bamboo_mcp.disk.journal import read_journal
from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.disk.lines import Record, frame
from bamboo_mcp.domain.errors import (
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageTooNew,
    UnknownId,
)
from tests.disk.failing_calls import CountedCalls, FullDisk, SmallBites


def texts(path: Path) -> list[bytes]:
    return [record.payload for record in read_journal(str(path), "test").records]


def filled(path: Path, count: int) -> bytes:
    with Journals("process") as journals:
        journal = journals.create(path, "test", b'{"who":"me"}')
        for n in range(1, count + 1):
            journal.append(b'{"n":%d}' % n)
    return path.read_bytes()


def test_an_append_is_one_write_of_the_record_and_a_few_bytes(tmp_path: Path) -> None:
    calls = CountedCalls()
    with Journals("process", calls=calls) as journals:
        journal = journals.create(tmp_path / "j" / "f", "test", b"{}")
        assert calls.names == ["make_folder", "open", "write"]
        calls.names.clear()
        before = journal.size
        journal.append(b"x" * 760)
        assert calls.names == ["write"]
        assert journal.size - before == 760 + 12


def test_a_torn_tail_at_every_byte_of_the_last_two_records_is_cut(tmp_path: Path) -> None:
    whole = filled(tmp_path / "whole", 5)
    lines = whole.splitlines(keepends=True)
    start = len(b"".join(lines[:-2]))
    for cut in range(start, len(whole)):
        path = tmp_path / f"cut{cut}"
        path.write_bytes(whole[:cut])
        kept = whole[:cut].count(b"\n") - 1
        assert len(texts(path)) == kept
        if whole[cut : cut + 1] == b"\n":
            kept += 1  # only the newline is missing: the record is whole and kept
        with Journals("process") as journals:
            journal = journals.open(path, "test")
            assert journal.last_seq == kept
            assert journal.append(b'{"n":"new"}') == kept + 1
        good = b"".join(lines[: kept + 1])
        assert path.read_bytes() == good + frame(kept + 1, b'{"n":"new"}')
        torn = path.with_name(path.name + ".torn")
        cut_off = whole[whole[:cut].rfind(b"\n") + 1 : cut]
        assert (torn.read_bytes() if torn.exists() else b"") == cut_off


def test_a_flipped_bit_in_the_tail_costs_at_most_its_own_record(tmp_path: Path) -> None:
    whole = filled(tmp_path / "whole", 4)
    start = len(b"".join(whole.splitlines(keepends=True)[:-2]))
    for at in range(start, len(whole)):
        for bit in (0, 3, 7):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            path = tmp_path / "file"
            path.write_bytes(damaged)
            with Journals("process") as journals:
                journal = journals.open(path, "test")
                assert journal.append(b'{"n":"new"}') == journal.last_seq
            found = texts(path)
            assert found[-1] == b'{"n":"new"}'
            assert found[:2] == [b'{"n":1}', b'{"n":2}']
            assert len(set(found) & {b'{"n":3}', b'{"n":4}'}) >= 1, (at, bit)


def test_a_flipped_bit_anywhere_loses_no_other_record(tmp_path: Path) -> None:
    path = tmp_path / "file"
    whole = filled(path, 6)
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << (at % 8)
        path.write_bytes(damaged)
        found = texts(path)
        assert len(found) >= 5, at
        assert set(found) <= {b'{"n":%d}' % n for n in range(1, 7)}


def test_damage_in_the_middle_is_named_by_its_line_and_never_cut(tmp_path: Path) -> None:
    path = tmp_path / "file"
    damaged = filled(path, 5).replace(b'{"n":3}', b'{"n":X}')
    path.write_bytes(damaged)
    page = read_journal(str(path), "test")
    assert [record.seq for record in page.records] == [1, 2, 4, 5]
    [damage] = page.damage
    assert damage.line == 4
    assert re.search(r"file' line 4: the checksum", str(damage))
    with Journals("process") as journals:
        assert journals.open(path, "test").append(b"{}") == 6
    assert path.read_bytes().startswith(damaged)


def test_a_damaged_header_costs_no_record(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"#" + filled(path, 3)[1:])
    page = read_journal(str(path), "test")
    assert page.header is None
    assert [record.seq for record in page.records] == [1, 2, 3]
    with Journals("process") as journals:
        assert journals.open(path, "test").append(b"{}") == 4


def test_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(frame(0, b'{"format":2,"kind":"test"}') + frame(1, b"{}"))
    with pytest.raises(StorageTooNew, match=r"file' has format 2"):
        read_journal(str(path), "test")
    with Journals("process") as journals, pytest.raises(StorageTooNew, match="format 2"):
        journals.open(path, "test")


def test_what_never_became_a_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "other").write_bytes(b"hello\nworld\n")
    with Journals("process") as journals:
        for name in ("empty", "other"):
            with pytest.raises(StorageError, match="no whole line"):
                journals.open(tmp_path / name, "test")
        with pytest.raises(UnknownId):
            journals.open(tmp_path / "absent", "test")
        with pytest.raises(StorageError):
            journals.open(tmp_path, "test")


def test_a_disk_that_takes_few_bytes_at_a_time_gets_them_all(tmp_path: Path) -> None:
    with Journals("process", calls=SmallBites(3)) as journals:
        journal = journals.create(tmp_path / "file", "test", b"{}", [b'{"first":1}'])
        journal.append(b'{"second":2}')
    assert texts(tmp_path / "file") == [b'{"first":1}', b'{"second":2}']


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
@pytest.mark.parametrize("room", range(0, 24, 3))
def test_an_append_that_fails_leaves_nothing_and_the_next_works(
    tmp_path: Path, error: int, room: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "file"
    calls = FullDisk(99, error=error)
    with Journals("process", calls=calls) as journals:
        journal = journals.create(path, "test", b"{}", [b'{"n":1}'])
        before = path.read_bytes()
        calls.full_at, calls.room = 0, room
        with pytest.raises(StorageError) as caught:
            journal.append(b'{"n":"too much"}')
        assert isinstance(caught.value, StorageFull) == (error != errno.EIO)
        assert f"{path.parent.name}/file" in caught.value.message
        assert str(path) not in str(caught.value), "where the home is, is for the log alone"
        assert str(path) in caplog.text
        assert path.read_bytes() == before
        calls.full_at = 10_000
        assert journal.append(b'{"n":2}') == 2
    assert texts(path) == [b'{"n":1}', b'{"n":2}']


class Stubborn(FullDisk):
    """A full disk that refuses to cut a file, too."""

    refuse = True

    def truncate(self, fd: int, size: int) -> None:
        if self.refuse:
            raise OSError(errno.EIO, "no")
        super().truncate(fd, size)


@pytest.mark.parametrize("shared", [False, True])
def test_a_failed_append_that_could_not_be_cut_is_cut_by_the_next(
    tmp_path: Path, shared: bool
) -> None:
    path = tmp_path / "file"
    calls = Stubborn(99)
    with Journals("process", calls=calls) as journals:
        journal = journals.create(path, "test", b"{}", [b'{"n":1}'], shared=shared)
        calls.full_at, calls.room = 0, 10
        with pytest.raises(StorageFull):
            journal.append(b'{"n":"too much"}')
        calls.full_at = 10_000
        with pytest.raises(StorageError):
            journal.append(b'{"n":"still not"}')
        calls.refuse = False
        assert journal.append(b'{"n":2}') == 2
    assert texts(path) == [b'{"n":1}', b'{"n":2}']
    assert path.with_name("file.torn").exists()


def test_a_journal_that_cannot_be_made_is_not_there(tmp_path: Path) -> None:
    with Journals("process", calls=FullDisk(1, room=20)) as journals:
        with pytest.raises(StorageFull):
            journals.create(tmp_path / "j" / "file", "test", b"{}")
    assert not (tmp_path / "j" / "file").exists()
    filled(tmp_path / "j" / "file", 1)


def test_a_second_writer_sees_what_the_first_wrote_and_cuts_what_it_tore(tmp_path: Path) -> None:
    path = tmp_path / "file"
    seen: list[Record] = []
    with Journals("process") as journals:
        one = journals.create(path, "test", b"{}", shared=True)
        other = journals.open(path, "test", shared=True, on_foreign=seen.append)
        one.append(b'{"n":1}')
        one.append(b'{"n":2}')
        with path.open("ab") as file:
            file.write(b"0badbeef 3 {a writer that was killed in the middle")
        assert other.append(b'{"n":3}') == 3
        assert seen == [(1, b'{"n":1}'), (2, b'{"n":2}')]
        assert one.append(b'{"n":4}') == 4
    assert len(texts(path)) == 4


def test_a_file_that_shrank_behind_our_back_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with Journals("process") as journals:
        journal = journals.create(path, "test", b"{}", [b'{"n":1}', b'{"n":2}'], shared=True)
        path.write_bytes(path.read_bytes()[:-5])
        with pytest.raises(StorageCorrupt, match="lost 5 bytes"):
            journal.append(b"{}")


def test_an_append_to_a_deleted_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with Journals("process") as journals:
        journal = journals.create(path, "test", b"{}", shared=True)
        path.unlink()
        with pytest.raises(UnknownId):
            journal.append(b"{}")
        journal.close()
        with pytest.raises(UnknownId):
            journal.append(b"{}")
    assert not path.exists()


def test_few_files_are_open_however_many_journals_there_are(tmp_path: Path) -> None:
    with Journals("process", open_limit=8) as journals:
        many = [journals.create(tmp_path / f"{n}" / "f", "test", b"{}") for n in range(50)]
        for lap in range(3):
            for journal in many:
                journal.append(b"%d" % lap)
                assert sum(one.fd >= 0 for one in many) <= 8
    for n in range(50):
        assert texts(tmp_path / f"{n}" / "f") == [b"0", b"1", b"2"]


def test_the_tail_and_pages_are_read_by_number(tmp_path: Path) -> None:
    path = tmp_path / "file"
    filled(path, 20_000)
    tail = read_journal(str(path), "test", tail=3)
    assert [record.seq for record in tail.records] == [19_998, 19_999, 20_000]
    page = read_journal(str(path), "test", after=12_345, limit=2)
    assert [record.seq for record in page.records] == [12_346, 12_347]
    assert page.last_seq == 20_000
    assert list(read_journal(str(path), "test", limit=0).records) == []
    assert len(read_journal(str(path), "test", tail=10**9).records) == 20_000
