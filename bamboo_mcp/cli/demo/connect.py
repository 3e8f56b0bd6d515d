"""The next lines to type: how to add this server to the clients people have."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import msgspec


def server_command() -> str:
    """The absolute path of `bamboo-mcp` beside the interpreter that runs now."""
    beside = Path(sys.executable).with_name("bamboo-mcp.exe" if os.name == "nt" else "bamboo-mcp")
    if beside.exists():
        return str(beside)
    return shutil.which("bamboo-mcp") or str(beside)


def claude_code_line(workspace: Path) -> str:
    return f'claude mcp add bamboo -- "{server_command()}" serve --workspace "{workspace}"'


def claude_desktop_file() -> Path:
    """Where Claude Desktop keeps its servers on this machine (conformance note, section 6)."""
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support/Claude/claude_desktop_config.json"
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", "")) / "Claude/claude_desktop_config.json"
    return Path.home() / ".config/Claude/claude_desktop_config.json"


def claude_desktop_entry(workspace: Path) -> str:
    entry = {
        "mcpServers": {
            "bamboo": {
                "command": server_command(),
                "args": ["serve", "--workspace", str(workspace)],
            }
        }
    }
    return msgspec.json.format(msgspec.json.encode(entry), indent=2).decode()
