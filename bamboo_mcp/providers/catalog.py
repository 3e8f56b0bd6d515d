"""Which model serves: finds the provider by name, loads it at first use, closes it at the end."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Self, get_args

import anyio
import anyio.to_thread

from bamboo_mcp.contributions import ProviderContribution
from bamboo_mcp.domain.errors import UnknownModel
from bamboo_mcp.domain.models import ModelEntry, Role
from bamboo_mcp.domain.provider_errors import AuthenticationFailed
from bamboo_mcp.domain.tokens import Sizing
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.ports import Provider
from bamboo_mcp.providers.choice import Choice
from bamboo_mcp.providers.fallbacks import Fallbacks
from bamboo_mcp.providers.instances import PROBE_WITHIN_S, Instance, InstanceSettings
from bamboo_mcp.providers.prices import PriceData
from bamboo_mcp.providers.retrying import Retrying
from bamboo_mcp.providers.sizing import Sizings
from bamboo_mcp.providers.table import vendor_of

ROLES: tuple[Role, ...] = get_args(Role)
NOT_SAID: Mapping[str, Sequence[str]] = {}

ASK_WITHIN_S = 3.0
"""For so long the services are asked for their models, all at the same time."""
PRICES_WITHIN_S = 10.0
"""For so long a run waits for the data of prices; it takes a fraction of a second."""
LEARN_WITHIN_S = 2.0
"""For so long a run waits for a service to say what a model can do that nobody knows."""

Wrap = Callable[[Provider], Provider]


class ProviderCatalog:
    """Implements `ports.Models`. Enter it before use; leaving closes what was opened.

    `providers` are the instances the settings name, `roles` the model of each role ("" or absent:
    not said), `fallbacks` the models that follow it. A contributed type, and each of its presets,
    that no instance bears the name of is an instance by itself. `local`: look for a model server on
    this machine when nothing else is there. `wrap` is put around every provider given out.
    A provider that holds connections has `async def aclose()`; it is called on leaving.
    """

    def __init__(
        self,
        contributions: Sequence[ProviderContribution],
        *,
        providers: Mapping[str, InstanceSettings] | None = None,
        roles: Mapping[str, str] | None = None,
        fallbacks: Mapping[str, Sequence[str]] = NOT_SAID,
        environ: Mapping[str, str] | None = None,
        local: bool = False,
        wrap: Wrap | None = None,
        load_within_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        probe_within_s: float = PROBE_WITHIN_S,
    ) -> None:
        self._load_within_s = load_within_s
        self._roles = dict(roles or {})
        self._fallbacks = {role: list(names) for role, names in fallbacks.items() if names}
        self._wrap = wrap
        self._sizings = Sizings()
        self._price_data = PriceData()
        self._instances = _instances(
            contributions,
            providers or {},
            partial(
                Instance,
                environ=os.environ if environ is None else environ,
                clock=clock,
                probe_within_s=probe_within_s,
            ),
        )
        self._choice = Choice(
            self._instances, local=local, load_within_s=load_within_s, clock=clock
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for instance in self._instances.values():
            await instance.close()

    async def resolve(self, name: str) -> tuple[Provider, str]:
        """The provider, wrapped so that it retries and falls back, and the model's own name.

        Raises:
            UnknownModel: Naming the value and what is known.
            AuthenticationFailed: The provider is known, and what it needs is missing.
            PluginError: The provider's module does not load, or not within `load_within_s`.
        """
        provider: Provider
        role = name.strip() or "primary"
        if self._fallbacks and (later := self._fallbacks.get(role)):
            provider = fallbacks = Fallbacks([name, *later], self._resolve)
            model = await fallbacks.start()
        else:
            provider, model = await self._resolve(name)
        return (provider if self._wrap is None else self._wrap(provider)), model

    async def _resolve(self, name: str) -> tuple[Retrying, str]:
        instance, model = self._find(name) or await self._choice.make()
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
        if not model:
            model = await self._first_of(instance)
        if instance.prices.needs_data(instance.type, model):
            self._price_data.begin()
        if instance.wonders_about(model):
            await instance.ask(LEARN_WITHIN_S, self._load_within_s)
        provider.caps(model)  # a provider that knows all its models says here that it lacks one
        return provider, model

    async def _first_of(self, instance: Instance) -> str:
        """The model to take when only the provider was named, and it must say what it has."""
        await instance.ask(ASK_WITHIN_S, self._load_within_s)
        if model := instance.first_model() or next(iter(instance.known_models()), ""):
            return model
        row = instance.rows()[0]
        raise UnknownModel(
            f"no model of {instance.name!r} is known"
            + (f": {row.missing}" if row.missing else ", and it lists none"),
            hint=f"Name one: {instance.name}:MODEL.",
        )

    def problem(self, name: str = "") -> str:
        """What stands in the way of a model; "" when nothing is known to. Asks nobody."""
        try:
            found = self._find(name)
        except UnknownModel as error:
            return error.message
        return found[0].missing() if found is not None else ""

    def goes_on(self, name: str) -> bool:
        return (name.strip() or "primary") in self._fallbacks

    def sizing(self, provider: str, model: str) -> Sizing:
        return self._sizings.of(provider, model)

    def cost(self, provider: str, model: str, usage: Usage) -> float | None:
        instance = self._instances.get(provider)
        if instance is None:
            return None
        if not self._price_data.loaded and instance.prices.needs_data(instance.type, model):
            return None
        return instance.prices.cost(instance.type, model, usage)

    async def load_prices(self, provider: str = "", model: str = "") -> None:
        instance = self._instances.get(provider)
        if not provider or (instance and instance.prices.needs_data(instance.type, model)):
            await self._price_data.wait(PRICES_WITHIN_S)

    async def menu(self, *, ask: bool = False) -> Sequence[ModelEntry]:
        if not ask:
            return [
                row
                for instance in self._instances.values()
                for row in instance.rows()
                if row.name or not instance.is_local
            ]
        async with anyio.create_task_group() as group:
            for one in self._instances.values():
                group.start_soon(one.ask, ASK_WITHIN_S, self._load_within_s)
        # In a thread: the data of all prices takes a moment to load.
        return await anyio.to_thread.run_sync(self._priced_rows)

    def _priced_rows(self) -> list[ModelEntry]:
        return [row for instance in self._instances.values() for row in instance.priced_rows()]

    def _find(self, name: str) -> tuple[Instance, str] | None:
        """None: nobody named a model. A model "": the first of that provider."""
        name = name.strip()
        if name in ROLES:
            setting, name = f"models.{name}", self._roles.get(name, "").strip()
        else:
            setting = ""
        if not name:
            setting, name = "models.primary", self._roles.get("primary", "").strip()
        if name in ROLES:  # a role in the place of the primary model, as `--model fast` says
            setting, name = f"models.{name}", self._roles.get(name, "").strip()
        if not name:
            return None
        found = self._named(name)
        if found is None:
            raise self._unknown(name, setting)
        return found

    def _named(self, name: str) -> tuple[Instance, str] | None:
        prefix, colon, model = name.partition(":")
        instance = self._instances.get(prefix)
        if instance is not None and instance.contribution is not None:
            return instance, model.strip() or instance.first_model()
        if instance is not None and colon:
            return None
        return self._bare(name)

    def _bare(self, model: str) -> tuple[Instance, str] | None:
        """The instance that serves a model named without its provider; a ready one, if any is."""
        knowing = [i for i in self._instances.values() if model in i.known_models()]
        if not knowing and (vendor := vendor_of(model)):
            knowing = [i for i in self._instances.values() if vendor in (i.name, i.type)]
        ready = [instance for instance in knowing if not instance.missing()]
        chosen = next(iter(ready or knowing), None)
        return (chosen, model) if chosen is not None else None

    def _unknown(self, name: str, setting: str) -> UnknownModel:
        prefix = name.partition(":")[0]
        instance = self._instances.get(prefix)
        place = f" (from the setting {setting})" if setting else ""
        if instance is not None and instance.contribution is None:
            return UnknownModel(f"{name!r}{place}: {instance.missing()}", hint=self._known_hint())
        names = [*self._instances, *(n for i in self._instances.values() for n in i.full_names())]
        bare = [model for i in self._instances.values() for model in i.known_models()]
        close = difflib.get_close_matches(name, list(dict.fromkeys([*names, *bare])), n=3)
        meant = f"; did you mean {' or '.join(close)}?" if close else ""
        return UnknownModel(f"there is no model {name!r}{place}{meant}", hint=self._known_hint())

    def _known_hint(self) -> str:
        return (
            f"A model is PROVIDER:MODEL, or one of {', '.join(ROLES)}. "
            f"Providers: {', '.join(self._instances) or 'none'}. "
            "`bamboo-mcp models` lists their models."
        )


def _instances(
    contributions: Sequence[ProviderContribution],
    providers: Mapping[str, InstanceSettings],
    instance: Callable[..., Instance],
) -> dict[str, Instance]:
    """In the order in which they are tried: the settings', then types and presets as they ship."""
    types = {contribution.type: contribution for contribution in contributions}
    presets = {
        preset.name: (contribution.type, preset)
        for contribution in contributions
        for preset in contribution.presets
    }
    found: dict[str, Instance] = {}
    for name, settings in providers.items():
        kind, preset = presets.get(name, ("", None))
        if settings.type and settings.type != kind:
            kind, preset = settings.type, None
        kind = kind or name
        found[name] = instance(name, kind, types.get(kind), preset=preset, settings=settings)
    for kind, contribution in types.items():
        found.setdefault(kind, instance(kind, kind, contribution))
    for name, (kind, preset) in presets.items():
        found.setdefault(name, instance(name, kind, types[kind], preset=preset))
    return found
