"""The provider that serves now, and those before it until their last stream has ended."""

from __future__ import annotations

import logging

import anyio

from bamboo_mcp.ports import Provider

logger = logging.getLogger(__name__)

CLOSE_WITHIN_S = 5.0


class Served:
    """Shared by all who use one instance: a provider can be replaced under them."""

    __slots__ = ("_retired", "_streams", "provider")

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self._streams: dict[int, int] = {}
        self._retired: dict[int, Provider] = {}

    def begin(self, provider: Provider) -> None:
        """A stream of `provider` is open from now on."""
        self._streams[id(provider)] = self._streams.get(id(provider), 0) + 1

    async def end(self, provider: Provider) -> None:
        left = self._streams.get(id(provider), 0) - 1
        if left > 0:
            self._streams[id(provider)] = left
            return
        self._streams.pop(id(provider), None)
        if (retired := self._retired.pop(id(provider), None)) is not None:
            await _close(retired)

    async def replace(self, provider: Provider) -> None:
        before, self.provider = self.provider, provider
        if id(before) in self._streams:
            self._retired[id(before)] = before
        else:
            await _close(before)

    async def close(self) -> None:
        retired, self._retired = self._retired, {}
        for provider in (self.provider, *retired.values()):
            await _close(provider)


async def _close(provider: Provider) -> None:
    aclose = getattr(provider, "aclose", None)
    if aclose is None:
        return
    with anyio.move_on_after(CLOSE_WITHIN_S, shield=True):
        try:
            await aclose()
        except Exception:
            logger.exception("the provider %s did not close", provider.name)
