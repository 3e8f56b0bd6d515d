"""A child has no right, no bound and no life beyond its parent's."""

from __future__ import annotations

import anyio
import pytest

from bamboo_mcp.domain.errors import InvalidInput, LimitReached, UnknownId
from bamboo_mcp.domain.events import RoundStarted
from bamboo_mcp.domain.ids import LOCAL, SubagentId, Subject
from bamboo_mcp.domain.runs import Limits
from bamboo_mcp.domain.tokens import Sizing
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.subagents.admission import SubagentRules
from bamboo_mcp.testing.harness import open_harness
from bamboo_mcp.testing.scripted import ScriptedProvider, scripted_models
from tests.subagents.gate import Gate, calling


async def test_a_child_is_denied_what_its_parent_is_denied() -> None:
    gate = Gate()
    async with open_harness(ScriptedProvider(calling("wait_here")), tools=gate.tools) as harness:
        parent = await harness.spawn(
            "parent",
            allow_tools=("wait_*", "read_file"),
            deny_tools=("write",),
            limits=Limits(max_rounds=5, max_tokens=1_000),
        )
        child = await harness.spawn("child", parent_id=parent.subagent_id, depth=2)
        assert child.spec.deny_tools == ("write",)
        assert child.spec.allow_tools == ("wait_*", "read_file")
        assert child.spec.limits.max_rounds == 5
        assert child.spec.limits.max_tokens == 1_000
        narrower = await harness.spawn(
            "child",
            parent_id=parent.subagent_id,
            depth=2,
            allow_tools=("Wait-Here", "write", "run_command"),
            limits=Limits(max_rounds=2),
        )
        assert narrower.spec.allow_tools == ("Wait-Here",)
        assert narrower.spec.limits.max_rounds == 2


async def test_an_ended_or_unknown_parent_takes_no_children() -> None:
    async with open_harness(ScriptedProvider("done")) as harness:
        parent = await harness.spawn("parent", permission_mode="plan")
        await harness.ended(parent.subagent_id)
        for caller in (LOCAL, Subject(parent.subagent_id)):
            with pytest.raises(InvalidInput, match="has ended"):
                await harness.spawn("child", parent_id=parent.subagent_id, caller=caller, depth=2)
        with pytest.raises(UnknownId):
            await harness.spawn("child", parent_id=SubagentId("sub_nobody"), depth=2)


class SlowModels:
    """Models whose `resolve` waits for the test, but for the first."""

    def __init__(self, provider: ScriptedProvider) -> None:
        self._models = scripted_models(provider)
        self.asked = 0
        self.entered = anyio.Event()
        self.open = anyio.Event()

    async def resolve(self, name: str):  # type: ignore[no-untyped-def]
        self.asked += 1
        if name == "slow":
            self.entered.set()
            await self.open.wait()
        return await self._models.resolve(name)

    async def menu(self, *, ask: bool = False):  # type: ignore[no-untyped-def]
        return await self._models.menu()

    def goes_on(self, name: str) -> bool:
        return False

    def sizing(self, provider: str, model: str) -> Sizing:
        return self._models.sizing(provider, model)

    def cost(self, provider: str, model: str, usage: Usage) -> float | None:
        return None

    async def load_prices(self, provider: str = "", model: str = "") -> None:
        return


async def test_a_child_that_is_admitted_while_its_parent_ends_is_not_born() -> None:
    gate = Gate()
    provider = ScriptedProvider(calling("wait_here"), "done")
    models = SlowModels(provider)
    async with open_harness(models, tools=gate.tools) as harness:
        parent = await harness.spawn("parent")
        await harness.until(parent.subagent_id, lambda e: isinstance(e, RoundStarted))
        refused: list[Exception] = []

        async def spawn() -> None:
            try:
                await harness.spawn("child", parent_id=parent.subagent_id, depth=2, model="slow")
            except InvalidInput as error:
                refused.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(spawn)
            await models.entered.wait()
            gate.open.set()
            await harness.ended(parent.subagent_id)
            models.open.set()
        assert "has ended" in str(refused[0])
        assert len(await harness.subagents.list_subagents(caller=LOCAL)) == 1


async def test_the_bound_on_unfinished_subagents_holds_for_many_at_once() -> None:
    gate = Gate()
    models = SlowModels(ScriptedProvider(calling("wait_here")))
    rules = SubagentRules(max_unfinished=3)
    async with open_harness(models, tools=gate.tools, rules=rules) as harness:
        outcomes: list[str] = []

        async def spawn() -> None:
            try:
                await harness.spawn("child", model="slow")
                outcomes.append("accepted")
            except LimitReached:
                outcomes.append("refused")

        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(spawn)
            await models.entered.wait()
            models.open.set()
        assert sorted(outcomes) == ["accepted"] * 3 + ["refused"] * 7
