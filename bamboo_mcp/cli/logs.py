"""Where log lines go: standard error, and a file in the home folder that is rotated."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bamboo_mcp.domain.secrets import starred

if TYPE_CHECKING:
    from bamboo_mcp.settings import Settings

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
FILE_BYTES = 2_000_000
OLD_FILES = 3

_OURS = "bamboo_mcp"


@contextmanager
def configure_logging(settings: Settings, *, verbose: bool = False) -> Iterator[None]:
    """Log while it lasts. `verbose` shows on standard error what else only the file has.

    The file has our lines from INFO on, or from the chosen level if that is lower; other libraries
    are heard from WARNING on. Without a usable home folder there is no file, and a line says so.
    """
    level = logging.getLevelNamesMapping()[settings.logging.level.upper()]
    detail = min(level, logging.INFO)
    screen = logging.StreamHandler()
    screen.setLevel(detail if verbose else level)
    handlers: list[logging.Handler] = [screen]
    refused: OSError | None = None
    if settings.logging.file:
        try:
            handlers.append(_file_handler(log_file(settings.home), detail))
        except OSError as error:
            refused = error
    root, ours = logging.getLogger(), logging.getLogger(_OURS)
    before = root.level, ours.level
    root.setLevel(logging.WARNING)
    ours.setLevel(detail)
    for handler in handlers:
        handler.setFormatter(StarringFormatter(FORMAT))
        root.addHandler(handler)
    try:
        if refused is not None:
            logging.getLogger(__name__).warning("no log file: %s", refused)
        yield
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(before[0])
        ours.setLevel(before[1])


class StarringFormatter(logging.Formatter):
    """Stars keys: libraries log what services answer, headers too, and those may quote a key."""

    def format(self, record: logging.LogRecord) -> str:
        return starred(super().format(record))


def log_file(home: Path) -> Path:
    return home / "logs" / "bamboo-mcp.log"


def _file_handler(path: Path, level: int) -> logging.Handler:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = SharedLogFile(path)
    handler.setLevel(level)
    return handler


class SharedLogFile(RotatingFileHandler):
    """A rotated file, readable by its owner only, that several servers of one home append to."""

    def __init__(self, path: Path) -> None:
        self._failed = False
        super().__init__(
            path, maxBytes=FILE_BYTES, backupCount=OLD_FILES, encoding="utf-8", errors="replace"
        )

    def _open(self) -> TextIOWrapper:
        stream = open(
            self.baseFilename,
            self.mode,
            encoding=self.encoding,
            errors=self.errors,
            opener=lambda path, flags: os.open(path, flags, 0o600),
        )
        return cast(TextIOWrapper, stream)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._follow_rotation()
        except OSError:
            self.handleError(record)
        else:
            super().emit(record)

    def doRollover(self) -> None:
        try:
            super().doRollover()
        except OSError:
            # On Windows a file another server has open cannot be renamed: go on in this one.
            if self.stream is None:
                self.stream = self._open()

    def handleError(self, record: logging.LogRecord) -> None:
        """Said once, in one line: a full disk would fill the terminal too."""
        if not self._failed:
            self._failed = True
            sys.stderr.write(f"bamboo-mcp: the log cannot be written: {sys.exc_info()[1]}\n")

    def _follow_rotation(self) -> None:
        """Another server may have rotated: then the name belongs to a new file."""
        if self.stream is None or sys.platform == "win32":
            return
        try:
            named = os.stat(self.baseFilename)  # noqa: PTH116
        except OSError:
            named = None
        here = os.fstat(self.stream.fileno())
        if named is None or (named.st_ino, named.st_dev) != (here.st_ino, here.st_dev):
            self.stream.close()
            self.stream = self._open()
