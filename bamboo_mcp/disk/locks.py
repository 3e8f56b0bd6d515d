"""Locks across processes: on an open journal, on the index, and the one that says who is alive."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bamboo_mcp.disk.calls import DISK, DiskCalls, make_folders, shown_path, storage_error
from bamboo_mcp.disk.layout import is_plain, owners_folder
from bamboo_mcp.domain.errors import StorageError
from bamboo_mcp.domain.ids import OwnerId, new_owner_id

_PATIENCE_S = 5.0
"""An append holds its lock for microseconds; only a process stopped in it holds it longer."""

if sys.platform == "win32":
    import msvcrt

    # Windows locks bytes and keeps others from reading them: lock one far behind any data.
    _FAR = 1 << 40

    def try_lock(fd: int, *, shared: bool = False) -> bool:
        """Take the lock of an open file, or say at once that somebody has it. None are shared."""
        os.lseek(fd, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def unlock(fd: int) -> None:
        os.lseek(fd, _FAR, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def try_lock(fd: int, *, shared: bool = False) -> bool:
        """Take the lock of an open file, or say at once that somebody has it.

        A `shared` one excludes only those that are not. Every `open` has its own lock, so two
        descriptors of one process exclude each other too.
        """
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)


def lock(fd: int, path: str, *, patience_s: float = _PATIENCE_S) -> None:
    """Take the lock of an open file, waiting a bounded time without giving up the thread's turn.

    Raises:
        StorageError: Somebody held it all that time.
    """
    if try_lock(fd):
        return
    give_up = time.monotonic() + patience_s
    pause = 0.00005
    while not try_lock(fd):
        if time.monotonic() > give_up:
            raise StorageError(
                f"another process has held the lock of {shown_path(path)!r} for {patience_s:g} s",
                hint="look for a stopped bamboo-mcp process on this home folder",
            )
        time.sleep(pause)
        pause = min(pause * 2, 0.01)


@contextlib.contextmanager
def index_lock(path: Path, *, patience_s: float = 10.0) -> Iterator[None]:
    """The lock around each update of an index, for worker threads.

    Raises:
        StorageError: Somebody held it all that time.
    """
    import filelock  # late: it loads asyncio and more, and a server may never list a session

    try:
        with filelock.FileLock(str(path), timeout=patience_s, mode=0o600):
            yield
    except filelock.Timeout as error:
        raise StorageError(
            f"another process has held {shown_path(path)!r} for {patience_s:g} s",
            hint="look for a stopped bamboo-mcp process on this home folder",
        ) from error


def _owner_file(home: Path, owner_id: str) -> Path:
    return owners_folder(home) / f"{owner_id}.lock"


@contextlib.contextmanager
def hold_owner(home: Path, *, calls: DiskCalls = DISK) -> Iterator[OwnerId]:
    """Be a living owner of runs on `home` until the block ends, or until the kernel ends us.

    The operating system drops the lock with its process, so neither a reused process id nor a clock
    can make a dead owner look alive. What dead owners left is removed on the way in.
    """
    make_folders(owners_folder(home), calls)
    _sweep(home)
    owner_id = new_owner_id()
    path = _owner_file(home, owner_id)
    fd = _claim(path, calls)
    try:
        yield owner_id
    finally:
        with contextlib.suppress(OSError):
            if sys.platform != "win32":
                path.unlink()
        os.close(fd)
        if sys.platform == "win32":
            path.unlink(missing_ok=True)


def _claim(path: Path, calls: DiskCalls) -> int:
    """Lock a file that is still there afterwards: a sweep may take a new one for a dead one's."""
    while True:
        try:
            fd = calls.open(str(path), os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise storage_error(error, str(path), "make") from error
        try:
            lock(fd, str(path))
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(fd).st_ino:
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def owner_alive(home: Path, owner_id: OwnerId) -> bool:
    """Is there a process, ours included, that holds `owner_id`? Takes about ten microseconds.

    In doubt yes: a run wrongly called lost would be started twice.
    """
    if not is_plain(owner_id):
        return False
    try:
        fd = os.open(_owner_file(home, owner_id), os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        return not try_lock(fd, shared=True)
    except OSError as error:
        return error.errno != errno.ENOENT
    finally:
        os.close(fd)


def _sweep(home: Path) -> None:
    """Remove the files of the dead, each under its lock: a new owner may just have made one."""
    for path in owners_folder(home).glob("*.lock"):
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDWR)
            try:
                dead = try_lock(fd)
                if dead and sys.platform != "win32":
                    path.unlink()
            finally:
                os.close(fd)
            if dead and sys.platform == "win32":
                path.unlink()  # refused while anybody has it open, which is the lock we need
