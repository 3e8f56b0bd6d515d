"""Which model takes which part in a run: as its request says, else the settings, else its heir."""

from __future__ import annotations

from collections.abc import Collection

from bamboo_mcp.domain.errors import UnknownModel
from bamboo_mcp.domain.models import Role
from bamboo_mcp.domain.runs import RunRequest
from bamboo_mcp.ports import Models, Provider


class Roster:
    """Looked up anew at each use, so that a fallback or a new key counts at once.

    `said` are the roles that the settings name a model for.
    """

    __slots__ = ("_models", "_request", "_said")

    def __init__(self, models: Models, request: RunRequest, said: Collection[str]) -> None:
        self._models = models
        self._request = request
        self._said = said

    async def resolve(self, role: Role) -> tuple[Provider, str]:
        """The model of a role; background work never ends up with the primary one by itself.

        Raises:
            UnknownModel: Nobody named a model for background work, or one that is not there.
            AuthenticationFailed: What its provider needs is missing.
        """
        return await self._models.resolve(self._name(role))

    def _name(self, role: Role) -> str:
        own = self._request.roster
        match role:
            case "primary":
                return self._request.model
            case "fast":
                return own.fast or ("fast" if "fast" in self._said else self._request.model)
            case "summarisation":
                if own.summarisation or "summarisation" in self._said:
                    return own.summarisation or "summarisation"
                return self._name("background")
            case "background":
                if own.background or "background" in self._said:
                    return own.background or "background"
        raise UnknownModel(
            "no model is set for background work, and the primary one is not taken in its place",
            hint="set models.background, or name one in the run's roster",
        )
