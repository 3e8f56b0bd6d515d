"""An idle server over a home folder of ten thousand sessions, against one over ten."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import msgspec
import psutil

from bamboo_mcp.disk.journals import Journals
from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.sessions.index import SessionIndex
from bamboo_mcp.sessions.journal_store import JournalSessionStore
from tests.benchmarks.pairing import Row, row, take_turns
from tests.benchmarks.start import INITIALIZE

FEW, MANY = 10, 10_000
MESSAGES = 3
PATIENCE_S = 60.0
SETTLED_S = 0.5
"""From its last answer until a server counts as idle: its index is written by then."""


@dataclass(slots=True, kw_only=True)
class IdleServer:
    """Starts a server, lets it list sessions, and weighs it once it is idle again.

    `listed` and `searched` are how long its second list, and its second search, took.
    """

    home: Path
    listed: list[float] = field(default_factory=list)
    searched: list[float] = field(default_factory=list)
    search: bool = False

    def __call__(self) -> float:
        environment = {
            "PATH": os.environ["PATH"],
            "BAMBOO_HOME": str(self.home),
            "BAMBOO_CONFIG": os.devnull,
            "BAMBOO_MODELS__LOCAL": "false",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "bamboo_mcp", "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")},
        )
        patience = threading.Timer(PATIENCE_S, process.kill)
        patience.start()
        with process:
            try:
                return self._weighed(process)
            finally:
                process.kill()
                patience.cancel()

    def _weighed(self, process: subprocess.Popen[bytes]) -> float:
        """Bytes of memory."""
        _ask(process, "initialize", INITIALIZE)
        _send(process, {"method": "notifications/initialized"})
        for _ in range(2):
            took = _call(process, "list_sessions", {})
        self.listed.append(took)
        if self.search:
            for _ in range(2):
                took = _call(process, "list_sessions", {"query": "message 1"})
            self.searched.append(took)
        time.sleep(SETTLED_S)
        size: int = psutil.Process(process.pid).memory_info().rss
        return float(size)


def _call(process: subprocess.Popen[bytes], name: str, arguments: dict[str, Any]) -> float:
    began = time.perf_counter()
    answer = _ask(process, "tools/call", {"name": name, "arguments": arguments})
    took = time.perf_counter() - began
    assert len(answer["structuredContent"]["sessions"]) >= FEW
    return took


def _ask(process: subprocess.Popen[bytes], method: str, params: dict[str, Any]) -> Any:
    assert process.stdout is not None
    _send(process, {"id": 1, "method": method, "params": params})
    while line := process.stdout.readline():
        answer = msgspec.json.decode(line)
        if answer.get("id") == 1:
            return answer["result"]
    raise RuntimeError(f"the server ended before it answered {method}")


def _send(process: subprocess.Popen[bytes], message: dict[str, Any]) -> None:
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode({"jsonrpc": "2.0", **message}) + b"\n")
    process.stdin.flush()


async def fill(home: Path, count: int) -> None:
    with Journals("process") as journals:
        store = JournalSessionStore(home, journals, SessionIndex(home))
        for n in range(count):
            meta = SessionMeta(
                session_id=SessionId(f"ses_{n:032}"), created_at=1e9 + n, title=f"session {n}"
            )
            await store.create(meta, [user_message(f"message {m} of {n}") for m in range(MESSAGES)])


def measure(rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as room:
        servers: dict[str, IdleServer] = {}
        for name, count, search in (
            ("few", FEW, False),
            ("many", MANY, False),
            ("few searched", FEW, True),
            ("many searched", MANY, True),
        ):
            home = Path(room) / name.partition(" ")[0]
            if not home.exists():
                home.mkdir()
                anyio.run(fill, home, count)
            servers[name] = IdleServer(home=home, search=search)
        weights = take_turns(dict(servers), rounds)
    claim = f"with {MANY} sessions against {FEW}"
    megabyte = 1 / (1024 * 1024)
    return [
        row(
            f"memory of an idle server {claim}",
            weights["many"],
            weights["few"],
            unit="MB",
            scale=megabyte,
            target=1.3,
        ),
        row(
            f"the same after a search {claim}",
            weights["many searched"],
            weights["few searched"],
            unit="MB",
            scale=megabyte,
            note="reported, without a target",
        ),
        row(
            f"a page of the list {claim}",
            servers["many"].listed[-rounds:],
            servers["few"].listed[-rounds:],
            unit="ms",
            scale=1e3,
            note="reported, without a target",
        ),
        row(
            f"a search {claim}",
            servers["many searched"].searched[-rounds:],
            servers["few searched"].searched[-rounds:],
            unit="ms",
            scale=1e3,
            note="reported, without a target: the word is in every session",
        ),
    ]
