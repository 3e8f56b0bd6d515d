"""The folders a legacy client says it works in (MCP 2025-11-25, "Roots"), as paths."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import anyio
import mcp_types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

logger = logging.getLogger(__name__)

_ANSWER_S = 5.0


async def client_roots(context: ServerRequestContext[Any, Any]) -> list[Path] | None:
    """The client's roots that are folders of this machine, in its order; None when it told none."""
    capabilities = context.session.client_capabilities
    if capabilities is None or capabilities.roots is None:
        return None
    try:
        with anyio.fail_after(_ANSWER_S):
            answer = await context.session.send_request(
                mcp_types.ListRootsRequest(), mcp_types.ListRootsResult
            )
    except (MCPError, ValueError, TimeoutError) as error:
        logger.warning("the client declares roots but did not tell them: %r", error)
        return None
    paths = [path_of(str(root.uri)) for root in answer.roots]
    return [path for path in paths if path is not None]


def path_of(uri: str) -> Path | None:
    """The local path of a `file:` URI; None for anything else, other machines included."""
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        return None
    path = Path(url2pathname(parts.path))
    return path if path.is_absolute() else None
