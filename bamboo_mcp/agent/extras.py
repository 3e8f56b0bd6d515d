"""What only some runs have: a goal that is watched over, and words in the place of images."""

from __future__ import annotations

from collections.abc import Collection

from bamboo_mcp.agent.goal import GoalKeeper
from bamboo_mcp.agent.images import ImageReader, WithoutImages
from bamboo_mcp.agent.money import Money
from bamboo_mcp.agent.roster import Roster
from bamboo_mcp.agent.side_calls import SideCalls
from bamboo_mcp.domain.models import ModelCaps
from bamboo_mcp.domain.runs import ImageFallback, RunRequest
from bamboo_mcp.ports import Emit, Models, Provider, ToolExecutor


class Extras:
    def __init__(
        self,
        request: RunRequest,
        *,
        models: Models,
        roles_said: Collection[str],
        money: Money,
        emit: Emit,
    ) -> None:
        roster = Roster(models, request, roles_said)
        self.side = SideCalls(request, models=models, roster=roster, money=money, emit=emit)
        self.goal: GoalKeeper | None = None
        if request.goal is not None and request.goal.text:
            self.goal = GoalKeeper(request.goal, side=self.side, emit=emit)
        self._fallback = request.image_fallback
        self._emit = emit

    def around(self, provider: Provider, caps: ModelCaps) -> Provider:
        """Also a model that sees images, when something was asked for: its fallback may not."""
        if caps.images and self._fallback is None:
            return provider
        fallback = self._fallback or ImageFallback()
        return WithoutImages(provider, ImageReader(fallback, self.side, self._emit))

    def over(self, tools: ToolExecutor) -> ToolExecutor:
        return tools if self.goal is None else self.goal.over(tools)
