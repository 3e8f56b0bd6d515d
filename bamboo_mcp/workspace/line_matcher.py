"""A child process that matches lines against a pattern, so that a hostile one hangs only itself.

Run as `python -I -S line_matcher.py SECONDS`; it ends by itself after so many, whatever the pattern
does. It opens no file: it is handed their content. On standard input: `IGNORE_CASE PATTERN_BYTES`,
a newline and the pattern, then for each file `MOST_LINES BYTES`, a newline and the content. It
answers `ok` or `bad REASON`, then for each file `COUNT NUMBER,NUMBER,...`, a line each.
"""

from __future__ import annotations

import re
import signal
import sys


def main() -> None:
    if sys.platform != "win32":
        signal.alarm(int(sys.argv[1]))
    asked, told = sys.stdin.buffer, sys.stdout.buffer
    ignore_case, size = map(int, asked.readline().split())
    pattern = asked.read(size).decode("utf-8", "replace")
    try:
        matches = re.compile(pattern, re.IGNORECASE if ignore_case else 0).search
    except (re.error, OverflowError, RecursionError) as error:
        told.write(f"bad {error}".replace("\n", " ").encode("utf-8", "replace") + b"\n")
        told.flush()
        return
    told.write(b"ok\n")
    told.flush()
    while header := asked.readline():
        most, size = map(int, header.split())
        found = matching_lines(asked.read(size), matches)
        numbers = ",".join(map(str, found[:most]))
        told.write(f"{len(found)} {numbers}\n".encode())
        told.flush()


def matching_lines(data: bytes, matches: object) -> list[int]:
    """Numbers from 1 of the lines that match; none in what is not text."""
    if b"\0" in data or not callable(matches):
        return []
    lines = data.decode("utf-8-sig", "replace").split("\n")
    if lines[-1] == "":
        lines.pop()
    return [number for number, line in enumerate(lines, 1) if matches(line.removesuffix("\r"))]


if __name__ == "__main__":
    main()
