"""Change text in a file's bytes so that its line endings, and bytes that are no text, stay."""

from __future__ import annotations

from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.domain.value import Value

BOM = b"\xef\xbb\xbf"
_SHOWN_LINES = 10


class Replacement(Value, frozen=True, kw_only=True):
    """Put `new` in the place of `old`: the only one, or everywhere."""

    old: str
    new: str
    everywhere: bool = False


def has_crlf(data: bytes) -> bool:
    """Most lines end with CRLF."""
    crlf = data.count(b"\r\n")
    return crlf > data.count(b"\n") - crlf


def keep_style(old: bytes, new: bytes) -> bytes:
    """`new` with the line endings and byte order mark of `old`, unless it brings CRLF itself."""
    if has_crlf(old) and b"\r\n" not in new:
        new = new.replace(b"\n", b"\r\n")
    if old.startswith(BOM) and not new.startswith(BOM):
        new = BOM + new
    return new


def replace_text(data: bytes, wanted: Replacement, path: str) -> tuple[bytes, list[int]]:
    """The changed bytes, and the lines (of the old text) where something was replaced.

    Raises:
        InvalidInput: Not found, found more than once, or nothing would change.
    """
    if wanted.old == wanted.new:
        raise InvalidInput("old_text and new_text are the same: nothing to change")
    old, new = _in_style(data, wanted)
    places = _places(data, old)
    if not places:
        raise InvalidInput(
            f"old_text does not occur in {path!r}",
            hint="It must match exactly, blanks included and without line numbers; read the file.",
        )
    lines = _lines(data, places)
    if len(places) > 1 and not wanted.everywhere:
        shown = ", ".join(map(str, lines[:_SHOWN_LINES]))
        more = ", ..." if len(lines) > _SHOWN_LINES else ""
        raise InvalidInput(
            f"old_text occurs {len(places)} times in {path!r}, at lines {shown}{more}",
            hint="Include more of the lines around it, or set replace_all.",
        )
    return data.replace(old, new), lines


def _in_style(data: bytes, wanted: Replacement) -> tuple[bytes, bytes]:
    """Both texts with the line endings that make `old` match: as it is, with CRLF, with LF."""
    old, new = (text.encode("utf-8", "replace") for text in (wanted.old, wanted.new))
    lf_old, lf_new = (text.replace(b"\r\n", b"\n") for text in (old, new))
    crlf_old, crlf_new = (text.replace(b"\n", b"\r\n") for text in (lf_old, lf_new))
    if b"\n" not in old:
        return old, crlf_new if has_crlf(data) else new
    if old in data:
        return old, crlf_new if b"\r\n" in old else new
    if crlf_old in data:
        return crlf_old, crlf_new
    return lf_old, lf_new


def _places(data: bytes, text: bytes) -> list[int]:
    places: list[int] = []
    place = data.find(text)
    while place >= 0:
        places.append(place)
        place = data.find(text, place + len(text))
    return places


def _lines(data: bytes, places: list[int]) -> list[int]:
    """Line numbers from 1; counted piece by piece, so many places cost one pass."""
    lines: list[int] = []
    line, counted = 1, 0
    for place in places:
        line += data.count(b"\n", counted, place)
        counted = place
        lines.append(line)
    return lines
