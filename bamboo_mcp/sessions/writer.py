"""One open session: its messages in memory, and its journal ready to take more."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio.to_thread
import msgspec

from bamboo_mcp.disk.calls import file_size
from bamboo_mcp.disk.encoding import encode
from bamboo_mcp.disk.journal import Journal
from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.disk.lines import Record
from bamboo_mcp.domain.errors import UnknownId
from bamboo_mcp.domain.messages import Message
from bamboo_mcp.domain.sessions import SessionMeta, place
from bamboo_mcp.ports import SessionWriter
from bamboo_mcp.sessions.listing import unknown
from bamboo_mcp.sessions.records import KIND, MESSAGES, RECORD, read_messages, read_meta

logger = logging.getLogger(__name__)

_SMALL = 64 * 1024
"""A file up to this is read before a worker thread would have begun."""

T = TypeVar("T")

_decode = msgspec.json.Decoder(Message).decode


class JournalWriter:
    """A `SessionWriter`. What others appended comes in before each append of its own.

    `meta` is the record as it was when the session was opened.
    """

    __slots__ = ("_journal", "_journals", "_messages", "meta", "session_id")

    _journal: Journal
    meta: SessionMeta

    def __init__(self, journals: Journals, session_id: str) -> None:
        self.session_id = session_id
        self._journals = journals
        self._messages: list[Message] = []

    @classmethod
    def made(
        cls, journals: Journals, path: str, meta: SessionMeta, messages: Sequence[Message]
    ) -> JournalWriter:
        """Make a session's file. Raises what `Journals.create` does."""
        writer = cls(journals, meta.session_id)
        writer._journal = journals.create(
            path, KIND, encode(meta), map(encode, messages), shared=True, on_foreign=writer._take
        )
        for message in messages:
            place(writer._messages, message)
        writer.meta = meta
        return writer

    @classmethod
    async def opened(cls, journals: Journals, folder: Path) -> JournalWriter:
        """Read a session. Raises `UnknownId`, `StorageTooNew`, `StorageError`."""
        writer = cls(journals, folder.name)
        try:
            writer._journal = journals.open(
                folder / MESSAGES, KIND, shared=True, on_foreign=writer._take
            )
        except UnknownId as error:
            raise unknown(folder.name) from error
        try:
            await writer._fill(folder)
        except BaseException:
            writer.close()
            raise
        return writer

    @property
    def messages(self) -> Sequence[Message]:
        return self._messages

    @property
    def size(self) -> int:
        """Bytes of the file, as far as it is known here."""
        return self._journal.size

    def append(self, message: Message) -> None:
        try:
            self._journal.append(encode(message))
        except UnknownId as error:
            raise unknown(self.session_id) from error
        place(self._messages, message)

    async def flush(self) -> None:
        await self._journals.flush(self._journal)

    def is_current(self) -> bool:
        """Nobody else has written to the session: reading it would find what is here."""
        path = self._journal.path
        try:
            size = os.stat(path).st_size  # noqa: PTH116  (pathlib costs five times the call)
        except OSError:
            return False
        return size == self._journal.size and not os.access(
            f"{path.removesuffix(MESSAGES)}{RECORD}", os.F_OK
        )

    def close(self) -> None:
        self._journal.close()

    async def _fill(self, folder: Path) -> None:
        page = await near(folder, partial(read_messages, folder))
        # Later ones come in as foreign, with the next append.
        known = [record for record in page.records if record.seq <= self._journal.last_seq]
        for message in await near(folder, partial(decode_all, self.session_id, known)):
            place(self._messages, message)
        self.meta = read_meta(folder, page.header)

    def _take(self, record: Record) -> None:
        for message in decode_all(self.session_id, (record,)):
            place(self._messages, message)


class Opening:
    """The context in which a session is open; `open_it` is awaited on the way in."""

    __slots__ = ("_open_it", "_writer")

    def __init__(self, open_it: Callable[[], Awaitable[JournalWriter]]) -> None:
        self._open_it = open_it

    async def __aenter__(self) -> SessionWriter:
        self._writer = await self._open_it()
        return self._writer

    async def __aexit__(self, *reason: object) -> None:
        self._writer.close()


def decode_all(session_id: str, records: Iterable[Record]) -> list[Message]:
    """The messages in `records`; one this version does not understand is reported and left out."""
    messages: list[Message] = []
    for seq, payload in records:
        try:
            messages.append(_decode(payload))
        except msgspec.DecodeError as error:
            logger.warning("session %s: message %d stepped over: %s", session_id, seq, error)
    return messages


async def near(folder: Path, read: Callable[[], T]) -> T:
    """Read at once when there is little, else in a worker thread."""
    if file_size(folder / MESSAGES) <= _SMALL:
        return read()
    return await anyio.to_thread.run_sync(read)
