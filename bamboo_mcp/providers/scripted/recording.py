"""A run written down as it happens, as a script that plays it again without a key."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from bamboo_mcp.domain.models import ModelCaps, ModelEntry, ModelRequest
from bamboo_mcp.domain.provider_errors import ProviderFailure
from bamboo_mcp.domain.stream import Chunk
from bamboo_mcp.ports import Notify, Provider
from bamboo_mcp.providers.scripted.heard import Heard
from bamboo_mcp.providers.scripted.transcript import written
from bamboo_mcp.providers.scripted.values import said_last

_LONGEST_TASK = 200
"""Characters of a task that the line on how to play it repeats."""


class Recording:
    """Listens to every provider it is put around, and writes what they answered as a script.

    It sees requests and answers, never a key. Conversations are told apart by their key, so that
    runs side by side are kept apart too.
    """

    def __init__(self) -> None:
        self._conversations: dict[str, list[Heard]] = {}

    @property
    def answers(self) -> int:
        """How many model calls were recorded, whatever became of them."""
        return sum(len(heard) for heard in self._conversations.values())

    @property
    def conversations(self) -> int:
        return len(self._conversations)

    def wrap(self, provider: Provider) -> Provider:
        return _Recorded(provider, self)

    def begin(self, request: ModelRequest) -> Heard:
        heard = Heard(request)
        self._conversations.setdefault(request.conversation, []).append(heard)
        return heard

    def script(self, name: str) -> str:
        """All that was heard so far, as YAML; `name` is the file's, for the line on how to play it.

        A call that is still under way is written as one that was left.
        """
        conversations = list(self._conversations.values())
        return f"# {_how_to_play(conversations, name)}\n{written(conversations)}"


class _Recorded:
    """Passes everything through, and notes it in passing."""

    def __init__(self, provider: Provider, recording: Recording) -> None:
        self._provider = provider
        self._recording = recording

    def __repr__(self) -> str:
        return f"Recorded({self._provider!r})"

    @property
    def name(self) -> str:
        return self._provider.name

    def caps(self, model: str) -> ModelCaps:
        return self._provider.caps(model)

    def stream(
        self, request: ModelRequest, *, notify: Notify | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        return _Listening(self._provider.stream(request, notify=notify), request, self._recording)

    async def count(self, request: ModelRequest) -> int | None:
        return await self._provider.count(request)

    async def models(self) -> Sequence[ModelEntry]:
        return await self._provider.models()


class _Listening:
    """The stream of one call, handed on chunk by chunk."""

    __slots__ = ("_chunks", "_heard", "_recording", "_request", "_stream")

    def __init__(
        self,
        stream: AbstractAsyncContextManager[AsyncIterator[Chunk]],
        request: ModelRequest,
        recording: Recording,
    ) -> None:
        self._stream = stream
        self._request = request
        self._recording = recording

    async def __aenter__(self) -> AsyncIterator[Chunk]:
        self._heard = self._recording.begin(self._request)
        try:
            self._chunks = await self._stream.__aenter__()
        except ProviderFailure as failure:
            self._heard.failure = failure
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._stream.__aexit__(kind, error, traceback)

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        try:
            chunk = await anext(self._chunks)
        except ProviderFailure as failure:
            self._heard.failure = failure
            raise
        self._heard.note(chunk)
        return chunk


def _how_to_play(conversations: Sequence[Sequence[Heard]], name: str) -> str:
    task = said_last(conversations[0][0].messages) if conversations else ""
    fits = task.isprintable() and 0 < len(task) <= _LONGEST_TASK
    said = shlex.quote(task) if fits else '"THE SAME TASK"'
    return f"To play it again: bamboo-mcp run {said} --model scripted:{name}"
