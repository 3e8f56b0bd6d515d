"""A secret that does not show itself: not in a repr, a log line, an event or a file."""

from __future__ import annotations


class Secret:
    """Holds a key. Only `reveal` gives it out, at the moment it goes on the wire."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Secret is never pickled: it would end on a disk")
