"""A small agent in memory behind the command line: real runs and questions, a scripted model."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import anyio
from click.testing import CliRunner, Result

from bamboo_mcp.cli import cli
from bamboo_mcp.cli.options import Invocation, Wrap
from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.domain.events import EventRecord, RunEvent
from bamboo_mcp.ports import EventLog, Models, Questions, SubagentPort, ToolContext, ToolExecutor
from bamboo_mcp.settings import Settings
from bamboo_mcp.testing.harness import open_harness
from bamboo_mcp.testing.scripted import ScriptedProvider, scripted_models
from bamboo_mcp.tools.function import FunctionExecutor, tool, tools_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallApp:
    models: Models
    subagents: SubagentPort
    log: EventLog
    questions: Questions


@asynccontextmanager
async def small_app(
    provider: ScriptedProvider,
    *,
    tools: ToolExecutor | None = None,
    wrap: Wrap | None = None,
) -> AsyncIterator[SmallApp]:
    models = scripted_models(
        provider if wrap is None else wrap(provider), unknown=("test:unknown",)
    )
    async with open_harness(models, tools=tools) as harness:
        yield SmallApp(
            models=models,
            subagents=harness.subagents,
            log=harness.log,
            questions=harness.questions,
        )


def command(
    *arguments: str,
    provider: ScriptedProvider | None = None,
    tools: ToolExecutor | None = None,
    typed: str | bytes | None = None,
    environ: dict[str, str] | None = None,
) -> Result:
    """`bamboo-mcp ARGUMENTS` in this process, with the small agent when a model is given."""

    def open_app(
        settings: Settings, *, wrap: Wrap | None = None
    ) -> AbstractAsyncContextManager[SmallApp]:
        assert provider is not None, "the command opened the agent"
        return small_app(provider, tools=tools, wrap=wrap)

    return CliRunner().invoke(
        cli,
        arguments,
        obj=Invocation(open_app=open_app),
        input=typed,
        env={"BAMBOO_CONFIG": os.devnull, **(environ or {})},
    )


class Desk:
    """Tools that note what happened to them."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.working = anyio.Event()
        self.let_go = anyio.Event()
        self.tools = FunctionExecutor(tools_of(self))

    @tool(title="Write", effect="write")
    async def write(self, context: ToolContext, *, text: str) -> str:
        """Write it down."""
        self.written.append(text)
        return "written"

    @tool(title="Work", effect="read")
    async def work(self, context: ToolContext) -> str:
        """Work until somebody stops it."""
        self.working.set()
        await anyio.sleep_forever()
        return "never"

    @tool(title="Cling", effect="read")
    async def cling(self, context: ToolContext) -> str:
        """Work until let go, whoever asks to stop."""
        with anyio.CancelScope(shield=True):
            self.working.set()
            await self.let_go.wait()
        return "let go"

    @tool(title="Choose", effect="read")
    async def choose(self, context: ToolContext) -> str:
        """Fail."""
        raise InvalidInput("nothing to choose from")


class Recorder:
    """A view that keeps what it is shown."""

    def __init__(self) -> None:
        self.events: list[RunEvent] = []

    async def show(self, record: EventRecord) -> None:
        self.events.append(record.event)


class Typed:
    """Lines somebody types; when they are used up nobody types any more."""

    def __init__(self, *lines: str | None) -> None:
        self._lines = list(lines)
        self.waiting = anyio.Event()

    def forget(self) -> None:
        """Nothing was typed ahead."""

    async def read_line(self) -> str | None:
        if not self._lines:
            self.waiting.set()
            await anyio.sleep_forever()
        return self._lines.pop(0)
