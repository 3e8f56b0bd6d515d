"""Language models as a tool: which there are, and which can be used now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from bamboo_mcp.control.answers import Part, said
from bamboo_mcp.control.caller import caller_of
from bamboo_mcp.control.notices import NoticeBoard
from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.domain.models import ModelEntry
from bamboo_mcp.ports import Models, Notices, ToolContext, ToolExecutor
from bamboo_mcp.tools.function import FunctionExecutor, tool, tools_of

if TYPE_CHECKING:
    from bamboo_mcp.contributions import Services


class Price(Part, frozen=True, kw_only=True):
    """US dollars per million tokens; null: unknown."""

    input: float | None
    output: float | None


class ModelLine(Part, frozen=True, kw_only=True):
    model: str
    provider: str
    context_window: int
    efforts: list[str]
    price: Price
    ready: bool
    missing: str


class ModelMenu(Part, frozen=True, kw_only=True):
    models: list[ModelLine]
    notices: list[str]

    def as_text(self) -> str:
        lines = [
            f"{full_name(one.provider, one.model)}: ready ({one.context_window:,} tokens)"
            for one in self.models
            if one.ready
        ]
        lacking: dict[tuple[str, str], list[str]] = {}
        for one in self.models:
            if not one.ready:
                lacking.setdefault((one.provider, one.missing), []).append(one.model)
        for (provider, missing), names in lacking.items():
            known = ", ".join(name for name in names if name)
            lines.append(f"{provider} is not ready: {missing}{f' ({known})' if known else ''}")
        return said(lines or ["No models are known."], self.notices)


def full_name(provider: str, model: str) -> str:
    """As `spawn_subagent` takes it; some providers say it like that themselves."""
    return model if model.startswith(f"{provider}:") else f"{provider}:{model}"


class ModelTools:
    def __init__(self, models: Models, notices: Notices) -> None:
        self._models = models
        self._notices = notices

    @tool(title="List models", effect="read", group="control")
    async def list_models(
        self,
        context: ToolContext,
        *,
        provider: Annotated[str, Meta(description="Only this provider's.")] = "",
    ) -> ModelMenu:
        """List the language models that subagents can run on.

        Use it before you name a model in spawn_subagent, or when one could not be used. Not needed
        for the default model.

        Returns for each its name as spawn_subagent takes it, provider, context window in tokens,
        efforts it knows, price per million tokens, and ready, or in missing exactly what to do.

        Example: {"provider": "anthropic"}
        """
        menu = await self._models.menu(ask=True)
        known = sorted({entry.provider for entry in menu})
        if provider and provider not in known:
            raise InvalidInput(
                f"no provider {provider[:100]!r}", hint=f"Known: {', '.join(known) or 'none'}."
            )
        return ModelMenu(
            models=[_line(entry) for entry in menu if provider in ("", entry.provider)],
            notices=list(self._notices.take(caller_of(context))),
        )


def _line(entry: ModelEntry) -> ModelLine:
    return ModelLine(
        model=entry.name,
        provider=entry.provider,
        context_window=entry.caps.context_window,
        efforts=list(entry.caps.efforts),
        price=Price(input=entry.price_input, output=entry.price_output),
        ready=entry.ready,
        missing=entry.missing,
    )


def tools(services: Services) -> ToolExecutor:
    """The hook's factory."""
    return FunctionExecutor(
        tools_of(ModelTools(services.models, services.notices or NoticeBoard()))
    )
