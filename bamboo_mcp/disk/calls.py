"""The seam every write goes through: tests stop the world here, fill the disk, or tear a write."""

from __future__ import annotations

import errno
import logging
import os
import stat
import sys
from pathlib import Path

from bamboo_mcp.domain.errors import StorageError, StorageFull

logger = logging.getLogger(__name__)

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_BINARY = getattr(os, "O_BINARY", 0)


class DiskCalls:
    """The real disk. A test derives from it and fails, kills or shortens call number N.

    Methods raise `OSError` untouched; the caller knows the file's name and turns it into a
    `StorageError` with `storage_error`.
    """

    def open(self, path: str, flags: int) -> int:
        """Files are made readable by their owner alone."""
        return os.open(path, flags | _BINARY, 0o600)

    def write(self, fd: int, data: bytes) -> int:
        return os.write(fd, data)

    def sync(self, fd: int) -> None:
        """Data and what is needed to find it again are on the disk when this returns."""
        if sys.platform == "darwin":
            import fcntl

            # fsync alone leaves the data in the drive's cache on macOS.
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        elif sys.platform == "win32":
            os.fsync(fd)
        else:
            os.fdatasync(fd)

    def sync_folder(self, path: str) -> None:
        """Make names in `path` survive power loss. Windows has no such call and needs none."""
        if sys.platform == "win32":
            return
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def replace(self, source: str, target: str) -> None:
        Path(source).replace(target)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def make_folder(self, path: str) -> None:
        """One folder, closed to others. Raises `FileExistsError`."""
        os.mkdir(path, 0o700)  # noqa: PTH102  (pathlib costs more than the call, on the spawn path)

    def remove(self, path: str) -> None:
        Path(path).unlink()


DISK = DiskCalls()


def shown_path(path: str | Path) -> str:
    """A file of the home folder as clients may read it: without where on this machine it is."""
    return "/".join(Path(path).parts[-2:])


def storage_error(error: OSError, path: str, doing: str) -> StorageError:
    """`StorageFull` when there is no room (quota and size limits too), else `StorageError`.

    Its words go to clients; the whole path is for the operator, in the log.
    """
    reason = error.strerror or type(error).__name__
    logger.error("could not %s %s: %s", doing, path, error)
    path = shown_path(path)
    if error.errno in _FULL:
        return StorageFull(
            f"no room to {doing} {path!r}: {reason}",
            hint="free some disk space; everything written before is intact",
        )
    return StorageError(
        f"could not {doing} {path!r}: {reason}",
        hint="check the disk and the rights; the server's log has the whole path",
    )


def make_folders(path: Path, calls: DiskCalls = DISK) -> None:
    """`path` and what is missing above it, all closed to others."""
    if path.is_dir():
        return
    if not path.parent.is_dir():
        make_folders(path.parent, calls)
    try:
        calls.make_folder(str(path))
    except FileExistsError:
        return
    except OSError as error:
        raise storage_error(error, str(path), "make the folder") from error


def write_all(calls: DiskCalls, fd: int, data: bytes) -> None:
    """Write until every byte is out; a disk may take fewer than it is given."""
    written = calls.write(fd, data)
    while written < len(data):
        more = calls.write(fd, data[written:])
        if more == 0:
            raise OSError(errno.EIO, "the disk took no bytes")
        written += more


if sys.platform == "win32":

    def read_at(fd: int, offset: int, count: int) -> bytes:
        """At most `count` bytes; fewer only at the end of the file."""
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, count)

else:

    def read_at(fd: int, offset: int, count: int) -> bytes:
        """At most `count` bytes; fewer only at the end of the file."""
        return os.pread(fd, count, offset)


def file_size(path: Path) -> int:
    """0 when there is no such file."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise storage_error(error, str(path), "look at") from error


def is_linked(status: os.stat_result) -> bool:
    """False once an open file was deleted. Windows cannot delete one."""
    return status.st_nlink > 0 and stat.S_ISREG(status.st_mode)
