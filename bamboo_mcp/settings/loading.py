"""`load_settings`: file, environment and flags, each checked by itself, then put together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from bamboo_mcp.settings.complaints import complaint
from bamboo_mcp.settings.keys import merged
from bamboo_mcp.settings.paths import absolute
from bamboo_mcp.settings.sections import Settings
from bamboo_mcp.settings.sources import (
    CONFIG_VARIABLE,
    Layer,
    environment_layer,
    file_layer,
    flag_layer,
)

NOTHING: Mapping[str, object] = {}


def config_file(
    config: Path | None = None, environ: Mapping[str, str] = os.environ
) -> tuple[Path, str]:
    """The settings file and who names it: "--config", "BAMBOO_CONFIG", or "default"."""
    if config is not None:
        return absolute(config, Path.cwd()), "--config"
    if named := environ.get(CONFIG_VARIABLE, "").strip():
        return absolute(named, Path.cwd()), CONFIG_VARIABLE
    from platformdirs import user_config_path

    return user_config_path("bamboo-mcp", appauthor=False) / "config.toml", "default"


def load_settings(
    *,
    config: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    flags: Mapping[str, object] = NOTHING,
) -> Settings:
    """Settings from the file, over it the environment, over both the flags (dotted key to value).

    A file that nobody named may be missing. What is overridden must be right all the same: it would
    strike on the day the override goes.

    Raises:
        SettingsError: Where, which key, which value, what is allowed; a secret is never shown.
    """
    path, named_by = config_file(config, environ)
    layers: list[Layer] = []
    if named_by != "default" or _exists(path):
        layers.append(file_layer(path))
    layers.append(environment_layer(environ))
    layers.append(flag_layer(flags))
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    for layer in layers:
        _check(layer)
        values = merged(values, layer.values)
        sources |= layer.said
    return Settings.model_validate(values).with_sources(sources)


def _check(layer: Layer) -> None:
    try:
        Settings.model_validate(layer.values)
    except ValidationError as error:
        raise complaint(error, layer) from None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:  # somebody else's home folder: their settings are not ours
        return False
