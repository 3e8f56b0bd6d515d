"""What is wrong with the logs of runs."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bamboo_mcp.disk.checking import (
    Finding,
    check_journal,
    cut_torn_end,
    leftover,
    leftovers,
)
from bamboo_mcp.disk.journal import read_journal
from bamboo_mcp.disk.layout import is_plain, runs_folder
from bamboo_mcp.disk.locks import owner_alive
from bamboo_mcp.domain.errors import StorageError
from bamboo_mcp.domain.events import RunEnded
from bamboo_mcp.runs.log import BEGINNINGS, KIND, StoredEvent

EVENTS = "events.jsonl"
_HEADER = 4096

_decode = msgspec.json.Decoder(StoredEvent).decode


def check_runs(home: Path) -> list[Finding]:
    """Every line of every run; only reads."""
    runs = runs_folder(home)
    found: list[Finding] = []
    for folder in sorted(runs.iterdir()) if runs.is_dir() else ():
        if not is_plain(folder.name) or not folder.is_dir():
            found.append(Finding(path=folder, what="is no run of ours", harmless=True))
            continue
        if (folder / EVENTS).exists():
            found += _check_run(folder / EVENTS)
        found += leftovers(folder)
    return found


def cut_run(home: Path, path: Path) -> None:
    """Cut the torn end of a run's log, unless its owner lives: that one writes without a lock.

    Raises:
        StorageError: It could not be done.
    """
    for record in read_journal(str(path), KIND, limit=1).records:
        first = _decode(record.payload).event
        owner = first.owner if isinstance(first, BEGINNINGS) else None
        if owner is not None and owner_alive(home, owner):
            raise StorageError(
                "the server that works on this run is still alive", hint="stop it first"
            )
    cut_torn_end(path, KIND)


def _check_run(path: Path) -> list[Finding]:
    ended_at = 0
    line = 0

    def decode(payload: bytes) -> object:
        nonlocal ended_at, line
        line += 1
        stored = _decode(payload)
        if isinstance(stored.event, RunEnded) and not ended_at:
            ended_at = line
        return stored

    found, page = check_journal(path, KIND, decode)
    if page is not None and page.header is None and b"\n" not in path.read_bytes()[:_HEADER]:
        return [leftover(path, "a run whose log was never begun in full")]
    if page is not None and page.header is not None:
        made = bytes(page.header.made)
        if made != msgspec.json.encode({"run_id": path.parent.name}):
            what = f"is the log of another run: {made.decode(errors='replace')}"
            found.append(Finding(path=path, line=1, what=what))
    if page is not None and ended_at and ended_at < len(page.records):
        seq = page.records[ended_at].seq
        found.append(Finding(path=path, line=seq + 1, what="comes after the end of the run"))
    return found
