"""From starting the server's process to its first answers, against a minimal server of the SDK."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from tests.benchmarks.pairing import Row, row, take_turns

INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "benchmark", "version": "1"},
}
MINIMAL = (sys.executable, str(Path(__file__).with_name("minimal_server.py")))
PATIENCE_S = 20.0
MARGIN_MS = 60.0


@dataclass(slots=True, kw_only=True)
class Starts:
    """Starts a server and times it. `listed` is of the same start as the latest `answered`."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: str
    listed: list[float]

    def answered(self) -> float:
        """Seconds to the answer to `initialize`; that to `tools/list` is noted on the side."""
        with tempfile.TemporaryFile() as errors:
            try:
                return self._start(errors)
            except (RuntimeError, OSError) as error:
                errors.seek(0)
                said = errors.read()[-2_000:].decode(errors="replace")
                raise RuntimeError(f"{' '.join(self.command)}: {error}\n{said}") from error

    def _start(self, errors: IO[bytes]) -> float:
        began = time.perf_counter()
        process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=self.folder,
            env=dict(self.environment),
        )
        # A server that never answers is killed, which ends the reading below.
        patience = threading.Timer(PATIENCE_S, process.kill)
        patience.start()
        with process:
            try:
                self._ask(process, 1, "initialize", INITIALIZE)
                initialized = time.perf_counter() - began
                self._send(process, {"method": "notifications/initialized"})
                self._ask(process, 2, "tools/list", {})
                self.listed.append(time.perf_counter() - began)
                process.communicate()
            finally:
                process.kill()
                patience.cancel()
        return initialized

    def _send(self, process: subprocess.Popen[bytes], message: Mapping[str, Any]) -> None:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode({"jsonrpc": "2.0", **message}) + b"\n")
        process.stdin.flush()

    def _ask(
        self, process: subprocess.Popen[bytes], id: int, method: str, params: Mapping[str, Any]
    ) -> None:
        assert process.stdout is not None
        self._send(process, {"id": id, "method": method, "params": params})
        while line := process.stdout.readline():
            answer = msgspec.json.decode(line)
            if answer.get("id") == id:
                if "result" not in answer:
                    raise RuntimeError(f"it refused {method}: {answer}")
                return
        raise RuntimeError(f"it ended before it answered {method}")


def measure(rounds: int) -> list[Row]:
    script = Path(sys.executable).with_name("bamboo-mcp")
    ours = (str(script),) if script.exists() else (sys.executable, "-m", "bamboo_mcp")
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "BAMBOO_HOME": f"{folder}/home"}
        bamboo = Starts(command=(*ours, "serve"), environment=environment, folder=folder, listed=[])
        minimal = Starts(command=MINIMAL, environment=environment, folder=folder, listed=[])
        answered = take_turns({"bamboo": bamboo.answered, "minimal": minimal.answered}, rounds)
    first = {"bamboo": bamboo.listed[-rounds:], "minimal": minimal.listed[-rounds:]}
    rows: list[Row] = []
    for claim, figures in (
        ("serve -> initialize answered", answered),
        ("serve -> first tools/list answered", first),
    ):
        pairs = zip(figures["bamboo"], figures["minimal"], strict=True)
        above = statistics.median(one - other for one, other in pairs)
        rows.append(
            row(claim, figures["bamboo"], figures["minimal"], unit="ms", scale=1e3, target=1.15)
        )
        rows.append(Row(claim=f"{claim}: above it", unit="ms", ours=above * 1e3, target=MARGIN_MS))
    return rows
