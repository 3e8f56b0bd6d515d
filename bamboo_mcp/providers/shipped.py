"""The provider types that ship, as contributions; what loads them is named, not imported."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from bamboo_mcp.contributions import ProviderConfig, ProviderContribution
from bamboo_mcp.domain.models import ModelCaps, ModelEntry
from bamboo_mcp.providers.credentials import key_needed
from bamboo_mcp.providers.table import ANTHROPIC_MODELS

ANTHROPIC_KEY = "ANTHROPIC_API_KEY"
SCRIPTS = Path(__file__).parent / "scripted" / "scripts"
"""Scripted models that ship, one YAML file each."""


def anthropic_missing(config: ProviderConfig) -> str:
    """Cheap and without a network: what stands between this instance and its first answer."""
    if find_spec("anthropic") is None:
        return 'the SDK is not installed: pip install "bamboo-mcp[anthropic]"'
    if not config.api_key and not config.options.get("keyless"):
        return key_needed(config.name, ANTHROPIC_KEY)
    return ""


def shipped_providers() -> tuple[ProviderContribution, ...]:
    """In the order in which they are tried when nobody names a model; `offline` comes last."""
    scripts = sorted(path.stem for path in SCRIPTS.glob("*.yaml"))
    return (
        ProviderContribution(
            type="anthropic",
            load="bamboo_mcp.providers.anthropic.provider:make",
            missing=anthropic_missing,
            api_key_env=ANTHROPIC_KEY,
            models=ANTHROPIC_MODELS,
        ),
        ProviderContribution(
            type="scripted",
            load="bamboo_mcp.providers.scripted.provider:make",
            models=tuple(ModelEntry(name=name, provider="scripted") for name in scripts),
        ),
        ProviderContribution(
            type="offline",
            load="bamboo_mcp.providers.offline:make",
            models=(ModelEntry(name="offline", provider="offline", caps=ModelCaps(images=False)),),
        ),
    )
