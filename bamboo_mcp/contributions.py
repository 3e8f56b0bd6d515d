"""What a plugin can hand over: a closed list of frozen descriptions, no host object in sight.

A contribution is data plus a factory. The factory is called when the thing is first needed, with
the ports it may use (`Services`) or the configuration it serves (`ProviderConfig`).

May import: `domain`, `ports`, `settings`. The catalog of providers, the plugin host and every
plugin meet here without knowing each other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bamboo_mcp.domain.events import EventRecord
from bamboo_mcp.domain.models import ModelEntry, ModelFacts
from bamboo_mcp.domain.secrets import Secret
from bamboo_mcp.domain.tools import Group
from bamboo_mcp.domain.value import Value
from bamboo_mcp.ports import (
    AtRunEnd,
    EventLog,
    EventSink,
    Execute,
    Launcher,
    Models,
    Notices,
    Provider,
    Questions,
    Reserve,
    Runs,
    SessionStore,
    SubagentPort,
    ToolExecutor,
)
from bamboo_mcp.settings import Settings


class ProviderConfig(Value, frozen=True, kw_only=True):
    """One configured instance of a provider type; `name` is what people write before the colon."""

    name: str
    type: str
    base_url: str = ""
    api_key: Secret = msgspec.field(default_factory=lambda: Secret(""))
    options: Mapping[str, Any] = {}
    models: Mapping[str, ModelFacts] = {}
    """What the settings say of models: it goes before what anybody else knows."""


Probe = Callable[[ProviderConfig, float], Awaitable[bool]]
"""Does the server of a preset answer, within so many seconds, as such a server does? Never raises
for one that is not there or is something else; what it has is asked through its provider."""


class ProviderPreset(Value, frozen=True, kw_only=True):
    """A service that a provider type can speak to, there without a word in the settings.

    It is an instance under its own name. With `probe` it is a server on this machine, which counts
    only while it answers; settings of the same name go before what is said here.
    """

    name: str
    base_url: str
    api_key_env: str = ""
    options: Mapping[str, Any] = {}
    models: tuple[ModelEntry, ...] = ()
    probe: str | Probe = ""
    """The function or its place (`package.module:function`)."""


class ProviderContribution(Value, frozen=True, kw_only=True):
    """A provider type.

    `load` is a factory, or better its place (`package.module:function`), so that the module is
    imported only when a model of it is first used. `missing` must be cheap and import nothing: it
    answers "" when the provider can be used, else exactly what is missing. `models` are the rows
    known without asking the service.
    """

    type: str
    load: str | Callable[[ProviderConfig], Provider]
    missing: Callable[[ProviderConfig], str] = lambda config: ""
    api_key_env: str = ""
    """Where the key is when settings do not say: the vendor's usual environment variable."""
    base_url_env: str = ""
    """Where the address is when settings do not say: the variable that the vendor's SDK reads."""
    models: tuple[ModelEntry, ...] = ()
    presets: tuple[ProviderPreset, ...] = ()


class Services(Value, frozen=True, kw_only=True):
    """The seams a contributed tool may use."""

    settings: Settings
    home: Path
    in_memory: bool = False
    """Nothing is to be written to the home folder."""
    subagents: SubagentPort
    models: Models
    questions: Questions
    sessions: SessionStore
    log: EventLog
    runs: Runs
    health: Callable[[], Awaitable[Mapping[str, Any]]]
    execute: Execute
    reserve: Reserve | None = None
    """A session's next run, for `execute`; always there in an app."""
    listen: Callable[[Callable[[EventRecord], None]], Callable[[], None]]
    """Be told of every event of this process as it happens; returns how to stop that.

    The listener must neither block nor raise; one that raises is not told any more.
    """
    start: Callable[..., Awaitable[Any]] | None = None
    """`TaskGroup.start` of a group that lives as long as the app and is cancelled at its end.

    What runs in it handles its own errors: one that escapes ends the app.
    """
    at_run_end: Callable[[AtRunEnd], None] = lambda end: None
    """Have something ended with each run, before its result is there."""
    notices: Notices | None = None
    """One board for all control tools, so that each notice is told once; None: no notices."""


class ToolsContribution(Value, frozen=True, kw_only=True):
    """A family of tools.

    `load` is a factory taking `Services`, or its place (`package.module:function`).
    """

    name: str
    load: str | Callable[[Services], ToolExecutor]
    group: Group = "plugins"


class EventSinkContribution(Value, frozen=True, kw_only=True):
    name: str
    load: str | Callable[[Services], EventSink]


class LauncherContribution(Value, frozen=True, kw_only=True):
    """A way to run subagents, named as in `isolation`."""

    name: str
    load: str | Callable[[Services], Launcher]


Contribution = (
    ProviderContribution | ToolsContribution | EventSinkContribution | LauncherContribution
)
