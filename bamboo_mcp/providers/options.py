"""The `options` of a configured provider, checked: an unknown or wrong one names its setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.errors import SettingsError


class Options:
    """Reads `providers.NAME.options`; each method raises `SettingsError` for what it cannot use."""

    def __init__(self, config: ProviderConfig, known: Sequence[str]) -> None:
        self._config = config
        for key in config.options:
            if key not in known:
                raise self.wrong(key, f"is not an option; known are {', '.join(known) or 'none'}")

    def choice(self, key: str, allowed: Sequence[str], default: str) -> str:
        value = self._config.options.get(key, default)
        if value not in allowed:
            *most, last = [f'"{one}"' for one in allowed]
            raise self.wrong(key, f"must be {', '.join(most)} or {last}")
        return str(value)

    def flag(self, key: str, *, default: bool) -> bool:
        value = self._config.options.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "must be true or false")
        return value

    def seconds(self, key: str, default: float) -> float:
        value = self._config.options.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
            raise self.wrong(key, "must be a number of seconds above 0")
        return float(value)

    def text(self, key: str) -> str:
        value = self._config.options.get(key, "")
        if not isinstance(value, str):
            raise self.wrong(key, "must be text")
        return value

    def headers(self) -> dict[str, str]:
        value = self._config.options.get("headers", {})
        if not isinstance(value, Mapping) or not all(isinstance(v, str) for v in value.values()):
            raise self.wrong("headers", "must map header names to text")
        return dict(value)

    def wrong(self, key: str, problem: str) -> SettingsError:
        return SettingsError(f"providers.{self._config.name}.options.{key} {problem}")
