"""Text from models, tools and files made fit for a terminal: nothing in it is acted on."""

from __future__ import annotations

_KEPT = frozenset("\n\t")


def printable(text: str) -> str:
    """`text` with what a terminal would act on (escapes, direction marks) written out."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in _KEPT else c.encode("unicode_escape").decode() for c in text
    )


def short(text: str, width: int) -> str:
    """The first line of `text`, cut to `width`."""
    line = text.strip().partition("\n")[0]
    return printable(line if len(line) <= width else line[: width - 1] + "…")
