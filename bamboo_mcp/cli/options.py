"""The options every command has, before its name or after it, and the settings they lead to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

if TYPE_CHECKING:
    from bamboo_mcp.cli.application import Application
    from bamboo_mcp.domain.questions import PermissionMode
    from bamboo_mcp.ports import Provider
    from bamboo_mcp.settings import Settings

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Wrap = Callable[["Provider"], "Provider"]
"""Puts something around every model that is used."""


class OpenApp(Protocol):
    """Opens the agent (`app.open_app` does)."""

    def __call__(
        self, settings: Settings, *, wrap: Wrap | None = None
    ) -> AbstractAsyncContextManager[Application]: ...


def _open_app(
    settings: Settings, *, wrap: Wrap | None = None
) -> AbstractAsyncContextManager[Application]:
    from bamboo_mcp.app import open_app

    return open_app(settings, wrap=wrap)


@dataclass(slots=True, kw_only=True)
class Invocation:
    """What was said on this command line, and how the agent is opened (tests give their own)."""

    config: Path | None = None
    verbose: bool = False
    flags: dict[str, object] = field(default_factory=dict)
    open_app: OpenApp = _open_app

    def settings(self, flags: Mapping[str, object] | None = None) -> Settings:
        """All settings, over them the global flags, over both `flags`.

        Raises:
            SettingsError
        """
        from bamboo_mcp.settings import load_settings

        return load_settings(config=self.config, flags=self.flags | dict(flags or {}))


def invocation() -> Invocation:
    """The one of the command that runs now."""
    return click.get_current_context().ensure_object(Invocation)


def settings_options(command: Decorated) -> Decorated:
    """Add `--config --home --workspace --model -v`; what they say is in `invocation()`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _config(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.ensure_object(Invocation).config = value


def _verbose(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Invocation).verbose = True


def _flag(key: str) -> Callable[[click.Context, click.Parameter, str | None], None]:
    def note(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            context.ensure_object(Invocation).flags[key] = value

    return note


_OPTIONS = (
    click.option(
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path),
        expose_value=False,
        callback=_config,
        help="Settings file.  [default: BAMBOO_CONFIG, else see `config path`]",
    ),
    click.option(
        "--home",
        metavar="DIR",
        expose_value=False,
        callback=_flag("home"),
        help="Where sessions, runs and logs are kept.",
    ),
    click.option(
        "--workspace",
        metavar="DIR",
        expose_value=False,
        callback=_flag("workspace.root"),
        help="The folder the agent works in.",
    ),
    click.option(
        "--model",
        metavar="NAME",
        expose_value=False,
        callback=_flag("models.primary"),
        help="Model to use, as provider:model.",
    ),
    click.option(
        "-v",
        "--verbose",
        is_flag=True,
        expose_value=False,
        callback=_verbose,
        help="Say more on standard error; show tracebacks.",
    ),
)


def check_mode(flag: str, asked: PermissionMode | None, settings: Settings) -> None:
    """Settings narrow a mode that is freer than they allow; who asked for it by `flag` is told."""
    granted = settings.permissions.default_mode
    if asked is not None and granted != asked:
        raise click.UsageError(
            f"{flag} {asked} is freer than permissions.max_mode = "
            f"{settings.permissions.max_mode!r} "
            f"({settings.source_of('permissions.max_mode')}) allows; add --max-mode {asked}"
        )
