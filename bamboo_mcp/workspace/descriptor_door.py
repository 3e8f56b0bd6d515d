"""The door on POSIX: everything goes through directory descriptors, so no link swap leads out."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from bamboo_mcp.domain.errors import WorkspaceError
from bamboo_mcp.workspace.door import MAX_ENTRIES, Entry, kind_of, telling
from bamboo_mcp.workspace.roots import refuse_special

if sys.platform != "win32":
    from bamboo_mcp.workspace.beneath import ALWAYS, FOLDER, OpenBeneath, best_way

assert sys.platform != "win32"


class DescriptorDoor:
    """A `Door` over an open root folder; `open_beneath` is for tests of the second best way."""

    def __init__(
        self, root: Path, descriptor: int, open_beneath: OpenBeneath | None = None
    ) -> None:
        self._root = root
        self._descriptor = descriptor
        self._beneath = open_beneath or best_way()

    def _open(self, path: str, flags: int) -> int:
        return self._beneath(self._descriptor, path, flags | ALWAYS)

    @contextmanager
    def _folder(self, path: str) -> Iterator[int]:
        descriptor = self._open(path, FOLDER)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def open_file(self, path: str) -> tuple[BinaryIO, os.stat_result]:
        with telling(path):
            descriptor = self._open(path, os.O_RDONLY)
        try:
            status = os.fstat(descriptor)
            refuse_special(status.st_mode, path)
            os.set_blocking(descriptor, True)
            return os.fdopen(descriptor, "rb", buffering=0), status
        except BaseException:
            os.close(descriptor)
            raise

    def look(self, path: str) -> os.stat_result:
        parent, name = _split(path)
        with telling(path), self._folder(parent) as folder:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISLNK(status.st_mode):
                return status
            descriptor = self._open(path, os.O_RDONLY)
            try:
                return os.fstat(descriptor)
            finally:
                os.close(descriptor)

    def entries(self, path: str, *, details: bool = False) -> list[Entry]:
        found: list[Entry] = []
        with telling(path), self._folder(path) as folder, os.scandir(folder) as listing:
            for item in listing:
                if len(found) == MAX_ENTRIES:
                    break
                try:
                    found.append(_entry(item, folder, details))
                except FileNotFoundError:
                    continue  # removed while we look
        return found

    def replace(
        self, path: str, data: bytes, may_write: Callable[[os.stat_result | None], None]
    ) -> os.stat_result:
        parent, name = _split(path)
        with telling(path):
            # A first look before folders are made for a write that is then refused.
            may_write(self._existing(path))
            self._make_folders(parent)
            with self._folder(parent) as folder:
                return _replace_in(folder, name, path, data, may_write)

    def _existing(self, path: str) -> os.stat_result | None:
        parent, name = _split(path)
        try:
            with self._folder(parent) as folder:
                return _plain_file(folder, name, path)
        except FileNotFoundError:
            return None

    def _make_folders(self, path: str) -> None:
        parts = [] if path == "." else path.split("/")
        for count in range(1, len(parts) + 1):
            try:
                os.close(self._open("/".join(parts[:count]), FOLDER))
            except FileNotFoundError:
                with self._folder("/".join(parts[: count - 1]) or ".") as above:
                    try:
                        os.mkdir(parts[count - 1], dir_fd=above)
                    except FileExistsError:
                        continue  # somebody else made it; a dangling link shows at the next step

    @contextmanager
    def folder_for_child(self, path: str) -> Iterator[str]:
        with telling(path):
            descriptor = self._open(path, FOLDER)
        try:
            if sys.platform == "linux":
                # The child enters the very folder that was opened, whatever its name leads to now.
                yield f"/proc/self/fd/{descriptor}"
            else:
                yield os.fspath(self._root / path)
        finally:
            os.close(descriptor)


def _split(path: str) -> tuple[str, str]:
    parent, _, name = path.rpartition("/")
    return parent or ".", name


def _entry(item: os.DirEntry[str], folder: int, details: bool) -> Entry:
    if not details:
        if item.is_symlink():
            return Entry(name=item.name, kind="link")
        if item.is_dir(follow_symlinks=False):
            return Entry(name=item.name, kind="folder")
        plain = item.is_file(follow_symlinks=False)
        return Entry(name=item.name, kind="file" if plain else "other")
    status = item.stat(follow_symlinks=False)
    kind = kind_of(status.st_mode)
    target = os.readlink(item.name, dir_fd=folder) if kind == "link" else ""
    return Entry(name=item.name, kind=kind, size=status.st_size, target=target)


def _plain_file(folder: int, name: str, path: str) -> os.stat_result | None:
    """What is called `name`; None when nothing is."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(status.st_mode):
        target = os.readlink(name, dir_fd=folder)
        raise WorkspaceError(
            f"{path!r} is a symbolic link to {target!r}", hint="Write to the file it points to."
        )
    refuse_special(status.st_mode, path)
    return status


def _replace_in(
    folder: int,
    name: str,
    path: str,
    data: bytes,
    may_write: Callable[[os.stat_result | None], None],
) -> os.stat_result:
    draft = f".{name[:60]}.{secrets.token_hex(6)}.tmp"
    descriptor = os.open(
        draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | ALWAYS, 0o666, dir_fd=folder
    )
    try:
        try:
            _write_all(descriptor, data)
            # From here to the rename nothing waits: what `may_write` allowed is what is replaced.
            before = _plain_file(folder, name, path)
            may_write(before)
            if before is not None:
                _take_over(descriptor, before)
            written = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if before is None:
            _put_new(folder, draft, name)
        else:
            os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        try:
            os.unlink(draft, dir_fd=folder)
        except FileNotFoundError:
            pass
        raise
    return written


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


def _take_over(descriptor: int, before: os.stat_result) -> None:
    """Owner (where we may) and permissions of the old file."""
    mine = os.fstat(descriptor)
    if (mine.st_uid, mine.st_gid) != (before.st_uid, before.st_gid):
        try:
            os.fchown(descriptor, before.st_uid, before.st_gid)
        except PermissionError:
            pass
    os.fchmod(descriptor, before.st_mode & 0o777)


def _put_new(folder: int, draft: str, name: str) -> None:
    """A new name, never over a file that appeared meanwhile: a link fails then, a rename not."""
    try:
        os.link(draft, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)  # no hard links here (FAT)
    else:
        os.unlink(draft, dir_fd=folder)
