"""The tools of everybody in one composite, and the wrappers each user of them gets."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

from bamboo_mcp.contributions import Services
from bamboo_mcp.domain.runs import RunRequest
from bamboo_mcp.domain.tools import Group
from bamboo_mcp.permissions.policy import DirectPolicy, ModePolicy
from bamboo_mcp.plugin_host.host import PluginHost
from bamboo_mcp.ports import Policy, ToolExecutor
from bamboo_mcp.settings import Settings
from bamboo_mcp.tools.bounded import BoundedExecutor
from bamboo_mcp.tools.catalogue import Catalogue, Listed
from bamboo_mcp.tools.composite import CompositeExecutor
from bamboo_mcp.tools.cutting import ResultLimits
from bamboo_mcp.tools.denylist import DenylistExecutor
from bamboo_mcp.tools.filtered import FilteredExecutor
from bamboo_mcp.tools.permitted import PermittedExecutor
from bamboo_mcp.tools.validation import Validators

KEPT_DENYLISTS = 256
FOREIGN_GROUPS: tuple[Group, ...] = ("upstream", "plugins")
"""Of tools that are not ours."""


class Toolbox:
    """Reads from the outside in: `Denylist(Permitted(Bounded(Composite([...plugins]))))`."""

    def __init__(self, settings: Settings, host: PluginHost, services: Services) -> None:
        self._host = host
        self._exposed = settings.server.expose
        limits = settings.limits.limits()
        permissions = settings.permissions
        self._validators = Validators()
        self.composite = CompositeExecutor(host.tool_members(services))
        self._bounds = partial(
            BoundedExecutor,
            validators=self._validators,
            timeout_s=limits.tool_timeout_s,
            limits=ResultLimits(text=limits.max_result_chars),
        )
        bounded = partial(self._bounds, self.composite)
        of_runs = ModePolicy(question_timeout_s=permissions.question_timeout_s)
        self._of_runs = of_runs
        # A thousand subagents are denied the same few sets of names, and share what is left.
        self._for_runs = lru_cache(maxsize=KEPT_DENYLISTS)(
            partial(DenylistExecutor, self._permitted(bounded(), of_runs))
        )
        # Our own tools page by the same setting and say how to read on; these cannot.
        most = settings.server.max_result_chars
        foreign = ResultLimits(text=most, structured=most)
        self._for_clients = self._permitted(
            bounded(group_limits=dict.fromkeys(FOREIGN_GROUPS, foreign)),
            DirectPolicy(
                of_runs,
                mode=permissions.direct_mode,
                allow_commands=permissions.allow_commands,
            ),
        )

    def for_run(self, request: RunRequest) -> ToolExecutor:
        """What the agent of this run may use."""
        denied = request.deny_tools + self._host.deny_tools(request)
        return self._for_runs(deny_tools=denied, allow_tools=request.allow_tools)

    def in_place(self, tools: ToolExecutor) -> Callable[[RunRequest], ToolExecutor]:
        """`tools` in the place of ours, for one run and under the same rules."""
        permitted = self._permitted(self._bounds(Listed(tools)), self._of_runs)

        def for_run(request: RunRequest) -> ToolExecutor:
            denied = request.deny_tools + self._host.deny_tools(request)
            return DenylistExecutor(permitted, deny_tools=denied, allow_tools=request.allow_tools)

        return for_run

    def for_clients(self) -> ToolExecutor:
        """What an MCP client sees and calls directly."""
        return FilteredExecutor(self._for_clients, self._exposed)

    def _permitted(self, bounded: Catalogue, policy: Policy) -> Catalogue:
        return PermittedExecutor(bounded, policy, validators=self._validators)
