"""Is there a model server on this machine, and which models does it have? Without the SDK.

A server counts only if it lists its models as the API says: many programs answer on port 8000.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import httpx2
import msgspec

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.models import ModelCaps, ModelEntry
from bamboo_mcp.providers.table import caps_of

MOST_ASKED = 20
"""So many models are asked for what they can do, the first ones; the others are taken as able."""
_NO_CHAT = ("embed", "rerank", "whisper", "tts")


async def probe(config: ProviderConfig, within_s: float) -> Sequence[ModelEntry]:
    """A `contributions.Probe`."""
    found: list[ModelEntry] = []
    with anyio.move_on_after(within_s):
        # No proxy of the environment stands between us and our own machine.
        async with httpx2.AsyncClient(trust_env=False, timeout=within_s) as http:
            names = await _listed(http, config.base_url)
            found.extend(_entry(config.name, name) for name in names)
            if config.options.get("profile") == "ollama":
                await _ask_ollama(http, config, found)
    return sorted(found, key=lambda one: not one.caps.tools)


async def _listed(http: httpx2.AsyncClient, base_url: str) -> list[str]:
    answer = await _json(http, "GET", f"{base_url.rstrip('/')}/models")
    rows = answer.get("data")
    if not isinstance(rows, list):
        return []
    names = [row.get("id") for row in rows if isinstance(row, Mapping)]
    return [
        name
        for name in names
        if isinstance(name, str) and name and not any(word in name.lower() for word in _NO_CHAT)
    ]


async def _ask_ollama(
    http: httpx2.AsyncClient, config: ProviderConfig, found: list[ModelEntry]
) -> None:
    """Ollama has models of all kinds, and says which can call tools."""
    root = config.base_url.rstrip("/").removesuffix("/v1")

    async def ask(place: int) -> None:
        row = found[place]
        said = await _json(http, "POST", f"{root}/api/show", {"model": row.name})
        abilities = said.get("capabilities")
        if isinstance(abilities, list):
            caps = _caps(row.caps, abilities, said.get("model_info"))
            found[place] = ModelEntry(name=row.name, provider=row.provider, caps=caps, ready=True)

    async with anyio.create_task_group() as group:
        for place in range(min(len(found), MOST_ASKED)):
            group.start_soon(ask, place)


def _caps(known: ModelCaps, abilities: list[Any], info: Any) -> ModelCaps:
    window = known.context_window
    for key, value in info.items() if isinstance(info, Mapping) else ():
        if str(key).endswith(".context_length") and isinstance(value, int) and value > 0:
            window = value
    return ModelCaps(
        context_window=window,
        max_output=known.max_output,
        efforts=known.efforts,
        images="vision" in abilities,
        tools="tools" in abilities,
    )


def _entry(provider: str, name: str) -> ModelEntry:
    return ModelEntry(name=name, provider=provider, caps=caps_of(name), ready=True)


async def _json(
    http: httpx2.AsyncClient, method: str, url: str, body: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    """The object it answers with; an empty one for whatever else happens."""
    try:
        answer = await http.request(method, url, json=body)
        said = msgspec.json.decode(answer.content) if answer.is_success else {}
    except (httpx2.HTTPError, httpx2.InvalidURL, msgspec.DecodeError):
        return {}
    return said if isinstance(said, Mapping) else {}
