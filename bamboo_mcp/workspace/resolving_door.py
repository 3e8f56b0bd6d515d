"""The door on Windows: resolve, check, then open. It can lose a race against a swapped link."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from bamboo_mcp.domain.errors import WorkspaceError
from bamboo_mcp.workspace.door import MAX_ENTRIES, Entry, kind_of, telling
from bamboo_mcp.workspace.roots import refuse_special

_DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"
}


class ResolvingDoor:
    """A `Door` for systems without directory descriptors."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def _inside(self, path: str) -> Path:
        for part in path.split("/"):
            if part.split(".")[0].strip().lower() in _DEVICES:
                raise WorkspaceError(f"{path!r} names the device {part!r}")
        real = (self._root / path).resolve()
        if not real.is_relative_to(self._root.resolve()):
            raise WorkspaceError(f"{path!r} leads out of the workspace through a symbolic link")
        return real

    def open_file(self, path: str) -> tuple[BinaryIO, os.stat_result]:
        with telling(path):
            real = self._inside(path)
            refuse_special(real.stat().st_mode, path)
            file = real.open("rb", buffering=0)
            try:
                status = os.fstat(file.fileno())
                refuse_special(status.st_mode, path)
                return file, status
            except BaseException:
                file.close()
                raise

    def look(self, path: str) -> os.stat_result:
        with telling(path):
            return self._inside(path).stat()

    def entries(self, path: str, *, details: bool = False) -> list[Entry]:
        found: list[Entry] = []
        with telling(path), os.scandir(self._inside(path)) as listing:
            for item in listing:
                if len(found) == MAX_ENTRIES:
                    break
                try:
                    status = item.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # removed while we look
                kind = kind_of(status.st_mode)
                target = str(Path(item.path).readlink()) if details and kind == "link" else ""
                size = status.st_size
                found.append(Entry(name=item.name, kind=kind, size=size, target=target))
        return found

    def replace(
        self, path: str, data: bytes, may_write: Callable[[os.stat_result | None], None]
    ) -> os.stat_result:
        with telling(path):
            place = self._inside(path)
            if (self._root / path).is_symlink():
                raise WorkspaceError(
                    f"{path!r} is a symbolic link", hint="Write to the file it points to."
                )
            may_write(_existing(place, path))
            place.parent.mkdir(parents=True, exist_ok=True)
            draft = place.with_name(f".{place.name[:60]}.{secrets.token_hex(6)}.tmp")
            try:
                with draft.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                before = _existing(place, path)
                may_write(before)
                if before is not None:
                    draft.chmod(before.st_mode)
                draft.replace(place)
            finally:
                draft.unlink(missing_ok=True)
            return place.stat()

    @contextmanager
    def folder_for_child(self, path: str) -> Iterator[str]:
        with telling(path):
            real = self._inside(path)
            if not real.is_dir():
                raise NotADirectoryError(20, "not a folder", path)
        yield os.fspath(real)


def _existing(place: Path, path: str) -> os.stat_result | None:
    try:
        status = place.stat()
    except FileNotFoundError:
        return None
    refuse_special(status.st_mode, path)
    return status
