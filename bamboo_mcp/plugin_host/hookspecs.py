"""The hooks a plugin may implement: a closed list, each asked once at start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from bamboo_mcp.contributions import (
        EventSinkContribution,
        LauncherContribution,
        ProviderContribution,
        ToolsContribution,
    )
    from bamboo_mcp.domain.runs import RunRequest
    from bamboo_mcp.ports import SessionStore
    from bamboo_mcp.settings import Settings

PROJECT = "bamboo_mcp"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a plugin's function as the implementation of the hook that has its name."""


@hookspec
def contribute_providers() -> Sequence[ProviderContribution]:
    """Language models. The module behind `load` is imported when a model of it is first used.

    ```python
    @hookimpl
    def contribute_providers():
        return [ProviderContribution(type="acme", load="acme_bamboo.provider:make")]
    ```
    """
    raise NotImplementedError


@hookspec
def contribute_tools() -> Sequence[ToolsContribution]:
    """Families of tools. `load` gets the `Services` and returns a `ToolExecutor`.

    ```python
    @hookimpl
    def contribute_tools():
        return [ToolsContribution(name="dice", load="dice_bamboo.tools:make")]
    ```
    """
    raise NotImplementedError


@hookspec
def contribute_skills() -> Sequence[object]:
    """Folders of skills. Collected and kept; used once skills are there.

    ```python
    @hookimpl
    def contribute_skills():
        return [Path(__file__).with_name("skills")]
    ```
    """
    raise NotImplementedError


@hookspec
def contribute_event_sinks() -> Sequence[EventSinkContribution]:
    """Somebody who wants every event of every run as it happens. It must neither block nor raise.

    ```python
    @hookimpl
    def contribute_event_sinks():
        return [EventSinkContribution(name="counter", load=lambda services: Counter())]
    ```
    """
    raise NotImplementedError


@hookspec
def contribute_launchers() -> Sequence[LauncherContribution]:
    """Places where subagents can run, named as people will write them in `isolation`.

    ```python
    @hookimpl
    def contribute_launchers():
        return [LauncherContribution(name="cluster", load="cluster_bamboo.launcher:make")]
    ```
    """
    raise NotImplementedError


@hookspec
def contribute_upstreams() -> Sequence[object]:
    """MCP servers whose tools are to be proxied. Collected and kept; used once upstreams are there.

    ```python
    @hookimpl
    def contribute_upstreams():
        return [{"name": "clock", "command": "clock-mcp", "args": []}]
    ```
    """
    raise NotImplementedError


@hookspec
def contribute_commands() -> Sequence[object]:
    """Commands of the command line (click). Collected and kept; used once the cli takes them.

    ```python
    @hookimpl
    def contribute_commands():
        return [acme_command]
    ```
    """
    raise NotImplementedError


@hookspec
def deny_tools(request: RunRequest) -> Sequence[str]:
    """Names of tools that this run must not have; asked before each run, so be quick.

    It guards: when it raises, or answers anything but names, the run is refused and ends with
    `plugin_error`, whatever the other plugins say. None or an empty list denies nothing.

    ```python
    @hookimpl
    def deny_tools(request):
        return ["run_command"] if request.depth > 1 else []
    ```
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def make_session_store(
    settings: Settings, home: Path
) -> AbstractAsyncContextManager[SessionStore] | None:
    """Where sessions are kept, instead of the journal; None leaves it to the next. The last plugin
    that was loaded is asked first.

    ```python
    @hookimpl
    def make_session_store(settings, home):
        return open_redis_store(os.environ["ACME_REDIS"])
    ```
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def make_summarizer(settings: Settings) -> object | None:
    """Who summarises conversations; None leaves it to the next. Used once summaries are there.

    ```python
    @hookimpl
    def make_summarizer(settings):
        return AcmeSummarizer()
    ```
    """
    raise NotImplementedError
