"""The contract of `ToolExecutor` over every executor that lives in `tools`."""

from __future__ import annotations

from typing import Annotated

import anyio
from msgspec import Meta

from bamboo_mcp.domain.tools import ToolCall
from bamboo_mcp.permissions.policy import ModePolicy
from bamboo_mcp.ports import ToolContext, ToolExecutor
from bamboo_mcp.testing.contracts.tool_executor import ToolExecutorContract
from bamboo_mcp.tools.bounded import BoundedExecutor
from bamboo_mcp.tools.catalogue import Listed
from bamboo_mcp.tools.composite import CompositeExecutor, Member
from bamboo_mcp.tools.denylist import DenylistExecutor
from bamboo_mcp.tools.filtered import FilteredExecutor
from bamboo_mcp.tools.function import FunctionExecutor, tool, tools_of
from bamboo_mcp.tools.overlay import OverlayExecutor
from bamboo_mcp.tools.permitted import PermittedExecutor
from bamboo_mcp.tools.validation import Validators


class Family:
    """Two small tools."""

    @tool(title="Repeat", effect="read")
    async def repeat_text(
        self,
        context: ToolContext,
        *,
        text: Annotated[str, Meta(description="What to repeat.")],
        times: Annotated[int, Meta(description="How often.", ge=1)] = 2,
    ) -> str:
        """Say a text several times."""
        return text * times

    @tool(title="Wait", effect="read")
    async def wait_for_ever(self, context: ToolContext) -> str:
        """Wait until cancelled."""
        await anyio.sleep_forever()
        return "never"


def functions() -> ToolExecutor:
    return FunctionExecutor(tools_of(Family()))


def composite() -> CompositeExecutor:
    return CompositeExecutor([Member(name="family", group="plugins", executor=functions())])


class FamilyContract(ToolExecutorContract):
    """The contract with the calls that fit `Family`."""

    good_call = ToolCall(id="1", name="repeat_text", arguments={"text": "ab"})
    bad_call = ToolCall(id="2", name="repeat_text", arguments={"text": "ab", "times": 0})
    bad_field = "times"
    slow_call = ToolCall(id="3", name="wait_for_ever")


class TestFunctionExecutor(FamilyContract):
    def make(self) -> ToolExecutor:
        return functions()


class TestListed(FamilyContract):
    def make(self) -> ToolExecutor:
        return Listed(functions())


class TestComposite(FamilyContract):
    def make(self) -> ToolExecutor:
        return composite()


class TestOverlay(FamilyContract):
    def make(self) -> ToolExecutor:
        return OverlayExecutor(functions(), CompositeExecutor([]))


class TestFiltered(FamilyContract):
    def make(self) -> ToolExecutor:
        return FilteredExecutor(composite(), ["plugins"])


class TestDenylist(FamilyContract):
    def make(self) -> ToolExecutor:
        return DenylistExecutor(composite(), deny_tools=["something_else"])


class TestPermitted(FamilyContract):
    def make(self) -> ToolExecutor:
        return PermittedExecutor(composite(), ModePolicy(), validators=Validators())


class TestBounded(FamilyContract):
    def make(self) -> ToolExecutor:
        return BoundedExecutor(composite(), validators=Validators())


class TestTheWholeStack(FamilyContract):
    def make(self) -> ToolExecutor:
        validators = Validators()
        bounded = BoundedExecutor(
            OverlayExecutor(FunctionExecutor([]), composite()), validators=validators
        )
        return DenylistExecutor(PermittedExecutor(bounded, ModePolicy(), validators=validators))
