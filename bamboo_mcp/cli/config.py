"""`bamboo-mcp config`: show the settings in force, make a settings file, say where it is."""

from __future__ import annotations

import os
from pathlib import Path

import click
import msgspec

from bamboo_mcp.cli.options import invocation, settings_options
from bamboo_mcp.domain.errors import SettingsError
from bamboo_mcp.settings import config_file


@click.group()
@settings_options
def config() -> None:
    """Show, make or find the settings.

    A value is looked for in the settings file, then in the environment (BAMBOO_MODELS__PRIMARY is
    models.primary), then on the command line; what comes later wins.
    """


@config.command()
@settings_options
@click.option("--json", "as_json", is_flag=True, help="Each key with value and source, as JSON.")
def show(as_json: bool) -> None:
    """Print every setting in force and where it was said. Secrets are not shown."""
    from bamboo_mcp.settings.document import in_force, in_force_json

    settings = invocation().settings()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(in_force_json(settings)), indent=2))
    else:
        click.echo(in_force(settings), nl=False)


@config.command()
@settings_options
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.option("--print", "to_stdout", is_flag=True, help="Print it instead.")
def init(force: bool, to_stdout: bool) -> None:
    """Write a settings file with every key, its meaning and its default."""
    from bamboo_mcp.settings.document import template

    if to_stdout:
        click.echo(template(), nl=False)
        return
    path, _ = config_file(invocation().config)
    if path.exists() and not force:
        raise SettingsError(
            f"{str(path)!r} is there already", hint="--force replaces it, --print shows the new one"
        )
    try:
        _write(path, template(), force=force)
    except OSError as error:
        raise SettingsError(f"{str(path)!r} cannot be written: {error.strerror}") from error
    click.echo(path)


@config.command()
@settings_options
def path() -> None:
    """Print where the settings file is, or would be."""
    place, named_by = config_file(invocation().config)
    click.echo(place)
    if not place.exists():
        click.echo(f"it does not exist yet ({named_by}); make it with: config init", err=True)


def _write(path: Path, text: str, *, force: bool) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if force:
        # A link to the file (people keep their settings elsewhere) stays a link.
        _replace(path.resolve(), text)
    else:
        _create(path, text)


def _create(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def _replace(path: Path, text: str) -> None:
    """Through a file beside it, so that a full disk leaves the old one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _create(beside, text)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
