"""`ports.Models` with a provider behind each name, for runs that ask more than one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bamboo_mcp.domain.errors import UnknownModel
from bamboo_mcp.domain.models import ModelEntry
from bamboo_mcp.domain.tokens import Sizing
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.ports import Provider
from bamboo_mcp.testing.scripted import MODEL


class NamedModels:
    """Knows the names it is given, "" being the default; an answer costs a dollar a token."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._providers = providers
        self._sizing = Sizing()
        self.asked: list[str] = []

    async def resolve(self, name: str) -> tuple[Provider, str]:
        self.asked.append(name)
        if name not in self._providers:
            raise UnknownModel(f"there is no model {name!r}")
        return self._providers[name], MODEL

    async def menu(self, *, ask: bool = False) -> Sequence[ModelEntry]:
        return []

    def goes_on(self, name: str) -> bool:
        return False

    def sizing(self, provider: str, model: str) -> Sizing:
        return self._sizing

    def cost(self, provider: str, model: str, usage: Usage) -> float | None:
        return float(usage.total)

    async def load_prices(self, provider: str = "", model: str = "") -> None:
        return
