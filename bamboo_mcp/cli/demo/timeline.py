"""What happened in the demo, told as it happens and summed up at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

COLOURS = {"client": "cyan", "server": "blue", "ranking": "green", "marks": "yellow"}

BESIDE = 60
"""What the other columns of the table at the end take of a line."""


class Timeline:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._results: list[tuple[str, str, str, Mapping[str, Any]]] = []

    def note(self, who: str, what: str) -> None:
        at = time.monotonic() - self._began
        colour = COLOURS.get(who, "magenta")
        self._console.print(f"[dim]{at:6.2f} s[/dim]  [{colour}]{who:<9}[/{colour}] {what}")

    def result(
        self, who: str, status: str, result: Mapping[str, Any], usage: Mapping[str, Any]
    ) -> None:
        self._results.append((who, status, str(result.get("text", "")), usage))

    def close(self) -> None:
        """Print the summary: who ended how, with how many tokens, saying what."""
        table = Table(title="What came back", title_justify="left", expand=False)
        for column in ("subagent", "status", "in / cached / out tokens", "first lines"):
            table.add_column(column)
        room = max(20, self._console.width - BESIDE)
        for who, status, text, usage in self._results:
            lines = [line for line in text.splitlines() if line.strip()][:4]
            tokens = (str(usage.get(kind, 0)) for kind in ("input", "cache_read", "output"))
            cut = (line if len(line) <= room else f"{line[: room - 1]}…" for line in lines)
            table.add_row(who, status, " / ".join(tokens), Text("\n".join(cut)))
        self._console.print()
        self._console.print(table)
