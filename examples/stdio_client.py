"""The smallest client: start the server, let a subagent list the workspace, print its result.

Run it with the interpreter of the environment that bamboo-mcp is installed in:

    .venv/bin/python examples/stdio_client.py [WORKSPACE]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
from mcp import Client, StdioServerParameters


async def main(workspace: Path) -> None:
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "bamboo_mcp", "serve", "--workspace", str(workspace)],
        # The SDK gives a child only the barest environment: keys and BAMBOO_* have to be handed on.
        env=dict(os.environ),
    )
    async with Client(server, read_timeout_seconds=60) as client:
        spawned = await client.call_tool(
            "spawn_subagent",
            {"model": "offline:offline", "task": '/tool list_directory {"path": "."}'},
        )
        started = spawned.structured_content or {}
        print("spawned", started["subagent_id"])
        awaited = await client.call_tool(
            "await_subagents", {"subagent_ids": [started["subagent_id"]], "timeout_s": 20}
        )
        [child] = (awaited.structured_content or {})["subagents"]
        print(child["status"])
        print(child["result"]["text"])


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve())
