"""How a command ends that could not do its work: a red line or two, a hint, an exit code."""

from __future__ import annotations

import errno
import sys
import traceback
from typing import IO, Any

import click

from bamboo_mcp.cli.plain_text import printable
from bamboo_mcp.domain.errors import BambooError, InvalidInput, SettingsError

ERROR, USAGE, CANCELLED = 1, 2, 130
"""Exit codes; 0 is completed."""


class Failure(click.ClickException):
    """A `BambooError` on its way to the terminal."""

    exit_code = ERROR

    def __init__(self, error: BambooError, *, verbose: bool) -> None:
        super().__init__(error.message)
        self._error = error
        self._verbose = verbose

    def show(self, file: IO[Any] | None = None) -> None:
        if self._verbose:
            traceback.print_exception(self._error, file=sys.stderr)
        show_error(self._error.message, self._error.hint)


class Misuse(Failure):
    """One that the person can put right on the command line or in the settings."""

    exit_code = USAGE


def show_error(message: str, hint: str = "") -> None:
    """On standard error: what happened in red, below it what to do."""
    click.secho(printable(f"error: {message}"), fg="red", err=True)
    if hint:
        click.secho(printable(hint), fg="red", err=True)


def failure_of(error: BaseException, *, verbose: bool) -> Exception | None:
    """What click shall end with; None for bugs and for what click knows itself."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, BambooError):
        kind = Misuse if isinstance(error, InvalidInput | SettingsError) else Failure
        return kind(error, verbose=verbose)
    if isinstance(error, KeyboardInterrupt):
        return click.exceptions.Exit(CANCELLED)
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        # Whoever read our output left: click ends such a command quietly, outside of any group.
        return error
    return None
