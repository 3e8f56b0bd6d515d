"""A click group that imports a command when it is called, and ends our errors in readable lines."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click

from bamboo_mcp.cli.failures import failure_of
from bamboo_mcp.cli.options import Invocation


class Command(NamedTuple):
    """Where a command is (`package.module:name`) and its line in `--help`."""

    place: str
    summary: str


class LazyGroup(click.Group):
    def __init__(
        self, *args: Any, commands_by_name: Mapping[str, Command] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._places = commands_by_name or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self._places, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = self._places.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        module, _, name = place.place.partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Without importing a single one."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in self._places.items()])

    def invoke(self, ctx: click.Context) -> Any:
        said = ctx.ensure_object(Invocation)
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, Exception) as error:
            failure = failure_of(error, verbose=said.verbose)
            if failure is None:
                raise
            raise failure from error
