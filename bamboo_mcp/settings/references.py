"""References to secrets: where a key is, never the key itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from bamboo_mcp.domain.errors import SettingsError
from bamboo_mcp.domain.secrets import Secret
from bamboo_mcp.settings.paths import expanded

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_CHARS = 16_384


def check_reference(text: str) -> str:
    """`text` if it is `env:NAME`, `file:PATH` or empty. The error never shows it: it may be a key.

    Raises:
        ValueError: With what to write instead.
    """
    scheme, _, place = text.partition(":")
    if not text:
        return text
    if scheme == "env" and _VARIABLE.fullmatch(place):
        return text
    if scheme == "file" and place:
        if not expanded(Path(place)).is_absolute():
            raise ValueError("names a file by a relative path; write file:/absolute/path or file:~")
        return text
    if scheme in ("keyring", "cmd"):
        raise ValueError(f"{scheme}: references come later; until then use env:NAME or file:PATH")
    raise ValueError(
        "must say where the key is, not be the key: put the key into an environment variable and "
        'write "env:NAME", or into a file and write "file:PATH"'
    )


def resolve_reference(reference: str, environ: Mapping[str, str]) -> Secret:
    """The secret that `env:NAME` or `file:PATH` stands for; an empty one for an empty reference.

    Raises:
        SettingsError: Nothing is there, or it cannot be a key. Names the place, never the content.
    """
    try:
        check_reference(reference)
    except ValueError as error:
        raise SettingsError(f"a secret's reference {error}") from None
    if not reference:
        return Secret("")
    scheme, _, place = reference.partition(":")
    if scheme == "env":
        found = environ.get(place, "")
    else:
        found = _read(expanded(Path(place)), reference)
    found = found.strip()
    if not found:
        raise SettingsError(
            f"{reference!r} is {'not set' if scheme == 'env' else 'an empty file'}",
            hint=f"set {place}" if scheme == "env" else f"write the key into {place}",
        )
    if not found.isascii() or not found.isprintable() or " " in found:
        raise SettingsError(f"what {reference!r} holds is not a key: it has spaces or odd letters")
    return Secret(found)


def _read(path: Path, reference: str) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_MAX_CHARS)
    except OSError as error:
        raise SettingsError(f"{reference!r} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise SettingsError(f"what {reference!r} holds is not text") from None
