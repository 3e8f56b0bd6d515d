"""The arguments of a tool call as a model wrote them: a JSON object, or a call that is not made."""

from __future__ import annotations

from typing import Any

import msgspec

from bamboo_mcp.domain.provider_errors import BadToolJson
from bamboo_mcp.domain.usage import NO_USAGE, Usage


class BadCall(Exception):
    """A call that cannot be made; its text says why."""


def checked_arguments(name: str, text: str) -> dict[str, Any]:
    """The object that `text` is. Nothing is repaired: half an object must never become a call.

    Raises:
        BadCall: Naming the tool and what was written.
    """
    problem = "is not an object"
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        value, problem = None, str(error)
    if isinstance(value, dict):
        return value
    raise BadCall(
        f"called {name!r} with arguments that are not a JSON object ({problem}): {text[:200]!r}"
    )


def bad_tool_json(
    origin: str, problem: object, *, started: bool = False, usage: Usage = NO_USAGE
) -> BadToolJson:
    """The failure of an answer with such a call. `origin` is `provider:model`."""
    failure = BadToolJson(
        f"{origin} {problem}",
        hint="Ask again; if it happens often, give the tool a simpler schema.",
        provider=origin.partition(":")[0],
        started=started,
    )
    failure.usage = usage
    return failure
