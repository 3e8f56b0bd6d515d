"""The provider types that ship, as contributions; what loads them is named, not imported."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from bamboo_mcp.contributions import ProviderConfig, ProviderContribution, ProviderPreset
from bamboo_mcp.domain.models import ModelCaps, ModelEntry
from bamboo_mcp.providers.credentials import key_needed
from bamboo_mcp.providers.known_models import (
    ANTHROPIC_MODELS,
    DEEPSEEK_MODELS,
    GEMINI_MODELS,
    OPENAI_MODELS,
)

ANTHROPIC_KEY = "ANTHROPIC_API_KEY"
OPENAI_KEY = "OPENAI_API_KEY"
SCRIPTS = Path(__file__).parent / "scripted" / "scripts"
"""Scripted models that ship, one YAML file each."""


def anthropic_missing(config: ProviderConfig) -> str:
    """Cheap and without a network: what stands between this instance and its first answer."""
    if find_spec("anthropic") is None:
        return 'the SDK is not installed: pip install "bamboo-mcp[anthropic]"'
    if not config.api_key and not config.options.get("keyless"):
        return key_needed(config.name, ANTHROPIC_KEY)
    return ""


def openai_missing(config: ProviderConfig) -> str:
    if find_spec("openai") is None:
        return _NO_OPENAI
    if not config.api_key and not config.options.get("keyless"):
        return key_needed(config.name, OPENAI_KEY)
    return ""


def chat_missing(config: ProviderConfig) -> str:
    """A compatible server needs an address; whether it needs a key, only a preset knows."""
    if not config.base_url:
        return (
            "it serves any compatible server, and needs its address: name one in the settings as "
            f'[providers.NAME] with type = "{config.type}" and base_url'
        )
    if find_spec("openai") is None:
        return _NO_OPENAI
    if not config.api_key and (env := _KEYS.get(config.name)) and not config.options.get("keyless"):
        return key_needed(config.name, env)
    return ""


_NO_OPENAI = 'the SDK is not installed: pip install "bamboo-mcp[openai]"'
_PROBE = "bamboo_mcp.providers.openai.local:probe"


def _local(name: str, port: int, profile: str) -> ProviderPreset:
    return ProviderPreset(
        name=name,
        base_url=f"http://127.0.0.1:{port}/v1",
        options={"profile": profile},
        probe=_PROBE,
    )


def _hosted(
    name: str, base_url: str, env: str, models: tuple[ModelEntry, ...] = ()
) -> ProviderPreset:
    return ProviderPreset(
        name=name, base_url=base_url, api_key_env=env, options={"profile": name}, models=models
    )


COMPATIBLE = (
    _hosted(
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta/openai/",
        "GEMINI_API_KEY",
        GEMINI_MODELS,
    ),
    _hosted("deepseek", "https://api.deepseek.com", "DEEPSEEK_API_KEY", DEEPSEEK_MODELS),
    _hosted("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    _local("ollama", 11434, "ollama"),
    _local("llama.cpp", 8080, "llama.cpp"),
    _local("lmstudio", 1234, "lmstudio"),
    _local("vllm", 8000, "vllm"),
)
"""Compatible services people have; the last four are servers on one's own machine."""

_KEYS = {preset.name: preset.api_key_env for preset in COMPATIBLE if preset.api_key_env}


def shipped_providers() -> tuple[ProviderContribution, ...]:
    """In the order in which they are tried when nobody names a model; `offline` comes last."""
    scripts = sorted(path.stem for path in SCRIPTS.glob("*.yaml"))
    return (
        ProviderContribution(
            type="anthropic",
            load="bamboo_mcp.providers.anthropic.provider:make",
            missing=anthropic_missing,
            api_key_env=ANTHROPIC_KEY,
            base_url_env="ANTHROPIC_BASE_URL",
            models=ANTHROPIC_MODELS,
        ),
        ProviderContribution(
            type="openai",
            load="bamboo_mcp.providers.openai.responses:make",
            missing=openai_missing,
            api_key_env=OPENAI_KEY,
            base_url_env="OPENAI_BASE_URL",
            models=OPENAI_MODELS,
        ),
        ProviderContribution(
            type="openai-chat",
            load="bamboo_mcp.providers.openai.chat:make",
            missing=chat_missing,
            presets=COMPATIBLE,
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
