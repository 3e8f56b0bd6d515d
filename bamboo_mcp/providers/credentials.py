"""Where a provider's key comes from: a reference in the settings, else the vendor's usual variable.

A key is read when it is needed and lives in a `Secret`; what is said about it names places, never
the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bamboo_mcp.domain.secrets import Secret

NO_KEY = Secret("")


def read_key(
    reference: str, *, usual_env: str, instance: str, environ: Mapping[str, str]
) -> tuple[Secret, str]:
    """The key and "", or an empty one and exactly what is wrong with the reference.

    `reference` is `env:NAME`, `file:PATH` or "" (then `usual_env`, where nothing being there is not
    an error of the reference).
    """
    setting = f"providers.{instance}.api_key"
    scheme, _, place = reference.partition(":")
    if not reference:
        return _checked(environ.get(usual_env, "") if usual_env else "", usual_env)
    if scheme == "env" and place:
        if not environ.get(place, "").strip():
            return NO_KEY, f"the setting {setting} is {reference!r}, and {place} is not set"
        return _checked(environ[place], place)
    if scheme == "file" and place:
        try:
            text = Path(place).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            return NO_KEY, f"the setting {setting} is {reference!r}, which cannot be read: {reason}"
        if not text.strip():
            return NO_KEY, f"the setting {setting} is {reference!r}, and that file is empty"
        return _checked(text, place)
    return NO_KEY, f"the setting {setting} must be env:NAME or file:PATH"


def _checked(key: str, place: str) -> tuple[Secret, str]:
    """Refuse here what an HTTP header cannot carry: the library's own error would show the key."""
    key = key.strip()
    if not key.isascii() or any(character <= " " for character in key):
        return NO_KEY, f"the key in {place} holds spaces, line breaks or letters no key has"
    return Secret(key), ""


def key_needed(instance: str, env: str) -> str:
    """What to do when there is no key at all."""
    return (
        f"no key: set {env}, or the setting providers.{instance}.api_key to env:NAME or file:PATH"
    )
