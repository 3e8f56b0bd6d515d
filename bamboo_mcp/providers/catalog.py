"""Which model serves: finds the provider by name, loads it at first use, closes it at the end.

Nothing of a vendor is imported here. A provider type is a contribution; an instance is a type under
a name, with its own key, address and options (two accounts, a proxy).
"""

from __future__ import annotations

import difflib
import importlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Any, Protocol, Self, get_args

import anyio
import anyio.to_thread
import msgspec

from bamboo_mcp.contributions import ProviderConfig, ProviderContribution
from bamboo_mcp.domain.errors import BambooError, PluginError, UnknownModel
from bamboo_mcp.domain.models import ModelEntry, Role
from bamboo_mcp.domain.provider_errors import AuthenticationFailed
from bamboo_mcp.ports import Provider
from bamboo_mcp.providers.credentials import read_key
from bamboo_mcp.providers.retrying import Retrying
from bamboo_mcp.providers.table import vendor_of

logger = logging.getLogger(__name__)

ROLES: tuple[Role, ...] = get_args(Role)
LAST_RESORT = "offline"
"""The type that is taken when no other is ready."""

_CLOSE_WITHIN_S = 5.0


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


class ProviderCatalog:
    """Implements `ports.Models`. Enter it before use; leaving closes what was opened.

    `providers` are the instances the settings name, `roles` the model of each role ("" or absent:
    not said). A contributed type that no instance bears the name of is an instance by itself.
    A provider that holds connections has `async def aclose()`; it is called on leaving.
    """

    def __init__(
        self,
        contributions: Sequence[ProviderContribution],
        *,
        providers: Mapping[str, InstanceSettings] | None = None,
        roles: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        load_within_s: float = 30.0,
    ) -> None:
        self._load_within_s = load_within_s
        self._roles = dict(roles or {})
        environ = os.environ if environ is None else environ
        self._instances: dict[str, _Instance] = {}
        types = {contribution.type: contribution for contribution in contributions}
        for name, settings in (providers or {}).items():
            kind = settings.type or name
            self._instances[name] = _Instance(name, kind, types.get(kind), settings, environ)
        for kind, contribution in types.items():
            if kind not in self._instances:
                self._instances[kind] = _Instance(kind, kind, contribution, None, environ)
        self._types = sorted(types)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for instance in self._instances.values():
            await instance.close()

    async def resolve(self, name: str) -> tuple[Provider, str]:
        """The provider, wrapped so that it retries, and the model's own name.

        Raises:
            UnknownModel: Naming the value and what is known.
            AuthenticationFailed: The provider is known, and what it needs is missing.
            PluginError: The provider's module does not load, or not within `load_within_s`.
        """
        instance, model = self._find(name)
        provider = instance.opened
        if provider is None:
            if missing := instance.missing():
                raise AuthenticationFailed(
                    f"the model {name or f'{instance.name}:{model}'!r} cannot be used: "
                    f"{instance.name}: {missing}",
                    hint="`bamboo-mcp models` shows what is ready.",
                    provider=instance.name,
                )
            provider = await instance.open(self._load_within_s)
        provider.caps(model)  # a provider that knows all its models says here that it lacks one
        return provider, model

    def problem(self, name: str = "") -> str:
        """What stands in the way of a model; "" when nothing is known to. Loads nothing."""
        try:
            instance, _ = self._find(name)
        except UnknownModel as error:
            return error.message
        return instance.missing()

    async def menu(self) -> Sequence[ModelEntry]:
        """Every instance and model we know of. Asks no network and loads no provider."""
        return [row for instance in self._instances.values() for row in instance.rows()]

    def _find(self, name: str) -> tuple[_Instance, str]:
        name = name.strip()
        if name in ROLES:
            setting, name = f"models.{name}", self._roles.get(name, "").strip()
        else:
            setting = ""
        if not name:
            setting, name = "models.primary", self._roles.get("primary", "").strip()
        if not name:
            return self._choose()
        found = self._named(name)
        if found is None:
            raise self._unknown(name, setting)
        return found

    def _named(self, name: str) -> tuple[_Instance, str] | None:
        prefix, colon, model = name.partition(":")
        instance = self._instances.get(prefix)
        if instance is not None and instance.contribution is not None:
            chosen = model.strip() or instance.first_model()
            return (instance, chosen) if chosen else None
        if instance is not None and colon:
            return None
        return self._bare(name)

    def _bare(self, model: str) -> tuple[_Instance, str] | None:
        """The instance that serves a model named without its provider; a ready one, if any is."""
        knowing = [i for i in self._instances.values() if model in i.known_models()]
        if not knowing and (vendor := vendor_of(model)):
            knowing = [i for i in self._instances.values() if i.type == vendor]
        ready = [instance for instance in knowing if not instance.missing()]
        chosen = next(iter(ready or knowing), None)
        return (chosen, model) if chosen is not None else None

    def _choose(self) -> tuple[_Instance, str]:
        """Nobody named a model: the first instance that has a key, else the last resort."""
        for instance in self._instances.values():
            if instance.has_key and not instance.missing() and (model := instance.first_model()):
                return instance, model
        for instance in self._instances.values():
            if instance.type == LAST_RESORT and (model := instance.first_model()):
                return instance, model
        raise UnknownModel("no model is set and none is ready", hint=self._known_hint())

    def _unknown(self, name: str, setting: str) -> UnknownModel:
        prefix = name.partition(":")[0]
        instance = self._instances.get(prefix)
        place = f" (from the setting {setting})" if setting else ""
        if instance is not None and instance.contribution is None:
            return UnknownModel(f"{name!r}{place}: {instance.missing()}", hint=self._known_hint())
        names = [*self._instances, *(n for i in self._instances.values() for n in i.full_names())]
        bare = [model for i in self._instances.values() for model in i.known_models()]
        close = difflib.get_close_matches(name, [*names, *bare], n=3)
        meant = f"; did you mean {' or '.join(close)}?" if close else ""
        return UnknownModel(f"there is no model {name!r}{place}{meant}", hint=self._known_hint())

    def _known_hint(self) -> str:
        return (
            f"A model is PROVIDER:MODEL, or one of {', '.join(ROLES)}. "
            f"Providers: {', '.join(self._instances) or 'none'}. "
            "`bamboo-mcp models` lists their models."
        )


