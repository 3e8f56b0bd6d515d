"""Atomic replacement of a small file: after any crash it is the old one or the new one, whole.

The order of steps is that of the reliability note, C5.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from bamboo_mcp.disk.calls import DISK, DiskCalls, storage_error, write_all


def replace_file(path: Path, data: bytes, *, durable: bool = True, calls: DiskCalls = DISK) -> None:
    """Put `data` in place of `path`. Not `durable`: survives our death, perhaps not power loss.

    Raises:
        StorageFull, StorageError: `path` is as it was.
    """
    # The same folder, so the same file system: a rename across two is a copy.
    temporary = str(path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp"))
    try:
        _write_new(temporary, data, durable, calls)
        calls.replace(temporary, str(path))
        if durable:
            calls.sync_folder(str(path.parent))
    except OSError as error:
        with contextlib.suppress(OSError):
            calls.remove(temporary)
        raise storage_error(error, str(path), "write") from error


def _write_new(path: str, data: bytes, durable: bool, calls: DiskCalls) -> None:
    fd = calls.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        write_all(calls, fd, data)
        if durable:
            # A failed sync is never tried again: the kernel has dropped the pages by then.
            calls.sync(fd)
    finally:
        os.close(fd)


def remove_leftovers(path: Path) -> None:
    """Remove what crashed replacements of `path` left. The caller holds the lock that guards it."""
    start = f".{path.name}."
    for name in os.listdir(path.parent):  # noqa: PTH208  (every edit does this)
        if name.startswith(start) and name.endswith(".tmp"):
            with contextlib.suppress(OSError):
                path.with_name(name).unlink()
