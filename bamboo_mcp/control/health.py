"""The server's state as a tool: the first thing to call when something is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import msgspec

from bamboo_mcp.control.answers import Part, said
from bamboo_mcp.control.caller import caller_of
from bamboo_mcp.control.models import full_name
from bamboo_mcp.control.notices import NoticeBoard
from bamboo_mcp.domain.errors import BambooError
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.ports import Models, Notices, ToolContext, ToolExecutor
from bamboo_mcp.tools.function import FunctionExecutor, tool, tools_of

if TYPE_CHECKING:
    from bamboo_mcp.contributions import Services

PROTOCOL_ERAS = ("2026-07-28", "initialize up to 2025-11-25")

Report = Callable[[], Awaitable[Mapping[str, Any]]]


class PermissionModes(Part, frozen=True, kw_only=True):
    max_mode: str
    default_mode: str
    direct_mode: str
    allow_commands: bool
    allow_model_approvals: bool


class Plugin(Part, frozen=True, kw_only=True):
    """`fault` is empty for one that works."""

    name: str
    fault: str


class Readiness(Part, frozen=True, kw_only=True):
    """`missing` says, for each provider that is not ready, what it lacks."""

    default: str
    ready: list[str]
    missing: dict[str, str]


class Health(Part, frozen=True, kw_only=True):
    version: str
    protocol_eras: list[str]
    tool_surface: str
    workspace: str
    permissions: PermissionModes
    sandbox: str
    plugins: list[Plugin]
    upstreams: list[dict[str, Any]]
    models: Readiness
    logs: str
    more: dict[str, Any]
    notices: list[str]

    def as_text(self) -> str:
        modes = self.permissions
        faults = [f"{one.name}: {one.fault}" for one in self.plugins if one.fault]
        lines = [
            f"bamboo-mcp {self.version}, protocol {' and '.join(self.protocol_eras)}",
            f"tool surface: {self.tool_surface or 'unknown'}",
            f"workspace: {self.workspace or 'not set: start with --workspace FOLDER'}",
            f"permissions: subagents {modes.default_mode}, at most {modes.max_mode}; direct calls "
            f"{modes.direct_mode}, commands {'allowed' if modes.allow_commands else 'not allowed'}",
            f"sandbox: {self.sandbox}",
            f"plugins: {len(self.plugins)}, {len(faults)} with faults",
            *faults,
            f"upstreams: {len(self.upstreams)}",
            f"models ready: {', '.join(self.models.ready) or 'none'}",
            *(f"{name} is not ready: {what}" for name, what in self.models.missing.items()),
            f"logs: {self.logs}",
            *(f"{name}: {msgspec.json.encode(v).decode()}" for name, v in self.more.items()),
        ]
        return said(lines, self.notices)


class HealthTools:
    """`report` is what the application knows: any field of `Health` by name, the rest is `more`."""

    def __init__(
        self,
        report: Report,
        models: Models,
        notices: Notices,
        *,
        permissions: PermissionModes,
        workspace: str,
        logs: str,
        default_model: str = "",
    ) -> None:
        self._report = report
        self._models = models
        self._notices = notices
        self._permissions = permissions
        self._workspace = workspace
        self._logs = logs
        self._default_model = default_model

    @tool(title="Health", effect="read", group="control")
    async def health(self, context: ToolContext) -> Health:
        """Say how this server is: the first thing to call when something does not work.

        Returns version, protocol eras, a hash of the tool surface (it changes when the tools do),
        workspace, permission modes in force, sandbox, plugins with their faults, upstream states,
        which models are ready and what the others lack, and where the logs are. Not for the state
        of a subagent: that is get_subagent.

        Example: {}
        """
        told = dict(await self._report())
        workspace = told.pop("workspace", None)
        return Health(
            version=str(told.pop("version", "") or _version()),
            protocol_eras=list(told.pop("protocol_eras", PROTOCOL_ERAS)),
            tool_surface=str(told.pop("tool_surface", "")),
            workspace=self._workspace if workspace is None else str(workspace),
            permissions=self._permissions,
            sandbox=str(told.pop("sandbox", "none yet")),
            plugins=[_plugin(one) for one in told.pop("plugins", ())],
            upstreams=[dict(one) for one in told.pop("upstreams", ())],
            models=await self._readiness(),
            logs=str(told.pop("logs", "") or self._logs),
            more=msgspec.json.decode(msgspec.json.encode(told, enc_hook=str)),
            notices=list(self._notices.take(caller_of(context))),
        )

    async def _readiness(self) -> Readiness:
        try:
            menu = await self._models.menu()
        except BambooError as error:
            # The tool to call when something is wrong must not fail because something is.
            missing = {"(all)": error.message}
            return Readiness(default=self._default_model, ready=[], missing=missing)
        return Readiness(
            default=self._default_model,
            ready=[full_name(entry.provider, entry.name) for entry in menu if entry.ready],
            missing={entry.provider: entry.missing for entry in menu if not entry.ready},
        )


def surface_hash(specs: Sequence[ToolSpec]) -> str:
    """Changes when any tool's name, words or schemas do, and only then; for `report`."""
    surface = [
        (spec.name, spec.description, spec.input_schema, spec.output_schema)
        for spec in sorted(specs, key=lambda spec: spec.name)
    ]
    encoded = msgspec.json.encode(surface, order="deterministic")
    return hashlib.sha256(encoded).hexdigest()[:16]


def _version() -> str:
    try:
        return version("bamboo-mcp")
    except PackageNotFoundError:
        return "unknown"


def _plugin(one: Any) -> Plugin:
    """A plugin as a report gives it: its name, or a mapping with `name` and perhaps `fault`."""
    if isinstance(one, Mapping):
        return Plugin(name=str(one.get("name", "")), fault=str(one.get("fault") or ""))
    return Plugin(name=str(one), fault="")


def tools(services: Services) -> ToolExecutor:
    """The hook's factory."""
    settings = services.settings
    modes = settings.permissions
    return FunctionExecutor(
        tools_of(
            HealthTools(
                services.health,
                services.models,
                services.notices or NoticeBoard(),
                permissions=PermissionModes(
                    max_mode=modes.max_mode,
                    default_mode=modes.default_mode,
                    direct_mode=modes.direct_mode,
                    allow_commands=modes.allow_commands,
                    allow_model_approvals=modes.allow_model_approvals,
                ),
                workspace=settings.workspace.root,
                logs=str(services.home / "logs"),
                default_model=settings.models.primary,
            )
        )
    )
