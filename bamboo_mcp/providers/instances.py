"""One provider under one name: its configuration, what it lacks, its models, opened at most once.

Nothing of a vendor is imported here. A provider type is a contribution; an instance is a type under
a name, with its own key, address and options (two accounts, a proxy, a server on this machine).
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import anyio
import msgspec

from bamboo_mcp.contributions import Probe, ProviderConfig, ProviderContribution, ProviderPreset
from bamboo_mcp.domain.errors import BambooError
from bamboo_mcp.domain.models import ModelEntry, ModelFacts
from bamboo_mcp.domain.provider_errors import AuthenticationFailed
from bamboo_mcp.domain.secrets import Secret, starred
from bamboo_mcp.ports import Provider
from bamboo_mcp.providers.credentials import read_key
from bamboo_mcp.providers.loading import Loader
from bamboo_mcp.providers.prices import Prices
from bamboo_mcp.providers.retrying import Retrying

logger = logging.getLogger(__name__)

FRESH_S = 300.0
"""For so long the answer to which models there are is believed."""
BRIEFLY_S = 10.0
"""The same of a server on this machine, which people start and stop, and of no answer at all."""
PROBE_WITHIN_S = 0.3
"""So long a server on this machine has to show that it is there."""
RENEW_WITHIN_S = 30.0
"""So long a keyring or a command has to give another key, and its provider to be made."""


class InstanceSettings(Protocol):
    """What the settings say of one provider (`settings.ProviderSettings`)."""

    @property
    def type(self) -> str: ...
    @property
    def base_url(self) -> str: ...
    @property
    def api_key(self) -> str: ...
    @property
    def options(self) -> Mapping[str, Any]: ...
    @property
    def facts(self) -> Mapping[str, ModelFacts]: ...


class Instance:
    def __init__(
        self,
        name: str,
        kind: str,
        contribution: ProviderContribution | None,
        *,
        preset: ProviderPreset | None = None,
        settings: InstanceSettings | None = None,
        environ: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
        probe_within_s: float = PROBE_WITHIN_S,
    ) -> None:
        self.name = name
        self.type = kind
        self.contribution = contribution
        self.preset = preset
        self._settings = settings
        self._environ = environ
        self._clock = clock
        self._probe_within_s = probe_within_s
        self._asking = anyio.Lock()
        self._loader = Loader(name, self._make, lambda: self._sound_config().api_key)
        self.opened: Retrying | None = None
        self._sure: set[str] = set()
        self._listed: Sequence[ModelEntry] | None = None
        self._listed_until = 0.0

    @cached_property
    def prices(self) -> Prices:
        """What its models cost."""
        said = self._settings.facts if self._settings else {}
        return Prices(base_url=self._base_url(), said=said)

    def wonders_about(self, model: str) -> bool:
        """Should the service be asked about this model, whose window decides when to compact?

        Not if anybody knows it, and not again while what the service said last still counts.
        """
        if model in self._sure:
            return False
        if model in self.known_models():
            self._sure.add(model)
            return False
        return self._clock() >= self._listed_until

    @property
    def is_set(self) -> bool:
        """Do the settings name it?"""
        return self._settings is not None

    @property
    def _key_may_change(self) -> bool:
        """While we run: a file, a keyring or a command may give another; our environment stays."""
        reference = self._settings.api_key if self._settings is not None else ""
        return bool(reference) and not reference.startswith("env:")

    @property
    def is_local(self) -> bool:
        """A server on this machine that counts only while it answers."""
        return self.preset is not None and bool(self.preset.probe) and not self.is_set

    @property
    def has_key(self) -> bool:
        return bool(self.config()[0].api_key)

    def missing(self) -> str:
        """What it lacks, exactly; empty when nothing is known to stand in the way."""
        if self.contribution is None:
            return f"there is no provider type {self.type!r}; is the plugin that brings it on?"
        if self.opened is not None:
            return ""
        config, problem = self.config()
        if problem:
            return problem
        try:
            return self.contribution.missing(config)
        except (Exception, SystemExit) as error:
            logger.exception("the provider %s cannot say whether it is ready", self.name)
            return f"the plugin failed: {type(error).__name__}: {starred(str(error))}"

    def known_models(self) -> list[str]:
        """By name: what settings say, what is known beforehand, what the service listed."""
        said = self._settings.facts if self._settings else ()
        listed = self._listed or ()
        return list(dict.fromkeys([*said, *(row.name for row in (*self._shipped(), *listed))]))

    def full_names(self) -> Iterator[str]:
        return (f"{self.name}:{model}" for model in self.known_models())

    def first_model(self) -> str:
        """The one to take when nobody names one: of those that were listed, one with tools."""
        listed = [row.name for row in self._listed or () if row.caps.tools]
        said = self._settings.facts if self._settings else ()
        rows = [*said, *(row.name for row in self._shipped()), *listed]
        return next(iter(rows), "")

    def rows(self) -> list[ModelEntry]:
        """Its lines of the menu; one without a name when no model of it is known."""
        missing = self.missing()
        rows: dict[str, ModelEntry] = {row.name: row for row in self._shipped()}
        for row in self._listed or ():
            rows[row.name] = row
            missing = missing or row.missing
        facts = self._settings.facts if self._settings else {}
        for name, said in facts.items():
            row = rows.get(name) or ModelEntry(name=name, provider=self.name)
            rows[name] = msgspec.structs.replace(row, caps=said.over(row.caps))
        if self.is_local and not self._listed:
            missing = missing or f"no server answers at {self.config()[0].base_url}"
        rows.pop("", None)
        return [
            msgspec.structs.replace(row, provider=self.name, ready=not missing, missing=missing)
            for row in rows.values() or (ModelEntry(name="", provider=self.name),)
        ]

    def priced_rows(self) -> list[ModelEntry]:
        """The same with prices, where they are known. Loads the data of all prices."""
        prices = self.prices
        rows: list[ModelEntry] = []
        for row in self.rows():
            known = prices.of(self.type, row.name) if row.name else None
            if known is not None:
                row = msgspec.structs.replace(row, price_input=known[0], price_output=known[1])
            rows.append(row)
        return rows

    async def ask(self, within_s: float, load_within_s: float) -> None:
        """Have the service say which models it has; what it said last counts for a while."""
        with anyio.move_on_after(within_s):
            async with self._asking:
                if self._clock() < self._listed_until or self.missing():
                    return
                self._listed = await self._list(load_within_s)
                lasting = not self.is_local and any(row.name for row in self._listed)
                self._listed_until = self._clock() + (FRESH_S if lasting else BRIEFLY_S)
                return
        if not self._listed:
            silent = f"did not answer within {within_s:g} s"
            self._listed = [ModelEntry(name="", provider=self.name, missing=silent)]
            self._listed_until = self._clock() + BRIEFLY_S

    async def _list(self, load_within_s: float) -> Sequence[ModelEntry]:
        try:
            if self.preset is not None and self.is_local:
                probe: Probe = found(self.preset.probe)
                if not await probe(self.config()[0], self._probe_within_s):
                    return ()
            return tuple(await (await self.open(load_within_s)).models())
        except (Exception, SystemExit) as error:
            if not isinstance(error, BambooError):
                logger.exception("the provider %s cannot say which models it has", self.name)
            said = error.message if isinstance(error, BambooError) else type(error).__name__
            return [ModelEntry(name="", provider=self.name, missing=said)]

    async def open(self, within_s: float) -> Retrying:
        """Raises `PluginError` when its module does not load, or not within `within_s`."""
        if self.opened is None:
            served = await self._loader.open(within_s)
            if self.opened is None:
                self.opened = Retrying(
                    served,
                    renew=self._renew if self._key_may_change else None,
                    facts=self._settings.facts if self._settings else {},
                )
        return self.opened

    async def close(self) -> None:
        self.opened = None
        await self._loader.close()

    async def _renew(self, refused: Provider, failure: AuthenticationFailed) -> None:
        await self._loader.renew(refused, failure, RENEW_WITHIN_S)

    def _make(self) -> tuple[Provider, Secret]:
        assert self.contribution is not None, "missing() comes first"
        config = self._sound_config()
        return found(self.contribution.load)(config), config.api_key

    def _sound_config(self) -> ProviderConfig:
        config, problem = self.config()
        if problem:
            raise AuthenticationFailed(f"{self.name}: {problem}", provider=self.name)
        return config

    def _base_url(self) -> str:
        """The settings' address, the preset's, or the one that the vendor's SDK would read."""
        if self._settings is not None and self._settings.base_url:
            return self._settings.base_url
        if self.preset is not None:
            return self.preset.base_url
        env = self.contribution.base_url_env if self.contribution else ""
        return self._environ.get(env, "").strip() if env and self.name == self.type else ""

    def _shipped(self) -> Sequence[ModelEntry]:
        if self.preset is not None:
            return self.preset.models
        return self.contribution.models if self.contribution else ()

    def config(self) -> tuple[ProviderConfig, str]:
        """Its configuration, and what is wrong with where its key should be."""
        settings, preset = self._settings, self.preset
        options = dict(preset.options if preset else {}) | dict(
            settings.options if settings else {}
        )
        usual_env = self.contribution.api_key_env if self.contribution else ""
        if preset is not None:
            usual_env = preset.api_key_env
        key, problem = read_key(
            settings.api_key if settings else "",
            # A server that needs no key must not be sent the vendor's.
            usual_env="" if options.get("keyless") else usual_env,
            instance=self.name,
            environ=self._environ,
        )
        config = ProviderConfig(
            name=self.name,
            type=self.type,
            base_url=self._base_url(),
            api_key=key,
            options=options,
            models=settings.facts if settings else {},
        )
        return config, problem


def found(place: Any) -> Any:
    """A function, or the one that `package.module:function` names."""
    if not isinstance(place, str):
        return place
    module, _, function = place.partition(":")
    return getattr(importlib.import_module(module), function)
