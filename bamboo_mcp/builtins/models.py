"""Builtin plugin: the language models that ship."""

from __future__ import annotations

from collections.abc import Sequence

from bamboo_mcp.contributions import ProviderContribution
from bamboo_mcp.plugin_host.hookspecs import hookimpl


@hookimpl
def contribute_providers() -> Sequence[ProviderContribution]:
    from bamboo_mcp.providers.shipped import shipped_providers

    return shipped_providers()
