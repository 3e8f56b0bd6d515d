"""`python -m tests.benchmarks [NAME ...] [--rounds N] [--json FILE]`: measure and print a table."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

import msgspec

from tests.benchmarks.pairing import Row, table

ROUNDS: Mapping[str, int] = {
    "start": 9,
    "loop": 9,
    "storage": 9,
    "crowd": 5,
    "stream": 9,
    "http": 5,
    "sessions": 5,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ROUNDS)}")
    parser.add_argument("--rounds", type=int, help="paired rounds of each (default: its own)")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(ROUNDS):
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}; known: {', '.join(ROUNDS)}")
    print(f"Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} cores")
    measured: dict[str, list[Row]] = {}
    for name in chosen.names or ROUNDS:
        measure: Callable[[int], list[Row]] = import_module(f"tests.benchmarks.{name}").measure
        try:
            measured[name] = measure(chosen.rounds or ROUNDS[name])
        except RuntimeError as error:
            print(f"\n== {name}\nNOT MEASURED: {error}", flush=True)
            continue
        print(f"\n== {name}\n{table(measured[name])}", flush=True)
    if chosen.json:
        rows = {name: [one.as_json() for one in rows] for name, rows in measured.items()}
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(rows)))
    return 0 if len(measured) == len(chosen.names or ROUNDS) else 1


if __name__ == "__main__":
    sys.exit(main())
