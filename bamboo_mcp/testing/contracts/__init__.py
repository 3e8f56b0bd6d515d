"""One suite of checks a port, for every implementation: subclass it, override `make`, run pytest.

`class TestMyStore(SessionStoreContract)` with a `make` that returns a new, empty implementation is
all a plugin author writes. Every check makes its own; none needs a fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class _Caught:
    """What a `raising` block raised, to look at afterwards."""

    def __init__(self) -> None:
        self.error: BaseException | None = None


@contextmanager
def raising(kind: type[BaseException]) -> Iterator[_Caught]:
    """The block must raise `kind`; any other error passes through."""
    caught = _Caught()
    try:
        yield caught
    except kind as error:
        caught.error = error
        return
    raise AssertionError(f"{kind.__name__} was not raised")


__all__ = ["raising"]
