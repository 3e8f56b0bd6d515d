"""Where a provider's key comes from: a reference in the settings, else the vendor's usual variable.

A key is read when it is needed and lives in a `Secret`; what is said about it names places, never
the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from bamboo_mcp.domain.errors import SettingsError
from bamboo_mcp.domain.provider_errors import AuthenticationFailed
from bamboo_mcp.domain.secrets import Secret
from bamboo_mcp.settings.references import FORMS, resolve_reference

NO_KEY = Secret("")


def read_key(
    reference: str, *, usual_env: str, instance: str, environ: Mapping[str, str]
) -> tuple[Secret, str]:
    """The key and "", or an empty one and exactly what is wrong with where it should be.

    Without a `reference` the variable `usual_env` is looked at, and to find nothing there is not
    wrong: whether a key is needed is the provider's to say.

    What a keyring holds or a command writes is not looked at here: that secret is deferred, and its
    `reveal` raises `AuthenticationFailed`, saying what is said here of the others.
    """
    if not reference:
        if not environ.get(usual_env, "").strip():
            return NO_KEY, ""
        reference, place = f"env:{usual_env}", "the environment"
    else:
        place = f"the setting providers.{instance}.api_key"
    try:
        secret = resolve_reference(reference, environ)
    except SettingsError as error:
        return NO_KEY, f"{place}: {error.message}"
    if secret.pending:
        load = partial(_revealed, secret, place, instance)
        secret = Secret.deferred(load)
    return secret, ""


def key_needed(instance: str, env: str) -> str:
    """What to do when there is no key at all."""
    return f"no key: set {env}, or the setting providers.{instance}.api_key to {FORMS}"


def _revealed(secret: Secret, place: str, instance: str) -> str:
    try:
        return secret.reveal()
    except SettingsError as error:
        raise AuthenticationFailed(
            f"{instance}: {place}: {error.message}", hint=error.hint, provider=instance
        ) from error
