"""What `health` shows of the whole: plugins and their faults, missing tools, the workspace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bamboo_mcp.app.toolbox import Toolbox
from bamboo_mcp.control.health import surface_hash
from bamboo_mcp.plugin_host.host import PluginHost
from bamboo_mcp.workspace.chosen import Workspace


async def report(host: PluginHost, toolbox: Toolbox, workspace: Workspace) -> Mapping[str, Any]:
    """What `health` shows beside what its tool knows by itself."""
    faults: dict[str, list[str]] = {}
    for fault in host.faults:
        faults.setdefault(fault.plugin, []).append(f"{fault.hook}: {fault.message}")
    return {
        "workspace": str(workspace.root or ""),
        "tool_surface": surface_hash(await toolbox.for_clients().list_tools()),
        "sandbox": "none: commands run with the rights of this server",
        "plugins": [
            {"name": plugin.name, "fault": "; ".join(faults.pop(plugin.name, []))}
            for plugin in host.plugins
        ]
        + [{"name": name, "fault": "; ".join(said)} for name, said in faults.items()],
        "tools_missing": [f"{f.member}: {f.message}" for f in toolbox.composite.faults],
        "tools_shadowed": [shadow.tool for shadow in toolbox.composite.shadowed],
    }
