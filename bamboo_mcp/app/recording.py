"""A run recorded into a file that plays it again, from the check of the file to its writing."""

from __future__ import annotations

import os
from pathlib import Path

from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.ports import Provider

_SUFFIXES = (".yaml", ".yml")


class RecordedRun:
    """Give `wrap` to `open_app`, and `save` when the run is over, however it ended.

    Raises:
        InvalidInput: There is something in the way of `path`; better said before a run than after.
    """

    def __init__(self, path: Path, *, replace: bool = False) -> None:
        from bamboo_mcp.providers.scripted.recording import Recording

        _check(path, replace)
        self._path = path
        self._recording = Recording()

    def wrap(self, provider: Provider) -> Provider:
        return self._recording.wrap(provider)

    def save(self) -> str:
        """Write what was heard, if anything was; returns a line about it.

        Raises:
            StorageError: The file could not be written; one that was there is as it was.
        """
        from bamboo_mcp.disk.atomic import replace_file

        answers = self._recording.answers
        if not answers:
            return f"nothing was recorded, no model was asked: {self._path} is not written"
        replace_file(self._path, self._recording.script(self._path.name).encode())
        conversations = self._recording.conversations
        return (
            f"recorded {answers} {_plural('answer', answers)} in {conversations} "
            f"{_plural('conversation', conversations)}: {self._path}"
        )


def _check(path: Path, replace: bool) -> None:
    if path.suffix not in _SUFFIXES:
        raise InvalidInput(
            f"the recording {str(path)!r} would not be found again: its name must end in .yaml"
        )
    if path.is_dir():
        raise InvalidInput(f"{str(path)!r} is a folder: name a file in it")
    if path.exists() and not replace:
        raise InvalidInput(
            f"{str(path)!r} is there already", hint="Add --force to replace it, or name another."
        )
    if not path.parent.is_dir():
        raise InvalidInput(f"there is no folder {str(path.parent)!r} to record into")
    if not os.access(path.parent, os.W_OK):
        raise InvalidInput(f"the folder {str(path.parent)!r} cannot be written to")


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"
