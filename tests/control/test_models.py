from __future__ import annotations

from collections.abc import Sequence

from msgspec import json

from bamboo_mcp.control.models import ModelTools
from bamboo_mcp.control.notices import NoticeBoard
from bamboo_mcp.domain.ids import new_call_id
from bamboo_mcp.domain.models import ModelCaps, ModelEntry
from bamboo_mcp.domain.tokens import Sizing
from bamboo_mcp.domain.tools import ToolCall, ToolResult
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.ports import Provider
from bamboo_mcp.tools.function import FunctionExecutor, tools_of
from tests.control.desk import Desk

MENU = (
    ModelEntry(
        name="anthropic:large",
        provider="anthropic",
        caps=ModelCaps(context_window=200_000, efforts=("low", "high")),
        missing="set ANTHROPIC_API_KEY",
        price_input=3.0,
        price_output=15.0,
    ),
    ModelEntry(name="offline:echo", provider="offline", ready=True),
)


class Menu:
    """Implements `Models`."""

    async def resolve(self, name: str) -> tuple[Provider, str]:
        raise NotImplementedError

    async def menu(self, *, ask: bool = False) -> Sequence[ModelEntry]:
        return MENU

    def goes_on(self, name: str) -> bool:
        return False

    def sizing(self, provider: str, model: str) -> Sizing:
        raise NotImplementedError

    def cost(self, provider: str, model: str, usage: Usage) -> float | None:
        return None

    async def load_prices(self, provider: str = "", model: str = "") -> None:
        return


async def list_models(**arguments: object) -> ToolResult:
    executor = FunctionExecutor(tools_of(ModelTools(Menu(), NoticeBoard())))
    call = ToolCall(id=new_call_id(), name="list_models", arguments=arguments)
    return await executor.call_tool(call, Desk().context())


async def test_each_model_says_whether_it_is_ready_or_what_is_missing() -> None:
    result = await list_models()
    assert result.structured is not None
    large, echo = result.structured["models"]
    assert large == {
        "model": "anthropic:large",
        "provider": "anthropic",
        "context_window": 200_000,
        "efforts": ["low", "high"],
        "price": {"input": 3.0, "output": 15.0},
        "ready": False,
        "missing": "set ANTHROPIC_API_KEY",
    }
    assert (echo["ready"], echo["price"]) == (True, {"input": None, "output": None})
    assert "anthropic is not ready: set ANTHROPIC_API_KEY (anthropic:large)" in result.text
    assert "offline:echo: ready" in result.text


async def test_the_list_can_be_one_providers() -> None:
    result = await list_models(provider="offline")
    assert result.structured is not None
    assert [one["model"] for one in result.structured["models"]] == ["offline:echo"]


async def test_an_unknown_provider_is_refused_with_those_known() -> None:
    error = json.decode((await list_models(provider="openia")).text)["error"]
    assert "'openia'" in error["message"]
    assert error["hint"] == "Known: anthropic, offline."
