"""Which settings there are: a frozen model a section, with defaults, ranges, words for people."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
)

from bamboo_mcp.domain.models import Effort, ModelFacts
from bamboo_mcp.domain.questions import PermissionMode, narrower
from bamboo_mcp.domain.runs import Limits
from bamboo_mcp.domain.tools import GROUPS, Group
from bamboo_mcp.settings.paths import checked_folder
from bamboo_mcp.settings.references import FORMS, check_reference

YEAR_S = 31_536_000
_MOST = 1_000_000_000
_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?")

Count: TypeAlias = Annotated[int, Field(ge=1, le=_MOST)]
CountOrNone: TypeAlias = Annotated[int, Field(ge=0, le=_MOST)]
Seconds: TypeAlias = Annotated[float, Field(gt=0, le=YEAR_S)]


Folder: TypeAlias = Annotated[Path, Field(strict=False), BeforeValidator(checked_folder)]
Names: TypeAlias = Annotated[tuple[str, ...], Field(strict=False)]
Groups: TypeAlias = Annotated[tuple[Group, ...], Field(strict=False)]
Efforts: TypeAlias = Annotated[tuple[Effort, ...], Field(strict=False)]
Price: TypeAlias = Annotated[float, Field(ge=0, le=_MOST)]
ProviderName: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]


def default_home() -> Path:
    """The platform's folder for a user's data."""
    from platformdirs import user_data_path

    return user_data_path("bamboo-mcp", appauthor=False)


class Section(BaseModel):
    """Frozen; refuses keys it does not know; converts nothing (the reader of variables does)."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )


class ModelSettings(Section):
    """Which model takes which role: "provider:model"; empty: the first that is ready."""

    primary: str = Field(
        default="", description="Answers, unless a subagent is asked to use another."
    )
    fast: str = Field(default="", description="Quick and cheap work.")
    background: str = Field(default="", description="Work nobody waits for.")
    summarisation: str = Field(default="", description="Summaries of long conversations.")
    local: bool = Field(
        default=True, description="Without a model or a key: look for a server on this machine?"
    )
    primary_fallbacks: Names = Field(
        default=(), description="Take over, in order, when the primary model cannot answer."
    )
    fast_fallbacks: Names = Field(default=(), description="The same for the fast model.")
    background_fallbacks: Names = Field(
        default=(), description="The same for the background model."
    )
    summarisation_fallbacks: Names = Field(
        default=(), description="The same for the summarisation model."
    )


class FactSettings(Section):
    """What is so of a model, whatever anybody else says. Prices: dollars per million tokens."""

    context_window: Count | None = Field(default=None, description="Tokens it can take in.")
    max_output: Count | None = Field(default=None, description="Tokens of its longest answer.")
    efforts: Efforts | None = Field(default=None, description="Levels of thinking it knows.")
    thinking: Names | None = Field(
        default=None, description="Ways of thinking it takes: adaptive, between_tools, disabled."
    )
    images: bool | None = Field(default=None, description="Can it see?")
    tools: bool | None = Field(default=None, description="Can it call tools?")
    price_input: Price | None = Field(default=None, description="Of what goes in.")
    price_output: Price | None = Field(default=None, description="Of what comes out.")


class ProviderSettings(Section):
    """A model service. Its name is what you write before the colon of a model."""

    type: str = Field(default="", description="Kind of provider; empty: the same as its name.")
    base_url: str = Field(
        default="", description="Where the service is; empty: the vendor's address."
    )
    api_key: str = Field(default="", description=f"Where the key is: {FORMS}.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Anything else this kind of provider understands."
    )

    models: dict[str, FactSettings] = Field(
        default_factory=dict, description="What you know better of its models, by name."
    )

    @property
    def facts(self) -> Mapping[str, ModelFacts]:
        return {name: ModelFacts(**said.model_dump()) for name, said in self.models.items()}

    @field_validator("api_key")
    @classmethod
    def _is_a_reference(cls, value: str) -> str:
        return check_reference(value)

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if not value:
            return value
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must begin with http:// or https:// and name a host")
        if "@" in parts.netloc:
            raise ValueError("must not hold a name or password; use api_key")
        return value


