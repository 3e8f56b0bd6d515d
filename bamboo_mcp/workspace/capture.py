"""Output of a command: the beginning and the end are kept, the middle is counted."""

from __future__ import annotations

MAX_STREAM_BYTES = 512 * 1024


class Capture:
    """Takes any amount in flat memory."""

    def __init__(self, limit: int = MAX_STREAM_BYTES) -> None:
        self._half = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def add(self, chunk: bytes) -> None:
        self.total += len(chunk)
        room = self._half - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        self._tail += chunk
        # Twice the half before it is cut: moving bytes then costs little for each that comes in.
        if len(self._tail) > 2 * self._half:
            del self._tail[: -self._half]

    @property
    def left_out(self) -> int:
        return max(0, self.total - 2 * self._half)

    @property
    def truncated(self) -> bool:
        return self.left_out > 0

    def text(self) -> str:
        if not self.truncated:
            return bytes(self._head + self._tail).decode("utf-8", "replace")
        head = self._head.decode("utf-8", "replace")
        tail = self._tail[-self._half :].decode("utf-8", "replace")
        return f"{head}\n[... {self.left_out} bytes not kept ...]\n{tail}"


def shorten(text: str, max_chars: int) -> str:
    """The beginning and the end of `text`, in whole lines if it can; says how much is missing."""
    if len(text) <= max_chars:
        return text
    head_room = max_chars * 3 // 5
    tail_room = max_chars - head_room
    head = text[:head_room]
    tail = text[-tail_room:]
    # To whole lines, unless the line is so long that most of what there is room for would go.
    if (end := head.rfind("\n") + 1) > head_room // 2:
        head = head[:end]
    if 0 <= (start := tail.find("\n")) < tail_room // 2:
        tail = tail[start + 1 :]
    missing = len(text) - len(head) - len(tail)
    lines = text.count("\n", len(head), len(text) - len(tail))
    if not head.endswith("\n"):
        head += "\n"
    return f"{head}[... {missing} characters, {lines} lines left out ...]\n{tail}"
