from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema_rs

from bamboo_mcp.control.health import HealthTools, PermissionModes, surface_hash
from bamboo_mcp.control.notices import NoticeBoard
from bamboo_mcp.domain.errors import StorageError
from bamboo_mcp.domain.ids import new_call_id
from bamboo_mcp.domain.models import ModelEntry
from bamboo_mcp.domain.tokens import Sizing
from bamboo_mcp.domain.tools import ToolCall, ToolResult, ToolSpec
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.ports import Models, Provider
from bamboo_mcp.tools.function import FunctionExecutor, tools_of
from tests.control.desk import Desk
from tests.control.test_models import Menu


class NoMenu:
    """Implements `Models`, badly."""

    async def resolve(self, name: str) -> tuple[Provider, str]:
        raise NotImplementedError

    async def menu(self, *, ask: bool = False) -> Sequence[ModelEntry]:
        raise StorageError("the price table cannot be read")

    def goes_on(self, name: str) -> bool:
        return False

    def sizing(self, provider: str, model: str) -> Sizing:
        raise NotImplementedError

    def cost(self, provider: str, model: str, usage: Usage) -> float | None:
        return None

    async def load_prices(self, provider: str = "", model: str = "") -> None:
        return


async def health(report: Mapping[str, Any], models: Models | None = None) -> ToolResult:
    async def told() -> Mapping[str, Any]:
        return report

    executor = FunctionExecutor(
        tools_of(
            HealthTools(
                told,
                models or Menu(),
                NoticeBoard(),
                permissions=PermissionModes(
                    max_mode="accept_edits",
                    default_mode="default",
                    direct_mode="accept_edits",
                    allow_commands=False,
                    allow_model_approvals=False,
                ),
                workspace="",
                logs="/home/ada/logs",
                default_model="offline:echo",
            )
        )
    )
    result = await executor.call_tool(ToolCall(id=new_call_id(), name="health"), Desk().context())
    assert not result.is_error, result.text
    (spec,) = await executor.list_tools()
    assert spec.output_schema is not None
    jsonschema_rs.validate(dict(spec.output_schema), result.structured)
    return result


async def test_health_is_complete_without_a_word_from_the_application() -> None:
    result = await health({})
    told = result.structured
    assert told is not None
    assert told["protocol_eras"] == ["2026-07-28", "initialize up to 2025-11-25"]
    assert (told["sandbox"], told["upstreams"], told["plugins"]) == ("none yet", [], [])
    assert told["models"]["ready"] == ["offline:echo"]
    assert told["models"]["missing"] == {"anthropic": "set ANTHROPIC_API_KEY"}
    assert told["permissions"]["max_mode"] == "accept_edits"
    assert "not set: start with --workspace" in result.text
    assert "/home/ada/logs" in result.text
    assert "commands not allowed" in result.text


async def test_what_the_application_reports_wins_and_the_rest_is_kept() -> None:
    result = await health(
        {
            "version": "9.9",
            "workspace": Path("/work/here"),
            "tool_surface": "abc",
            "plugins": ["good", {"name": "bad", "fault": "ImportError: no module x"}],
            "sessions": 3,
            "home": Path("/home/ada"),
        }
    )
    told = result.structured
    assert told is not None
    assert (told["version"], told["workspace"]) == ("9.9", "/work/here")
    assert told["plugins"] == [
        {"name": "good", "fault": ""},
        {"name": "bad", "fault": "ImportError: no module x"},
    ]
    assert told["more"] == {"sessions": 3, "home": "/home/ada"}
    assert "bad: ImportError: no module x" in result.text


async def test_health_answers_when_the_models_cannot() -> None:
    result = await health({}, NoMenu())
    assert "the price table cannot be read" in result.text


def test_the_hash_of_the_surface_changes_with_the_tools_and_not_with_their_order() -> None:
    one = ToolSpec(name="a", description="d")
    other = ToolSpec(name="b", description="d")
    assert surface_hash([one, other]) == surface_hash([other, one])
    changed = ToolSpec(name="b", description="other words")
    assert surface_hash([one, changed]) != surface_hash([one, other])
