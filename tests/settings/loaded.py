"""Settings loaded from what a test says, and from nothing of this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from bamboo_mcp.domain.errors import SettingsError
from bamboo_mcp.settings import Settings, load_settings

NO_FILE = Path(os.devnull)


def loaded(
    file: Path = NO_FILE,
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Settings:
    return load_settings(config=file, environ=environ or {}, flags=flags or {})


def refusal(
    file: Path = NO_FILE,
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> SettingsError:
    """The error that loading ends with."""
    with pytest.raises(SettingsError) as raised:
        loaded(file, environ=environ, flags=flags)
    # Neither chained nor shown: the original holds every value, secrets too.
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    return raised.value


def written(folder: Path, text: str) -> Path:
    file = folder / "config.toml"
    file.write_text(text, encoding="utf-8")
    return file
