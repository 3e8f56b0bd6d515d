"""References to secrets: where a key is, never the key itself.

`env:NAME` and `file:PATH` are read when they are resolved. `keyring:SERVICE/NAME` and
`cmd:COMMAND ARG...` may ask a person or take seconds, so they are looked up when the secret is
first revealed and not before.
"""

from __future__ import annotations

import re
import shlex
import stat
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from bamboo_mcp.domain.errors import SettingsError
from bamboo_mcp.domain.redaction import redacted_text
from bamboo_mcp.domain.secrets import Secret
from bamboo_mcp.settings.paths import expanded

FORMS = "env:NAME, file:PATH, keyring:SERVICE/NAME or cmd:COMMAND"
"""What a reference may be, for messages."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_CHARS = 16_384


def check_reference(text: str) -> str:
    """`text` if it is a reference or empty. The error never shows it: it may be a key.

    Raises:
        ValueError: With what to write instead.
    """
    scheme, _, place = text.partition(":")
    if not text:
        return text
    check = _CHECKS.get(scheme)
    if check is None or not place.strip() or _looks_like_a_key(scheme, place) or not check(place):
        raise ValueError(
            "must say where the key is, not be the key: put the key into an environment variable "
            'and write "env:NAME", or into a file and write "file:PATH"; "keyring:SERVICE/NAME" '
            'and "cmd:COMMAND" are understood too'
        )
    return text


def resolve_reference(reference: str, environ: Mapping[str, str]) -> Secret:
    """The secret a reference stands for; an empty one for an empty reference.

    That of `keyring:` and `cmd:` is deferred: its `reveal` looks it up, blocking for up to
    20 seconds, and raises `SettingsError` itself.

    Raises:
        SettingsError: Nothing is there, or it cannot be a key. Names the place, never the content.
    """
    try:
        check_reference(reference)
    except ValueError as error:
        raise SettingsError(f"a secret's reference {error}") from None
    scheme, _, place = reference.partition(":")
    match scheme:
        case "env":
            return Secret(_key(environ.get(place, ""), reference, "is not set", f"set {place}"))
        case "file":
            found = _read(expanded(Path(place)), reference)
            hint = f"write the key into {place}"
            return Secret(_key(found, reference, "is an empty file", hint))
        case "keyring":
            return Secret.deferred(partial(_from_keyring, place))
        case "cmd":
            words = shlex.split(place)
            return Secret.deferred(partial(_from_command, words, environ))
        case _:
            return Secret("")


def _key(found: str, shown: str, nothing: str, hint: str) -> str:
    """What was found, if it can be a key. `nothing` says what it means that there is none."""
    found = found.strip()
    if not found:
        raise SettingsError(f"{shown!r} {nothing}", hint=hint)
    if not found.isascii() or not found.isprintable() or " " in found:
        raise SettingsError(f"what {shown!r} holds is not a key: it has spaces or odd letters")
    return found


def _read(path: Path, reference: str) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            # A pipe would hold up whoever opens it until somebody writes.
            raise SettingsError(f"{reference!r} cannot be read: it is no ordinary file")
        with path.open(encoding="utf-8") as file:
            return file.read(_MAX_CHARS)
    except OSError as error:
        raise SettingsError(f"{reference!r} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise SettingsError(f"what {reference!r} holds is not text") from None


def _from_keyring(place: str) -> str:
    from bamboo_mcp.settings.keyrings import entry_hint, keyring_entry

    service, _, name = place.rpartition("/")
    found = keyring_entry(service, name)
    return _key(found, f"keyring:{place}", "is empty", entry_hint(service, name))


def _from_command(words: list[str], environ: Mapping[str, str]) -> str:
    from bamboo_mcp.settings.key_commands import command_output, shown_command

    shown = shown_command(words)
    found = command_output(words, environ)
    if len(found.strip().splitlines()) > 1:
        raise SettingsError(
            f"{shown!r} wrote several lines",
            hint="It must write the key and nothing else to its standard output.",
        )
    return _key(found, shown, "wrote nothing", "It must write the key to its standard output.")


def _looks_like_a_key(scheme: str, place: str) -> bool:
    """The path of a file may look like anything."""
    return scheme != "file" and redacted_text(place) != place


def _is_variable(place: str) -> bool:
    return _VARIABLE.fullmatch(place) is not None


def _is_file(place: str) -> bool:
    if not expanded(Path(place)).is_absolute():
        raise ValueError("names a file by a relative path; write file:/absolute/path or file:~")
    return True


def _is_entry(place: str) -> bool:
    service, _, name = place.rpartition("/")
    if not service.strip() or not name.strip() or not place.isprintable():
        raise ValueError('names no entry of a keyring; write "keyring:SERVICE/NAME"')
    return True


def _is_command(place: str) -> bool:
    try:
        words = shlex.split(place)
    except ValueError:
        raise ValueError("is a command with a quote that is not closed") from None
    if not words or not words[0] or "\0" in place:
        raise ValueError('names no command; write "cmd:PROGRAM ARGUMENT..."')
    program = Path(words[0])
    if program.name != words[0] and not expanded(program).is_absolute():
        raise ValueError(
            "names a program by a relative path; write its whole path, or only its name if it is "
            "on the PATH"
        )
    return True


_CHECKS = {"env": _is_variable, "file": _is_file, "keyring": _is_entry, "cmd": _is_command}
