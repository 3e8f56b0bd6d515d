"""The front page: what plugin authors may import, and nothing else.

Each name is imported when it is first used, so that `import bamboo_mcp` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bamboo_mcp.app import App, open_app
    from bamboo_mcp.contributions import (
        EventSinkContribution,
        LauncherContribution,
        ProviderConfig,
        ProviderContribution,
        Services,
        ToolsContribution,
    )
    from bamboo_mcp.domain.errors import BambooError
    from bamboo_mcp.domain.tools import ToolCall, ToolResult, ToolSpec
    from bamboo_mcp.plugin_host.hookspecs import hookimpl
    from bamboo_mcp.plugin_host.sources import ModuleSource, ObjectSource
    from bamboo_mcp.ports import ToolContext, ToolExecutor
    from bamboo_mcp.settings import Settings, load_settings
    from bamboo_mcp.tools.function import FunctionExecutor, tool, tools_of

__all__ = [
    "App",
    "BambooError",
    "EventSinkContribution",
    "FunctionExecutor",
    "LauncherContribution",
    "ModuleSource",
    "ObjectSource",
    "ProviderConfig",
    "ProviderContribution",
    "Services",
    "Settings",
    "ToolCall",
    "ToolContext",
    "ToolExecutor",
    "ToolResult",
    "ToolSpec",
    "ToolsContribution",
    "hookimpl",
    "load_settings",
    "open_app",
    "tool",
    "tools_of",
]

_PLACES = {
    "app": ("App", "open_app"),
    "contributions": (
        "EventSinkContribution",
        "LauncherContribution",
        "ProviderConfig",
        "ProviderContribution",
        "Services",
        "ToolsContribution",
    ),
    "domain.errors": ("BambooError",),
    "domain.tools": ("ToolCall", "ToolResult", "ToolSpec"),
    "plugin_host.hookspecs": ("hookimpl",),
    "plugin_host.sources": ("ModuleSource", "ObjectSource"),
    "ports": ("ToolContext", "ToolExecutor"),
    "settings": ("Settings", "load_settings"),
    "tools.function": ("FunctionExecutor", "tool", "tools_of"),
}
_HOME = {name: f"bamboo_mcp.{place}" for place, names in _PLACES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'bamboo_mcp' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
