"""Glob patterns with `**` and `{a,b}`, matched part by part so that no pattern can be made slow."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable

from bamboo_mcp.domain.errors import InvalidInput

_MAX_ALTERNATIVES = 64
_MAX_PARTS = 32

Part = Callable[[str], object] | None
"""None stands for `**`: any number of folders."""


class Glob:
    """A pattern without `/` is matched against names at any depth, another against whole paths.

    Raises:
        InvalidInput: Too many alternatives or parts, or it leads out.
    """

    def __init__(self, pattern: str) -> None:
        self._patterns = [_parts(one, pattern) for one in _alternatives(pattern)]

    def matches(self, path: str) -> bool:
        """`path` is relative to where the search began, with `/` between its parts."""
        parts = path.split("/")
        return any(_match(pattern, parts) for pattern in self._patterns)


def _alternatives(pattern: str) -> list[str]:
    """`{a,b}` written out, inner braces first."""
    done: list[str] = []
    todo = [pattern]
    while todo:
        one = todo.pop(0)
        brace = re.search(r"\{([^{}]*,[^{}]*)\}", one)
        if brace is None:
            done.append(one)
        else:
            before, after = one[: brace.start()], one[brace.end() :]
            todo += [before + choice + after for choice in brace.group(1).split(",")]
        if len(done) + len(todo) > _MAX_ALTERNATIVES:
            raise InvalidInput(
                f"the glob {pattern[:80]!r} has over {_MAX_ALTERNATIVES} alternatives"
            )
    return done


def _parts(pattern: str, whole: str) -> list[Part]:
    names = [name for name in pattern.removeprefix("./").split("/") if name]
    if pattern.startswith("/") or ".." in names:
        raise InvalidInput(
            f"the glob {whole[:80]!r} leads out of the folder",
            hint="Globs are relative: 'src/**/*.py'. Say where to look with `path`.",
        )
    if not names or len(names) > _MAX_PARTS:
        raise InvalidInput(f"the glob {whole[:80]!r} has no parts, or over {_MAX_PARTS}")
    if len(names) == 1 and names != ["**"]:
        names = ["**", *names]
    elif names[-1] == "**":
        names = [*names, "*"]
    parts: list[Part] = []
    for name in names:
        if name == "**":
            if not parts or parts[-1] is not None:
                parts.append(None)
        else:
            # What fnmatch makes of `*` never backtracks, so a hostile pattern costs nothing.
            parts.append(re.compile(fnmatch.translate(name)).match)
    return parts


def _match(pattern: list[Part], parts: list[str]) -> bool:
    """Every place in `pattern` that can be reached, one part of the path after the other."""
    reached = _skip_stars(pattern, {0})
    for part in parts:
        step: set[int] = set()
        for place in reached:
            if place == len(pattern):
                continue
            want = pattern[place]
            if want is None:
                step.add(place)
            elif want(part):
                step.add(place + 1)
        reached = _skip_stars(pattern, step)
        if not reached:
            return False
    return len(pattern) in reached


def _skip_stars(pattern: list[Part], places: set[int]) -> set[int]:
    """`**` may also stand for nothing."""
    return places | {p + 1 for p in places if p < len(pattern) and pattern[p] is None}
