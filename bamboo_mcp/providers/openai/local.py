"""Does a model server answer on this machine? Asked in a moment, and without loading the SDK.

A server counts only if it lists its models as the API says: many programs answer on port 8000.
"""

from __future__ import annotations

from collections.abc import Mapping

import anyio
import httpx2
import msgspec

from bamboo_mcp.contributions import ProviderConfig


async def probe(config: ProviderConfig, within_s: float) -> bool:
    """A `contributions.Probe`."""
    with anyio.move_on_after(within_s):
        # No proxy of the environment stands between us and our own machine.
        plain = config.base_url.startswith("http:")  # to set up TLS takes 20 ms of everybody's time
        async with httpx2.AsyncClient(trust_env=False, timeout=within_s, verify=not plain) as http:
            try:
                answer = await http.get(f"{config.base_url.rstrip('/')}/models")
                said = msgspec.json.decode(answer.content) if answer.is_success else None
            except (httpx2.HTTPError, httpx2.InvalidURL, msgspec.DecodeError, UnicodeDecodeError):
                return False
        return _lists_models(said)
    return False


def _lists_models(said: object) -> bool:
    rows = said.get("data") if isinstance(said, Mapping) else None
    if not isinstance(rows, list):
        return False
    return any(isinstance(row, Mapping) and isinstance(row.get("id"), str) for row in rows)
