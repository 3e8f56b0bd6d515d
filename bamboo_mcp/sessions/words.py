"""What somebody searches for: words, beginnings of words, and words in a row."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from bamboo_mcp.domain.errors import InvalidInput

SEPARATOR = "\u200b"
"""Put around characters of scripts that write no spaces; invisible, and no part of a word."""

_MOST_TERMS = 12
_EXCERPT_BEFORE, _EXCERPT_CHARS = 40, 160

_term = re.compile(r'"([^"]*)"|(\S+)')
_word = re.compile(r"[^\W_]+")
_spaceless = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af])")


def terms_of(query: str) -> Sequence[str]:
    """The terms of a query: a word each, or what stood in double quotes.

    Raises:
        InvalidInput: There is nothing to look for.
    """
    found = [quoted or bare for quoted, bare in _term.findall(query)]
    terms = [term for term in dict.fromkeys(found) if _word.search(term)]
    if not terms:
        raise InvalidInput(
            f"there is no word in {query[:80]!r}", hint="Search for a word, or leave query out."
        )
    return terms[:_MOST_TERMS]


def apart(text: str) -> str:
    """`text` with the characters of spaceless scripts made words of their own."""
    if text.isascii():
        return text
    return _spaceless.sub(f"{SEPARATOR}\\1{SEPARATOR}", text)


def folded_words(text: str) -> list[str]:
    """The words of `text` without accents and capitals, as the search compares them."""
    plain = unicodedata.normalize("NFKD", apart(text))
    bare = "".join(c for c in plain if not unicodedata.combining(c))
    return [match[0] for match in _word.finditer(bare.casefold())]


def holds(words: Sequence[str], term: str) -> bool:
    """Are the words of `term` among `words`, in a row, the last perhaps as a beginning?"""
    wanted = folded_words(term)
    if not wanted:
        return False
    *first, last = wanted
    span = len(wanted)
    return any(
        list(words[at : at + span - 1]) == first and words[at + span - 1].startswith(last)
        for at in range(len(words) - span + 1)
    )


def excerpt(text: str, terms: Sequence[str]) -> str:
    """A line of `text` around the first word that was searched for."""
    line = " ".join(text.replace(SEPARATOR, "").split())
    low = line.casefold()
    found = [
        at
        for term in terms
        for word in _word.findall(term)
        if (at := low.find(word.casefold())) >= 0
    ]
    start = max(0, min(found, default=0) - _EXCERPT_BEFORE)
    if start:
        start = line.find(" ", start, start + _EXCERPT_BEFORE) + 1 or start
    end = start + _EXCERPT_CHARS
    return f"{'… ' if start else ''}{line[start:end]}{' …' if end < len(line) else ''}"