class WorkspaceSettings(Section):
    """The folder the agent works in."""

    root: str = Field(
        default="", description="Empty: the client's folder, else where it was started."
    )
    max_read_bytes: Count = Field(
        default=10 * 1024 * 1024, description="Largest file that is read."
    )
    max_write_bytes: Count = Field(
        default=10 * 1024 * 1024, description="Largest file that is written."
    )
    max_background_commands: Annotated[int, Field(ge=0, le=64)] = Field(
        default=8, description="Commands one agent or client may leave running at once."
    )
    max_background_output: Annotated[int, Field(ge=4096, le=64 * 1024 * 1024)] = Field(
        default=512 * 1024,
        description="Bytes kept of what one of them writes: its beginning and its end.",
    )

    @field_validator("root")
    @classmethod
    def _is_a_path(cls, value: str) -> str:
        return str(checked_folder(value)) if value else value


class PermissionSettings(Section):
    """What may happen unasked. Modes, narrowest first: plan, default, accept_edits, bypass."""

    max_mode: PermissionMode = Field(
        default="accept_edits",
        description="The freest mode any run may have; the others never exceed it.",
    )
    default_mode: PermissionMode = Field(
        default="default", validate_default=True, description="Mode of a run that asks for none."
    )
    direct_mode: PermissionMode = Field(
        default="accept_edits",
        validate_default=True,
        description="Mode of tools a client calls itself.",
    )
    allow_commands: bool = Field(default=False, description="May a client run commands itself?")
    allow_model_approvals: bool = Field(
        default=False, description="May a model answer permission questions?"
    )
    question_timeout_s: Seconds = Field(
        default=300.0, description="A question nobody answers for so long is denied."
    )

    @field_validator("default_mode", "direct_mode")
    @classmethod
    def _at_most_the_freest(cls, value: PermissionMode, info: ValidationInfo) -> PermissionMode:
        return narrower(value, info.data.get("max_mode", value))


_LIMITS = Limits()


class LimitSettings(Section):
    """Bounds of a run. The model is told before it reaches one."""

    max_rounds: Count = Field(default=_LIMITS.max_rounds, description="Model calls in a run.")
    max_calls_per_round: Count = Field(
        default=_LIMITS.max_calls_per_round, description="Tool calls of one model answer."
    )
    max_failures_per_tool: Count = Field(
        default=_LIMITS.max_failures_per_tool, description="Failures of one tool in a row."
    )
    max_identical_calls: Count = Field(
        default=_LIMITS.max_identical_calls,
        description="The same call with the same arguments in a row.",
    )
    tool_timeout_s: Seconds = Field(
        default=_LIMITS.tool_timeout_s, description="Longest tool call."
    )
    batch_timeout_s: Seconds = Field(
        default=_LIMITS.batch_timeout_s, description="Longest time for all tool calls of a round."
    )
    timeout_s: Seconds = Field(default=_LIMITS.timeout_s, description="Longest run.")
    max_tokens: CountOrNone | None = Field(
        default=_LIMITS.max_tokens,
        examples=[500_000],
        description="Tokens a run may use; unset: no bound.",
    )
    max_cost_usd: Annotated[float, Field(ge=0, le=_MOST)] | None = Field(
        default=_LIMITS.max_cost_usd,
        examples=[2.5],
        description="Dollars a run may cost; a model of unknown price is not asked then.",
    )
    soft_share: float = Field(
        default=_LIMITS.soft_share,
        gt=0,
        le=1,
        description="From this share of a bound on, the model is told to finish.",
    )
    max_result_chars: Count = Field(
        default=_LIMITS.max_result_chars, description="A longer tool result is cut in the history."
    )

    def limits(self) -> Limits:
        return Limits(**self.model_dump())


class SubagentSettings(Section):
    """Agents that work for agents."""

    isolation: str = Field(default="in_process", min_length=1, description="Where they run.")
    max_depth: CountOrNone = Field(default=4, description="How deep subagents may spawn subagents.")
    max_concurrent: Count = Field(default=16, description="How many work at a time.")
    max_queued: CountOrNone = Field(default=1000, description="How many may wait for their turn.")


