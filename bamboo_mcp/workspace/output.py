"""What a background command wrote: read by cursor, its beginning and its end kept."""

from __future__ import annotations

import anyio

from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.domain.value import Value

MAX_OUTPUT_BYTES = 512 * 1024

_QUIET_S = 0.2
"""What is written in one go comes in several pieces; after this long without one it is whole."""


class OutputPage(Value, frozen=True, kw_only=True):
    """A piece of an output. Positions count its bytes from the first one written."""

    text: str
    start: int
    end: int
    """The cursor: where to read on."""
    total: int
    skipped: int = 0
    """Bytes between the position asked for and `start` that were not kept."""


class CommandOutput:
    """Takes any amount in flat memory: a quarter of `limit` for the beginning, the rest for the
    end. What lay between them is gone, and every page says so.
    """

    def __init__(self, limit: int = MAX_OUTPUT_BYTES) -> None:
        self._head_room = limit // 4
        self._tail_room = limit - self._head_room
        self._head = bytearray()
        self._tail = bytearray()
        self._bell: anyio.Event | None = None
        self.total = 0
        self.ended = False

    def add(self, chunk: bytes) -> None:
        self.total += len(chunk)
        room = self._head_room - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        self._tail += chunk
        # Twice the room before it is cut: moving bytes then costs little for each that comes in.
        if len(self._tail) > 2 * self._tail_room:
            self._trim()
        self._ring()

    def end(self) -> None:
        """Nothing more comes."""
        self.ended = True
        self._trim()
        self._ring()

    @property
    def left_out(self) -> int:
        return self.total - len(self._head) - len(self._tail)

    def page(self, offset: int, limit: int) -> OutputPage:
        """At most `limit` bytes from `offset` on; a negative one counts from the end.

        Ends with a whole line if it can, never in the middle of a character. What is asked for and
        not kept is stepped over.

        Raises:
            InvalidInput: There is nothing yet at `offset`, nor will the next byte be there.
        """
        if offset > self.total:
            raise InvalidInput(
                f"offset {offset} is past the end: {self.total} bytes of output so far",
                hint="Go on from the next_offset you were given.",
            )
        asked = offset if offset >= 0 else max(0, self.total + offset)
        start = asked
        tail_start = self.total - len(self._tail)
        if start < len(self._head):
            kept = bytes(self._head[start : start + limit])
            # Unless something is missing, the tail goes on where the head ends.
            if len(kept) < limit and not self.left_out:
                kept += bytes(self._tail[: limit - len(kept)])
        else:
            start = max(start, tail_start)
            kept = bytes(self._tail[start - tail_start : start - tail_start + limit])
        if start != asked or offset < 0:
            lead = _continuation(kept)
            start += lead
            kept = kept[lead:]
        kept = self._whole(kept, start)
        return OutputPage(
            text=kept.decode("utf-8", "replace"),
            start=start,
            end=start + len(kept),
            total=self.total,
            skipped=start - asked if offset >= 0 else 0,
        )

    async def news(self, offset: int, limit: int, wait_s: float) -> None:
        """Wait at most `wait_s` for something at `offset`: until it pauses, fills `limit` or ends.

        A negative offset waits for whatever comes next.
        """
        seen = offset if offset >= 0 else self.total
        with anyio.move_on_after(wait_s):
            while not self.ended and self.total <= seen:
                await self._heard()
            while not self.ended and self.total < seen + limit:
                with anyio.move_on_after(_QUIET_S) as quiet:
                    await self._heard()
                if quiet.cancelled_caught:
                    return

    def _whole(self, kept: bytes, start: int) -> bytes:
        """Without the beginning of a character or a line that the next page shows whole."""
        end = start + len(kept)
        if end < self.total and end != len(self._head):
            newline = kept.rfind(b"\n") + 1
            if newline > len(kept) // 2:
                return kept[:newline]
        if end < self.total:
            return kept[: len(kept) - _begun(kept)] or kept
        return kept if self.ended else kept[: len(kept) - _begun(kept)]

    def _trim(self) -> None:
        excess = len(self._tail) - self._tail_room
        if excess > 0:
            del self._tail[:excess]

    async def _heard(self) -> None:
        if self._bell is None:
            self._bell = anyio.Event()
        await self._bell.wait()

    def _ring(self) -> None:
        if self._bell is not None:
            self._bell.set()
            self._bell = None


def _continuation(data: bytes) -> int:
    """How many bytes at the beginning belong to a character that began before."""
    count = 0
    while count < min(3, len(data)) and data[count] & 0xC0 == 0x80:
        count += 1
    return count


def _begun(data: bytes) -> int:
    """How many bytes at the end are the beginning of a character that is not whole yet."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        needed = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return back if needed > back else 0
    return 0
