"""Which model serves when nobody names one: settings, keys, a server on this machine, offline.

The order is that of the providers note, section 6.5. Servers on this machine are looked for when a
run first needs one and never at a start, all at once, and for a moment only.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping

import anyio

from bamboo_mcp.domain.errors import UnknownModel
from bamboo_mcp.providers.instances import Instance

logger = logging.getLogger(__name__)

LAST_RESORT = "offline"
"""The type that is taken when no other is ready."""
TOYS = ("scripted", LAST_RESORT)
"""Types that are ready always, and never what somebody meant who named nothing."""

ASK_WITHIN_S = 3.0
"""So long a server that is there has to say which models it has; to be there it has less."""
LOOK_AGAIN_S = 15.0
"""So long after a look at this machine found nothing, nobody looks again."""
GIVE_UP_AFTER = 3
"""So many looks in a row must find nothing before a server that was chosen is forgotten."""


class Choice:
    def __init__(
        self,
        instances: Mapping[str, Instance],
        *,
        local: bool,
        load_within_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._instances = instances
        self._local = local
        self._load_within_s = load_within_s
        self._clock = clock
        self._looking = anyio.Lock()
        self._nothing_until = 0.0
        self._chosen: tuple[Instance, str] | None = None
        self._missed = 0
        self._said = ""

    async def make(self) -> tuple[Instance, str]:
        """The instance and its model; "" for a model that the service must be asked for.

        Raises:
            UnknownModel: Not even the last resort is there.
        """
        for instance in self._ready():
            return instance, instance.first_model()
        if self._local and (found := await self._on_this_machine()) is not None:
            return found
        for instance in self._instances.values():
            if instance.type == LAST_RESORT and (model := instance.first_model()):
                return instance, model
        raise UnknownModel(
            "no model is set and none is ready",
            hint="`bamboo-mcp models` shows what each provider lacks.",
        )

    def _ready(self) -> Iterator[Instance]:
        """What the settings name, then what has a key."""
        for instance in self._instances.values():
            if instance.is_set and instance.type not in TOYS and not instance.missing():
                yield instance
        for instance in self._instances.values():
            if instance.has_key and not instance.missing():
                yield instance

    async def _on_this_machine(self) -> tuple[Instance, str] | None:
        async with self._looking:  # a thousand subagents look once
            if self._clock() < self._nothing_until:
                return self._chosen
            servers = [one for one in self._instances.values() if one.is_local]
            async with anyio.create_task_group() as group:
                for one in servers:
                    group.start_soon(one.ask, ASK_WITHIN_S, self._load_within_s)
            for one in servers:
                if model := one.first_model():
                    self._tell(f"{one.name}:{model}", one.config()[0].base_url)
                    self._chosen, self._missed = (one, model), 0
                    return self._chosen
            self._nothing_until = self._clock() + LOOK_AGAIN_S
            # One that is busy with an answer may be silent for a while, and is still the one.
            self._missed += 1
            if self._missed >= GIVE_UP_AFTER:
                self._chosen = None
            return self._chosen

    def _tell(self, model: str, place: str) -> None:
        """A model is never picked silently."""
        if model != self._said:
            self._said = model
            logger.warning(
                "no model is set: taking %s, found at %s (models.primary says otherwise, "
                "models.local = false keeps from looking)",
                model,
                place,
            )
