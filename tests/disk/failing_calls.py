"""Disks that fail, tear or die at call number N, for tests of everything that writes."""

from __future__ import annotations

import errno
import os
import signal

from bamboo_mcp.disk.calls import DiskCalls


class CountedCalls(DiskCalls):
    """Counts every call and asks `at` what to do about it, before it is made."""

    def __init__(self) -> None:
        self.count = 0
        self.names: list[str] = []

    def at(self, name: str) -> None:
        self.count += 1
        self.names.append(name)

    def open(self, path: str, flags: int) -> int:
        self.at("open")
        return super().open(path, flags)

    def write(self, fd: int, data: bytes) -> int:
        self.at("write")
        return super().write(fd, data)

    def sync(self, fd: int) -> None:
        self.at("sync")
        super().sync(fd)

    def sync_folder(self, path: str) -> None:
        self.at("sync_folder")
        super().sync_folder(path)

    def replace(self, source: str, target: str) -> None:
        self.at("replace")
        super().replace(source, target)

    def truncate(self, fd: int, size: int) -> None:
        self.at("truncate")
        super().truncate(fd, size)

    def make_folder(self, path: str) -> None:
        self.at("make_folder")
        super().make_folder(path)

    def remove(self, path: str) -> None:
        self.at("remove")
        super().remove(path)


class KillingCalls(CountedCalls):
    """Kills its process at call `kill_at`; with `torn` a write brings half of itself out first."""

    def __init__(self, kill_at: int, *, torn: bool) -> None:
        super().__init__()
        self._kill_at = kill_at
        self._torn = torn

    def at(self, name: str) -> None:
        super().at(name)
        if self.count == self._kill_at and not (self._torn and name == "write"):
            os.kill(os.getpid(), signal.SIGKILL)

    def write(self, fd: int, data: bytes) -> int:
        self.at("write")
        if self.count == self._kill_at:
            os.write(fd, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return os.write(fd, data)


class FullDisk(CountedCalls):
    """From call `full_at` on there is room for `room` more bytes; then `error`."""

    def __init__(self, full_at: int = 1, *, room: int = 0, error: int = errno.ENOSPC) -> None:
        super().__init__()
        self.full_at = full_at
        self.room = room
        self.error = error

    def write(self, fd: int, data: bytes) -> int:
        self.at("write")
        if self.count < self.full_at:
            return os.write(fd, data)
        if self.room == 0:
            raise OSError(self.error, os.strerror(self.error))
        part = data[: self.room]
        self.room -= len(part)
        return os.write(fd, part)


class SmallBites(CountedCalls):
    """Takes at most `bite` bytes a call."""

    def __init__(self, bite: int) -> None:
        super().__init__()
        self._bite = bite

    def write(self, fd: int, data: bytes) -> int:
        self.at("write")
        return os.write(fd, data[: self._bite])
