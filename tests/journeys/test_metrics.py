"""What a server's runs used and cost, as the person who started it finds it afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import anyio
import msgspec
from click.testing import CliRunner
from mcp import Client
from mcp_types import RequestParamsMeta

from bamboo_mcp.app import App, open_app
from bamboo_mcp.cli import cli
from bamboo_mcp.contributions import EventSinkContribution, Services
from bamboo_mcp.domain.events import RoundStarted
from bamboo_mcp.domain.ids import LOCAL
from bamboo_mcp.domain.subagents import SubagentSpec
from bamboo_mcp.metrics.database import metrics_file
from bamboo_mcp.metrics.tracing import Tracing
from bamboo_mcp.plugin_host.hookspecs import hookimpl
from bamboo_mcp.plugin_host.sources import ObjectSource
from bamboo_mcp.server.context import DirectCalls
from bamboo_mcp.server.mirror import Mirror, mirror_server
from bamboo_mcp.settings import Settings
from tests.journeys.harness import Place, client, run
from tests.metrics.spans import KeptSpans

SCRIPT = """\
steps:
  - calls: [{name: list_directory, args: {path: "."}}]
    usage: {input: 100, output: 20, cache_read: 60}
  - text: done
    usage: {input: 50, output: 5}
"""


async def test_what_a_server_did_is_in_the_statistics(tmp_path: Path) -> None:
    place = Place(tmp_path)
    model = place.script(SCRIPT)
    async with client(place) as agent:
        child = await agent.spawn("look around", model=model)
        done = await agent.awaited(child)
    assert (done["status"], done["cost_usd"]) == ("completed", 0.0)
    found = msgspec.json.decode(run(place, ["stats", "--json", "--by", "tool"]).stdout)
    assert found["runs"] == {"completed": 1}
    assert [one["name"] for one in found["tools"]] == ["list_directory"]
    total = found["total"]
    assert (total["answers"], total["cost_usd"]) == (2, 0.0)
    assert (total["input"], total["output"], total["cache_read"]) == (150, 25, 60)


def test_a_run_in_the_terminal_counts_and_is_shown(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert run(place, ["run", "go", "--model", place.script(SCRIPT)]).returncode == 0
    shown = run(place, ["stats"]).stdout
    assert "last 30 days: 1 run (1 completed) in 1 session" in shown
    assert "scripted:" in shown


def test_counting_can_be_switched_off(tmp_path: Path) -> None:
    place = Place(tmp_path)
    off = {"BAMBOO_METRICS__ENABLED": "false"}
    assert run(place, ["run", "go", "--model", place.script(SCRIPT)], env=off).returncode == 0
    assert not metrics_file(place.home).exists()


def test_a_damaged_file_costs_no_run(tmp_path: Path) -> None:
    place = Place(tmp_path)
    metrics_file(place.home).write_bytes(b"no database" * 1000)
    done = run(place, ["run", "go", "--model", place.script(SCRIPT)])
    assert done.returncode == 0
    assert "metrics.db was damaged" in done.stderr
    assert "1 run (1 completed)" in run(place, ["stats"]).stdout


class Tracer:
    """A plugin that traces into `spans`, as the builtin one does with a configured provider."""

    def __init__(self) -> None:
        self.spans = KeptSpans()

    @hookimpl
    def contribute_event_sinks(self) -> Sequence[EventSinkContribution]:
        return [EventSinkContribution(name="kept", load=self._sink)]

    def _sink(self, services: Services) -> Tracing:
        return Tracing(services.listen, lambda: self.spans)


@asynccontextmanager
async def traced(
    tmp_path: Path, tracer: Tracer, *, in_memory: bool, script: str = SCRIPT
) -> AsyncIterator[App]:
    place = Place(tmp_path)
    settings = Settings.model_validate(
        {
            "home": place.home,
            "models": {"primary": place.script(script)},
            "workspace": {"root": str(place.workspace)},
        }
    )
    sources = [ObjectSource({"tracer": tracer})]
    async with open_app(settings, sources=sources, in_memory=in_memory) as app:
        yield app


async def test_the_trace_of_the_caller_goes_on_in_the_run_it_started(tmp_path: Path) -> None:
    tracer = Tracer()
    trace_id, span_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    async with traced(tmp_path, tracer, in_memory=True) as app:
        server = mirror_server(
            Mirror(app.tools, DirectCalls(mode="accept_edits")), version="1", instructions=""
        )
        with anyio.fail_after(15):
            async with Client(server) as mcp:
                await mcp.call_tool(
                    "spawn_subagent",
                    {"task": "look around", "wait_s": 10},
                    meta=cast(RequestParamsMeta, {"traceparent": f"00-{trace_id}-{span_id}-01"}),
                )
    spans = tracer.spans
    model, _, name = app.settings.models.primary.partition(":")
    assert spans.tree() == [
        "invoke_agent bamboo-mcp",
        "  round 1",
        f"    chat {name}",
        "    execute_tool list_directory",
        "  round 2",
        f"    chat {name}",
    ]
    assert spans.named("chat")[0].attributes["gen_ai.provider.name"] == model == "scripted"
    run_span = spans.spans[0]
    assert f"{run_span.above.trace_id:032x}" == trace_id
    assert f"{run_span.above.span_id:016x}" == span_id
    assert {f"{span.get_span_context().trace_id:032x}" for span in spans.spans} == {trace_id}


async def test_an_agent_in_memory_leaves_no_figures_behind(tmp_path: Path) -> None:
    async with traced(tmp_path, Tracer(), in_memory=True) as app:
        with anyio.fail_after(10):
            child = await app.subagents.spawn(SubagentSpec(task="go"))
            await app.subagents.wait([child.subagent_id], caller=LOCAL, timeout_s=10)
    assert not metrics_file(app.home).exists()


async def test_what_is_cancelled_by_leaving_is_counted_too(tmp_path: Path) -> None:
    tracer = Tracer()
    slow = "steps:\n  - {text: never, delay_ms: 600000}\n"
    async with traced(tmp_path, tracer, in_memory=False, script=slow) as app:
        child = await app.subagents.spawn(SubagentSpec(task="go"))
        with anyio.fail_after(10):
            async for record in app.log.follow(child.run_id):
                if isinstance(record.event, RoundStarted):
                    break
    shown = CliRunner().invoke(cli, ["--home", str(app.home), "stats", "--json"]).stdout
    assert msgspec.json.decode(shown)["runs"] == {"lost": 1}
    assert [span.ends for span in tracer.spans.spans] == [1] * len(tracer.spans.spans)
