"""Seams of language models: a service that answers, and which one serves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from bamboo_mcp.domain.events import ModelReplaced, ProviderWaiting
from bamboo_mcp.domain.models import ModelCaps, ModelEntry, ModelRequest
from bamboo_mcp.domain.stream import Chunk
from bamboo_mcp.domain.tokens import Sizing
from bamboo_mcp.domain.usage import Usage

Notify = Callable[[ProviderWaiting | ModelReplaced], object]
"""Told before a pause between two attempts, and when another model takes over."""


class Provider(Protocol):
    """A language model service.

    `stream` yields chunks, the last always a `Stop`, and makes no retries of its own. Leaving the
    context closes the connection at once, also in mid-stream.

    Raises:
        ProviderFailure: From `stream`, of the kind that fits; `started` is set once a chunk was
            yielded.
    """

    @property
    def name(self) -> str: ...
    def caps(self, model: str) -> ModelCaps: ...
    def stream(
        self, request: ModelRequest, *, notify: Notify | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]: ...
    async def count(self, request: ModelRequest) -> int | None:
        """Exact input tokens, or None when the service cannot tell."""
        ...

    async def models(self) -> Sequence[ModelEntry]:
        """What this service offers; a missing key is said in the entry and raises nothing."""
        ...


class Models(Protocol):
    """Which model serves.

    `resolve` takes `provider:model`, a bare model name, a role, or "" for the default. The provider
    of a role with fallbacks goes on with the next model when one cannot answer.

    Raises:
        UnknownModel: Naming the value and what is known.
        AuthenticationFailed: The provider is known and what it needs is missing; says what.
    """

    async def resolve(self, name: str) -> tuple[Provider, str]: ...
    async def menu(self, *, ask: bool = False) -> Sequence[ModelEntry]:
        """Every model we know of. With `ask` the services are asked too, for a few seconds at most:
        which they have, and whether they take our key."""
        ...

    def goes_on(self, name: str) -> bool:
        """Has this role ("": the default one) other models to go on with?"""
        ...

    def sizing(self, provider: str, model: str) -> Sizing:
        """How a model's tokens are counted: the same object each time, so that runs teach it."""
        ...

    def cost(self, provider: str, model: str, usage: Usage) -> float | None:
        """Dollars of one call; None when the price is not known, or not loaded yet. Never waits."""
        ...

    async def load_prices(self, provider: str = "", model: str = "") -> None:
        """Return once `cost` knows what can be known of a model, or of all; in bounded time."""
        ...
