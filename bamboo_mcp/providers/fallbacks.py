"""Several models for one role: when one cannot answer, the next takes over, and it is said.

Only a failure before anything was shown, and only one that another model need not have: the service
is down, full, or does not take our key. A request that is wrong in itself is wrong everywhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from copy import copy
from types import TracebackType

import msgspec

from bamboo_mcp.domain.errors import BambooError
from bamboo_mcp.domain.events import ModelReplaced
from bamboo_mcp.domain.models import ModelCaps, ModelEntry, ModelRequest
from bamboo_mcp.domain.provider_errors import (
    AuthenticationFailed,
    Overloaded,
    ProviderFailure,
    QuotaExhausted,
    RateLimited,
    ServerFailed,
    TransportFailed,
    Truncated,
)
from bamboo_mcp.domain.stream import Chunk
from bamboo_mcp.ports import Notify
from bamboo_mcp.providers.retrying import Retrying

Resolve = Callable[[str], Awaitable[tuple[Retrying, str]]]

NOT_THE_REQUEST = (
    AuthenticationFailed,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    ServerFailed,
    TransportFailed,
    Truncated,
)
"""Failures that another service need not share."""


class Fallbacks:
    """A provider for one run, made of the models `names` in their order.

    A run that went over to another model stays there: its prompt cache and signed reasoning are
    there now. The next run begins with the first again. Whatever model a request names, the one in
    charge is asked.
    """

    def __init__(self, names: Sequence[str], resolve: Resolve) -> None:
        self._later = list(names)
        self._resolve = resolve
        self._failures: list[tuple[str, BambooError]] = []
        self._told = 0
        self._current: tuple[Retrying, str] | None = None

    async def start(self) -> str:
        """Take the first model that can be used; its name. Raises the failure of the first."""
        await self._advance()
        return self._serving[1]

    @property
    def _serving(self) -> tuple[Retrying, str]:
        assert self._current is not None, "start() comes first"
        return self._current

    @property
    def name(self) -> str:
        return self._serving[0].name

    def caps(self, model: str) -> ModelCaps:
        provider, own = self._serving
        return provider.caps(own)

    def stream(
        self, request: ModelRequest, *, notify: Notify | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        return _Stream(self, request, notify)

    async def count(self, request: ModelRequest) -> int | None:
        provider, model = self._serving
        return await provider.count(msgspec.structs.replace(request, model=model))

    async def models(self) -> Sequence[ModelEntry]:
        return await self._serving[0].models()

    async def open(
        self, request: ModelRequest, notify: Notify | None
    ) -> tuple[AbstractAsyncContextManager[AsyncIterator[Chunk]], AsyncIterator[Chunk]]:
        while True:
            self._tell(notify)
            provider, model = self._serving
            asked = msgspec.structs.replace(request, model=model)
            if not provider.caps(model).tools:
                asked = msgspec.structs.replace(asked, tools=(), tool_choice="none")
            stream = provider.stream(asked, notify=notify, patient=not self._later)
            try:
                return stream, await stream.__aenter__()
            except ProviderFailure as failure:
                if failure.started or not isinstance(failure, NOT_THE_REQUEST):
                    raise
                if not self._later and not self._failures:
                    raise
                self._failures.append((f"{provider.name}:{model}", failure))
            await self._advance()

    async def _advance(self) -> None:
        while self._later:
            name = self._later.pop(0)
            try:
                self._current = await self._resolve(name)
            except BambooError as failure:
                self._failures.append((name, failure))
            else:
                return
        raise self._all_failed()

    def _tell(self, notify: Notify | None) -> None:
        """That another model serves now: once for each that could not."""
        if notify is None:
            return
        provider, model = self._serving
        for failed, failure in self._failures[self._told :]:
            notify(
                ModelReplaced(
                    failed=failed, model=f"{provider.name}:{model}", reason=failure.message
                )
            )
        self._told = len(self._failures)

    def _all_failed(self) -> BambooError:
        """The failure of the first model, with what became of the others."""
        first = copy(self._failures[0][1])  # others may hold the same one
        for name, failure in self._failures[1:]:
            first.message += f"; then {name}: {failure.message}"
        first.args = (first.message,)
        return first


class _Stream:
    """The context manager `stream` gives; entering it finds the model that answers."""

    __slots__ = ("_notify", "_opened", "_owner", "_request")

    def __init__(self, owner: Fallbacks, request: ModelRequest, notify: Notify | None) -> None:
        self._owner = owner
        self._request = request
        self._notify = notify
        self._opened: AbstractAsyncContextManager[AsyncIterator[Chunk]] | None = None

    async def __aenter__(self) -> AsyncIterator[Chunk]:
        self._opened, chunks = await self._owner.open(self._request, self._notify)
        return chunks

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._opened.__aexit__(kind, error, traceback) if self._opened else None