class HttpSettings(Section):
    """How `serve --http` is reached, and by whom."""

    host: str = Field(
        default="127.0.0.1", min_length=1, description="Address or name to listen on."
    )
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        default=8765, description="Port to listen on; 0: a free one."
    )
    tokens: Names = Field(
        default=(),
        examples=[["env:BAMBOO_TOKEN"]],
        description=f"Where the bearer tokens are, a caller each: {FORMS}. "
        "Without one only this machine is served.",
    )
    allowed_hosts: Names = Field(
        default=(),
        examples=[["agent.example.com"]],
        description="Further names clients may call it by, as name or name:port.",
    )
    allowed_origins: Names = Field(
        default=(),
        examples=[["https://app.example.com"]],
        description="Web sites whose pages may call it.",
    )

    @field_validator("tokens")
    @classmethod
    def _are_references(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_reference(one) for one in value if one)

    @field_validator("allowed_hosts")
    @classmethod
    def _are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not _AUTHORITY.fullmatch(one):
                raise ValueError(f"{one!r} is no name or name:port")
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            scheme, _, rest = one.partition("://")
            if scheme not in ("http", "https") or not _AUTHORITY.fullmatch(rest):
                raise ValueError(f"{one!r} is no origin; write https://name or https://name:port")
        return value


class ServerSettings(Section):
    """What MCP clients get."""

    max_wait_s: Seconds = Field(
        default=45.0, description="No call blocks longer; many clients give up at 60."
    )
    max_result_chars: Annotated[int, Field(ge=1000, le=_MOST)] = Field(
        default=40_000, description="A longer answer is cut, with an offset to read on."
    )
    expose: Groups = Field(
        default=GROUPS, min_length=1, description="Which groups of tools clients see."
    )
    http: HttpSettings = HttpSettings()


class StorageSettings(Section):
    """What is kept in the home folder."""

    durability: Literal["process", "turn", "always"] = Field(
        default="turn",
        description='A power cut may take: "process" much, "turn" an open turn, "always" nothing.',
    )
    index: Literal["auto", "tinydb", "sqlite"] = Field(
        default="auto",
        description='The list of sessions; "auto": TinyDB, and SQLite beyond 1 000 of them.',
    )


class MetricSettings(Section):
    """Figures of runs, in metrics.db of the home folder; `bamboo-mcp stats` shows them."""

    enabled: bool = Field(default=True, description="Keep them at all?")
    retention_days: CountOrNone = Field(
        default=90, description="Older ones are removed; 0: none is."
    )


class PluginSettings(Section):
    """Plugins beside those that ship."""

    enabled: bool = Field(default=True, description="Load them at all?")
    disabled: Names = Field(default=(), description="Names of plugins that are not loaded.")


class LoggingSettings(Section):
    """What operators read; standard error, and a file in the home folder."""

    level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        default="warning",
        description="Standard error shows this and worse: debug, info, warning, error, critical.",
    )
    file: bool = Field(
        default=True, description="Also write logs/bamboo-mcp.log in the home folder?"
    )


class Settings(Section):
    """All settings. `source_of` tells where a value was said."""

    home: Folder = Field(
        default_factory=default_home, description="Sessions, runs and logs are kept here."
    )
    models: ModelSettings = ModelSettings()
    providers: dict[ProviderName, ProviderSettings] = Field(default_factory=dict)
    workspace: WorkspaceSettings = WorkspaceSettings()
    permissions: PermissionSettings = PermissionSettings()
    limits: LimitSettings = LimitSettings()
    subagents: SubagentSettings = SubagentSettings()
    server: ServerSettings = ServerSettings()
    storage: StorageSettings = StorageSettings()
    metrics: MetricSettings = MetricSettings()
    plugins: PluginSettings = PluginSettings()
    logging: LoggingSettings = LoggingSettings()

    _sources: Mapping[str, str] = PrivateAttr(default_factory=dict)

    def source_of(self, key: str) -> str:
        """Where `key` ("models.primary") was said: "FILE:LINE", a variable, a flag, or "default".

        A table that several places contribute to names them all.
        """
        inside = [said for name, said in self._sources.items() if name.startswith(f"{key}.")]
        if inside:
            return ", ".join(dict.fromkeys(inside))
        return self._sources.get(key, "default")

    def with_sources(self, sources: Mapping[str, str]) -> Settings:
        """The same settings, knowing where each of the dotted keys was said."""
        copy = self.model_copy()
        copy._sources = dict(sources)
        return copy
