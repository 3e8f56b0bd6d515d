"""The command: a copy of the repository, a server over stdio, the story, and what to type next."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import anyio
import click

LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", "__pycache__", "*.pyc", ".*_cache", "*.egg-info", "build", "dist"
)


@click.command("demo")
@click.option(
    "--model",
    default="scripted:demo",
    show_default=True,
    help="Who plays the subagents; a real model needs its key in the environment.",
)
def demo(model: str) -> None:
    """Watch a client spawn, steer, answer, await and cancel subagents."""
    from rich.console import Console

    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="bamboo-demo-", ignore_cleanup_errors=True) as folder:
        workspace = Path(folder) / "repository"
        shutil.copytree(_material(), workspace, ignore=LEFT_OUT)
        anyio.run(_play, console, model, workspace, Path(folder) / "home")
    _say_what_next(console)


def _material() -> Path:
    """The repository when this is a clone of it, else the installed package."""
    package = Path(__file__).resolve().parents[2]
    repository = package.parent
    return repository if (repository / "pyproject.toml").exists() else package


async def _play(console: object, model: str, workspace: Path, home: Path) -> None:
    from mcp import Client, StdioServerParameters
    from rich.console import Console

    from bamboo_mcp.cli.demo.story import DemoFailed, Story
    from bamboo_mcp.cli.demo.timeline import Timeline

    assert isinstance(console, Console)
    timeline = Timeline(console)
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "bamboo_mcp", "serve", "--workspace", str(workspace)],
        env=_environment(model, home),
    )
    failure: DemoFailed | None = None
    async with Client(server, read_timeout_seconds=60) as client:
        info = client.server_info
        name = f"{info.name} {info.version}" if info else "the server"
        timeline.note("server", f"{name} answers over stdio, in {workspace}")
        try:
            await Story(client, timeline, model=model).tell()
        except DemoFailed as error:
            failure = error
    if failure is not None:
        raise click.ClickException(str(failure))
    timeline.close()


def _environment(model: str, home: Path) -> dict[str, str]:
    """What the demo's server is given: a home of its own, and the keys a real model needs.

    The demo's client stands for the person who answers, so its answers count as approvals. A
    scripted model plays the same with everybody, whatever their settings; a real one needs them.
    """
    environ = {
        **os.environ,
        "BAMBOO_HOME": str(home),
        "BAMBOO_PERMISSIONS__ALLOW_MODEL_APPROVALS": "true",
    }
    if model.startswith("scripted:"):
        kept = ("BAMBOO_HOME", "BAMBOO_PERMISSIONS__ALLOW_MODEL_APPROVALS")
        environ = {k: v for k, v in environ.items() if not k.startswith("BAMBOO_") or k in kept}
        home.mkdir()
        config = home / "config.toml"
        config.write_text("", encoding="utf-8")
        environ["BAMBOO_CONFIG"] = str(config)
    return environ


def _say_what_next(console: object) -> None:
    from rich.console import Console

    from bamboo_mcp.cli.demo import connect

    assert isinstance(console, Console)
    here = Path.cwd()
    console.print("\n[b]Next: use it for real.[/b] Claude Code, in one line:\n")
    console.print("  " + connect.claude_code_line(here), soft_wrap=True, markup=False)
    console.print(f"\nClaude Desktop, in [dim]{connect.claude_desktop_file()}[/dim]:\n")
    console.print(connect.claude_desktop_entry(here), soft_wrap=True, markup=False)
    console.print(
        "\nA real model: set ANTHROPIC_API_KEY, then "
        f'"{connect.server_command()}" models shows what is ready.',
        soft_wrap=True,
    )
