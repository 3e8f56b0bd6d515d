"""Where a provider's key comes from: a reference in the settings, else the vendor's usual variable.

A key is read when it is needed and lives in a `Secret`; what is said about it names places, never
the key.
"""

from __future__ import annotations

from collections.abc import Mapping

from bamboo_mcp.domain.errors import SettingsError
from bamboo_mcp.domain.secrets import Secret
from bamboo_mcp.settings.references import resolve_reference

NO_KEY = Secret("")


def read_key(
    reference: str, *, usual_env: str, instance: str, environ: Mapping[str, str]
) -> tuple[Secret, str]:
    """The key and "", or an empty one and exactly what is wrong with where it should be.

    Without a `reference` the variable `usual_env` is looked at, and to find nothing there is not
    wrong: whether a key is needed is the provider's to say.
    """
    if not reference:
        if not environ.get(usual_env, "").strip():
            return NO_KEY, ""
        reference, place = f"env:{usual_env}", "the environment"
    else:
        place = f"the setting providers.{instance}.api_key"
    try:
        return resolve_reference(reference, environ), ""
    except SettingsError as error:
        return NO_KEY, f"{place}: {error.message}"


def key_needed(instance: str, env: str) -> str:
    """What to do when there is no key at all."""
    return (
        f"no key: set {env}, or the setting providers.{instance}.api_key to env:NAME or file:PATH"
    )