class _Instance:
    """One provider type under one name, opened at most once."""

    def __init__(
        self,
        name: str,
        kind: str,
        contribution: ProviderContribution | None,
        settings: InstanceSettings | None,
        environ: Mapping[str, str],
    ) -> None:
        self.name = name
        self.type = kind
        self.contribution = contribution
        self._settings = settings
        self._environ = environ
        self._lock = anyio.Lock()
        self._loading: Future[Provider] | None = None
        self.opened: Retrying | None = None

    @property
    def has_key(self) -> bool:
        return bool(self._config()[0].api_key)

    def missing(self) -> str:
        """What it lacks, exactly; empty when it can be used."""
        if self.contribution is None:
            return f"there is no provider type {self.type!r}; is the plugin that brings it on?"
        if self.opened is not None:
            return ""
        config, problem = self._config()
        if problem:
            return problem
        try:
            return self.contribution.missing(config)
        except (Exception, SystemExit) as error:
            logger.exception("the provider %s cannot say whether it is ready", self.name)
            return f"the plugin failed: {type(error).__name__}: {error}"

    def known_models(self) -> list[str]:
        return [row.name for row in self.contribution.models] if self.contribution else []

    def full_names(self) -> Iterator[str]:
        return (f"{self.name}:{model}" for model in self.known_models())

    def first_model(self) -> str:
        return next(iter(self.known_models()), "")

    def rows(self) -> list[ModelEntry]:
        missing = self.missing()
        rows = self.contribution.models if self.contribution else ()
        return [
            msgspec.structs.replace(row, provider=self.name, ready=not missing, missing=missing)
            for row in rows or (ModelEntry(name="", provider=self.name),)
        ]

    async def open(self, within_s: float) -> Retrying:
        if self.opened is not None:
            return self.opened
        with anyio.move_on_after(within_s):
            async with self._lock:  # two runs may ask for the same provider while it loads
                if self.opened is None:
                    self.opened = Retrying(await self._loaded(within_s))
                return self.opened
        raise PluginError(
            f"the provider {self.name!r} did not load within {within_s:g} s",
            hint="It may still come: try again later, or name another model.",
        )

    async def _loaded(self, within_s: float) -> Provider:
        """What `_load` gives, from a thread: a vendor's SDK takes most of a second to import.

        A thread cannot be stopped. One whose caller gave up goes on, and the next caller waits for
        it and takes what it brings, instead of loading beside it.
        """
        loading = self._loading
        if loading is None or loading.cancel() or (loading.done() and loading.exception()):
            loading = self._loading = Future()
            await anyio.to_thread.run_sync(self._load_into, loading, abandon_on_cancel=True)
        else:
            await anyio.to_thread.run_sync(wait, [loading], within_s, abandon_on_cancel=True)
        return loading.result(timeout=0)

    async def close(self) -> None:
        loading, self._loading = self._loading, None
        self.opened = None
        if loading is None or loading.cancel() or not loading.done() or loading.exception():
            return
        aclose = getattr(loading.result(), "aclose", None)
        if aclose is None:
            return
        with anyio.move_on_after(_CLOSE_WITHIN_S, shield=True):
            try:
                await aclose()
            except Exception:
                logger.exception("the provider %s did not close", self.name)

    def _load_into(self, loading: Future[Provider]) -> None:
        if not loading.set_running_or_notify_cancel():
            return
        try:
            loading.set_result(self._load())
        except BambooError as error:
            loading.set_exception(error)

    def _load(self) -> Provider:
        assert self.contribution is not None, "missing() comes first"
        load: Any = self.contribution.load
        config = self._config()[0]
        try:
            if isinstance(load, str):
                module, _, function = load.partition(":")
                load = getattr(importlib.import_module(module), function)
            provider: Provider = load(config)
            return provider
        except BambooError:
            raise
        except BaseException as error:  # in a thread nobody but the plugin raises these
            logger.exception("the provider %s does not load", self.name)
            raise PluginError(
                f"the provider {self.name!r} does not load: {type(error).__name__}: {error}",
                hint="The log has the traceback.",
            ) from error

    def _config(self) -> tuple[ProviderConfig, str]:
        settings = self._settings
        options = dict(settings.options) if settings else {}
        usual_env = self.contribution.api_key_env if self.contribution else ""
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
            base_url=settings.base_url if settings else "",
            api_key=key,
            options=options,
        )
        return config, problem
