"""The one way from a tool to the files of a workspace: open, list, look at, replace."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO, Literal, Protocol

from bamboo_mcp.domain.errors import StorageFull, WorkspaceError
from bamboo_mcp.domain.value import Value

EntryKind = Literal["folder", "file", "link", "other"]

MAX_ENTRIES = 100_000
"""Of one folder; what is beyond is not looked at."""


class Entry(Value, frozen=True, kw_only=True):
    """A name in a folder. `size` and `target` are filled in only where they were asked for."""

    name: str
    kind: EntryKind
    size: int = 0
    target: str = ""


class Door(Protocol):
    """Files of one root, by the paths `roots.relative_path` gives. Every call blocks: use a thread.

    Raises:
        WorkspaceError: From every method: missing, outside, not permitted, a device.
    """

    def open_file(self, path: str) -> tuple[BinaryIO, os.stat_result]:
        """A plain file, open for reading. Never waits for a FIFO."""
        ...

    def look(self, path: str) -> os.stat_result:
        """What `path` is, links inside followed."""
        ...

    def entries(self, path: str, *, details: bool = False) -> list[Entry]:
        """What is in a folder, in no order; `details` costs a look at each."""
        ...

    def replace(
        self, path: str, data: bytes, may_write: Callable[[os.stat_result | None], None]
    ) -> os.stat_result:
        """Put `data` in the place of `path` in one step, parents made, the mode kept.

        `may_write` is given what is there (None: nothing) as late as possible and raises to refuse.
        """
        ...

    def folder_for_child(self, path: str) -> AbstractContextManager[str]:
        """A folder by a name that a child process started meanwhile can be put into."""
        ...


def kind_of(mode: int) -> EntryKind:
    if stat.S_ISDIR(mode):
        return "folder"
    if stat.S_ISREG(mode):
        return "file"
    return "link" if stat.S_ISLNK(mode) else "other"


@contextmanager
def telling(path: str) -> Iterator[None]:
    """The system's errors in our words, about the path that was asked for."""
    try:
        yield
    except OSError as error:
        raise _told(error, path) from error


def _told(error: OSError, path: str) -> WorkspaceError | StorageFull:
    match error.errno:
        case errno.ENOENT:
            return WorkspaceError(
                f"{path!r} does not exist", hint="list_directory shows what does."
            )
        case errno.EXDEV:
            return WorkspaceError(f"{path!r} leads out of the workspace through a symbolic link")
        case errno.ELOOP:
            return WorkspaceError(f"{path!r} goes through a symbolic link that cannot be followed")
        case errno.ENOTDIR:
            return WorkspaceError(f"{path!r} goes through something that is not a folder")
        case errno.EISDIR:
            return WorkspaceError(f"{path!r} is a folder")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return WorkspaceError(f"{path!r}: the system does not permit it ({error.strerror})")
        case errno.ENXIO | errno.ENODEV:
            return WorkspaceError(f"{path!r} is a socket or a device, not a file")
        case errno.ENOSPC | errno.EDQUOT:
            return StorageFull(
                f"{path!r} was not written: the disk is full; the old file is intact"
            )
    return WorkspaceError(f"{path!r}: {error.strerror or type(error).__name__}")
