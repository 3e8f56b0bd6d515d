from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
LIST = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}


def serve(*arguments: str, workspace: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "bamboo_mcp", "serve", "--workspace", str(workspace), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "BAMBOO_CONFIG": os.devnull},
    )


def test_a_client_is_served_what_the_flags_expose_until_it_leaves(tmp_path: Path) -> None:
    with serve("--expose", "workspace", workspace=tmp_path) as process:
        assert process.stdin is not None and process.stdout is not None
        for message in (INITIALIZE, INITIALIZED, LIST):
            process.stdin.write(msgspec.json.encode(message) + b"\n")
        process.stdin.flush()
        first = msgspec.json.decode(process.stdout.readline())
        listed = msgspec.json.decode(process.stdout.readline())
        rest, _ = process.communicate(timeout=10)
    assert first["result"]["serverInfo"]["name"] == "bamboo-mcp"
    names = {tool["name"] for tool in listed["result"]["tools"]}
    assert "read_file" in names
    assert "spawn_subagent" not in names
    assert (process.returncode, rest) == (0, b"")


def test_a_bad_setting_ends_the_server_before_it_says_a_word_to_the_client(tmp_path: Path) -> None:
    with serve("--expose", "wrkspace", workspace=tmp_path) as process:
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (2, b"")
    assert b"--expose: server.expose[0] = 'wrkspace' must be one of" in err


def test_a_workspace_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with serve(workspace=tmp_path / "none") as process:
        out, err = process.communicate(timeout=10)
    assert process.returncode == 1
    assert out == b""
    assert b"error: " in err and b"none" in err
    assert b"Traceback" not in err
