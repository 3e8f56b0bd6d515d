"""A scripted model given in Python: the double for everything that asks a language model.

It plays by the same rules as a script in a file (`providers.scripted`), records what it was asked,
and `assert_complete` tells which steps nobody came to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import msgspec

from bamboo_mcp.domain.errors import UnknownModel
from bamboo_mcp.domain.models import ModelCaps, ModelEntry, ModelRequest
from bamboo_mcp.domain.stream import Chunk
from bamboo_mcp.domain.tokens import Sizing
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.ports import Models, Notify, Provider
from bamboo_mcp.providers.retrying import Retrying
from bamboo_mcp.providers.scripted.engine import CompiledTrack, Engine, Responder
from bamboo_mcp.providers.scripted.steps import Call, Fault, Step, Tokens, Track, When

__all__ = [
    "Call",
    "Fault",
    "ScriptedProvider",
    "Step",
    "Tokens",
    "Track",
    "When",
    "scripted_models",
]

MODEL = "test"


class ScriptedProvider:
    """Answers each request with the next step; a plain string is a step that says it.

    Every conversation walks the steps from the start. `requests` holds each request as it was then
    (`record=False` leaves them out, for runs with many).
    """

    def __init__(
        self,
        *steps: Step | str | Responder,
        name: str = "scripted",
        strict: bool = True,
        caps: ModelCaps | None = None,
        record: bool = True,
        conversations: Sequence[Track] = (),
    ) -> None:
        self._name = name
        self._caps = caps or ModelCaps()
        self._record = record
        self.requests: list[ModelRequest] = []
        self._track = CompiledTrack(Track(steps=()))
        self.add(*steps)
        tracks = [CompiledTrack(track) for track in conversations] or [self._track]
        self._engine = Engine(tracks, origin=f"{name}:{MODEL}", strict=strict)

    def add(self, *steps: Step | str | Responder) -> None:
        """More steps at the end, also while conversations are under way."""
        for step in steps:
            self._track.add(Step(text=step) if isinstance(step, str) else step)

    def respond(self, responder: Responder) -> None:
        """Whatever no step answers is answered by `responder`, any number of times."""
        self._track.add(responder, repeats=True)

    def assert_complete(self) -> None:
        unused = self._engine.unused()
        assert not unused, "steps that were never played: " + "; ".join(unused)

    @property
    def name(self) -> str:
        return self._name

    def caps(self, model: str) -> ModelCaps:
        return self._caps

    def stream(
        self, request: ModelRequest, *, notify: Notify | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        if self._record:
            # The history goes on growing after this call: keep it as it is now.
            self.requests.append(msgspec.structs.replace(request, messages=tuple(request.messages)))
        return self._engine.play(request)

    async def count(self, request: ModelRequest) -> int | None:
        return None

    async def models(self) -> Sequence[ModelEntry]:
        return [ModelEntry(name=MODEL, provider=self._name, caps=self._caps, ready=True)]


class _OneProvider:
    """`ports.Models` with a single provider behind every name but those it is told to lack."""

    def __init__(
        self,
        provider: Provider,
        *,
        retries: bool,
        unknown: Sequence[str],
        cost: Callable[[Usage], float | None] | None,
    ) -> None:
        self._provider: Provider = Retrying(provider) if retries else provider
        self._unknown = unknown
        self._cost = cost
        self._sizing = Sizing()

    async def resolve(self, name: str) -> tuple[Provider, str]:
        model = name.partition(":")[2] or MODEL
        if name in self._unknown or model in self._unknown:
            raise UnknownModel(
                f"there is no model {name!r}; known is {self._provider.name}:{MODEL}"
            )
        return self._provider, model

    async def menu(self, *, ask: bool = False) -> Sequence[ModelEntry]:
        return await self._provider.models()

    def goes_on(self, name: str) -> bool:
        return False

    def sizing(self, provider: str, model: str) -> Sizing:
        return self._sizing

    def cost(self, provider: str, model: str, usage: Usage) -> float | None:
        return 0.0 if self._cost is None else self._cost(usage)

    async def load_prices(self, provider: str = "", model: str = "") -> None:
        return


def scripted_models(
    provider: Provider,
    *,
    retries: bool = False,
    unknown: Sequence[str] = (),
    cost: Callable[[Usage], float | None] | None = None,
) -> Models:
    """`ports.Models` that gives `provider` for every name, wrapped for retries when asked to.

    `cost` says what an answer costs; without it they are free.
    """
    return _OneProvider(provider, retries=retries, unknown=unknown, cost=cost)
