"""Makes a provider in a thread of its own, once, and anew when its key was refused.

A vendor's SDK takes most of a second to import, and a key may come from a command or a keyring that
asks a person. A thread cannot be stopped: one whose caller gave up goes on, the next caller waits
for it and takes what it brings, and it keeps no process from ending.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import anyio

from bamboo_mcp.domain.errors import BambooError, PluginError
from bamboo_mcp.domain.provider_errors import AuthenticationFailed
from bamboo_mcp.domain.secrets import Secret, starred
from bamboo_mcp.ports import Provider
from bamboo_mcp.providers.served import Served

logger = logging.getLogger(__name__)

Make = Callable[[], tuple[Provider, Secret]]
"""A new provider and the key it was given, read at this moment."""

SAME_KEY_S = 60.0
"""For so long nobody looks again after a key that was refused was still the same."""


class Loader:
    """Of one instance. `make` runs in a thread; `read_key` too, and gives the key as it is now."""

    def __init__(self, name: str, make: Make, read_key: Callable[[], Secret]) -> None:
        self._name = name
        self._make = make
        self._read_key = read_key
        self._loading: Future[tuple[Provider, Secret]] | None = None
        self._renewing: Future[tuple[Provider, Secret]] | None = None
        self._key = Secret("")
        self._served: Served | None = None
        self._look_again_at = 0.0
        self._closed = False

    async def open(self, within_s: float) -> Served:
        """Raises what the factory raises of ours, and `PluginError` for whatever else happens."""
        if self._served is not None:
            return self._served
        # What failed once is tried again by the next caller.
        loading = self._loading
        if loading is None or (loading.done() and loading.exception()):
            loading = self._loading = self._begin(self._make)
        provider, key = await self._waited(loading, within_s)
        if self._served is None:
            self._served, self._key = Served(provider), key
        return self._served

    async def renew(
        self, refused: Provider, failure: AuthenticationFailed, within_s: float
    ) -> None:
        """Serve with a key read anew from now on.

        Raises `failure` when it is still the same, and what reading it raises.
        """
        served = self._served
        if served is None or served.provider is not refused:
            return  # another run was here first
        renewing = self._renewing
        if renewing is None or (renewing.done() and renewing.exception()):
            if time.monotonic() < self._look_again_at:
                raise failure
            renewing = self._renewing = self._begin(lambda: self._remade(failure))
        try:
            provider, key = await self._waited(renewing, within_s)
        except AuthenticationFailed as error:
            if served.provider is not refused:
                return
            if error is failure:
                self._look_again_at = time.monotonic() + SAME_KEY_S
            raise
        if served.provider is refused:
            self._renewing, self._key = None, key
            await served.replace(provider)

    async def close(self) -> None:
        self._closed = True
        served, self._served = self._served, None
        if served is not None:
            await served.close()
        elif self._loading is not None and self._loading.done() and not self._loading.exception():
            await Served(self._loading.result()[0]).close()

    def _guarded(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except BambooError:
            raise
        except BaseException as error:  # in a thread nobody but the plugin raises these
            logger.exception("the provider %s does not load", self._name)
            raise PluginError(
                f"the provider {self._name!r} does not load: "
                f"{type(error).__name__}: {starred(str(error))}",
                hint="The log has the traceback.",
            ) from error

    def _remade(self, failure: AuthenticationFailed) -> tuple[Provider, Secret]:
        if self._read_key().reveal() == self._key.reveal():
            raise failure
        return self._make()

    def _begin(self, work: Callable[[], Any]) -> Future[Any]:
        if self._closed:
            raise PluginError(f"the provider {self._name!r} is closed: the agent is ending")
        answer: Future[Any] = Future()

        def run() -> None:
            try:
                answer.set_result(self._guarded(work))
            except BambooError as error:
                answer.set_exception(error)

        # Not a worker of anyio's: it would keep a process that wants to end until it is done.
        threading.Thread(target=run, name=f"load {self._name}", daemon=True).start()
        return answer

    async def _waited(self, answer: Future[Any], within_s: float) -> Any:
        with anyio.move_on_after(within_s):
            await _arrival(answer)
            return answer.result(timeout=0)
        raise PluginError(
            f"the provider {self._name!r} did not load within {within_s:g} s",
            hint="It may still come: try again later, or name another model.",
        )


async def _arrival(answer: Future[Any]) -> None:
    arrived = anyio.Event()
    loop = asyncio.get_running_loop()

    def tell(_: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop is gone, and whoever waited with it
            loop.call_soon_threadsafe(arrived.set)

    answer.add_done_callback(tell)
    await arrived.wait()
