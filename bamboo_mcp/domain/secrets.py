"""A secret that does not show itself: not in a repr, a log line, an event or a file."""

from __future__ import annotations

import threading
from collections.abc import Callable

SHORTEST = 8
"""A shorter value is no key but a stand-in; starring it would star words."""

_revealed: set[str] = set()


def starred(text: str) -> str:
    """`text` without any secret that was revealed in this process, whoever quotes it.

    For what others wrote, who may have been given a key: a library's log line, a plugin's error.
    """
    for value in sorted(_revealed, key=len, reverse=True):  # one may begin with another
        if value in text:
            text = text.replace(value, "***")
    return text


class Secret:
    """Holds a key, or how to get at it. Only `reveal` gives it out, when it goes on the wire."""

    __slots__ = ("_load", "_loading", "_value")

    def __init__(self, value: str) -> None:
        self._value = value
        self._load: Callable[[], str] | None = None
        self._loading: threading.Lock | None = None

    @classmethod
    def deferred(cls, load: Callable[[], str]) -> Secret:
        """A secret that `load` fetches when it is first revealed, in the thread that asks for it.

        It counts as there before anybody has looked: truth costs no look-up.
        """
        secret = cls("")
        secret._load = load
        secret._loading = threading.Lock()
        return secret

    def reveal(self) -> str:
        """The value. Raises what a deferred secret's `load` raises, and then asks it again."""
        if self._loading is not None and self._load is not None:
            with self._loading:
                if self._load is not None:
                    self._value = self._load()
                    self._load = None  # last: who sees None finds the value
        if len(self._value) >= SHORTEST:
            _revealed.add(self._value)
        return self._value

    @property
    def pending(self) -> bool:
        """Has it still to be fetched?"""
        return self._load is not None

    def __bool__(self) -> bool:
        return self._load is not None or bool(self._value)

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Secret is never pickled: it would end on a disk")
