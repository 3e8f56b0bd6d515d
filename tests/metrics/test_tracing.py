from __future__ import annotations

import subprocess
import sys

import anyio
import anyio.lowlevel
import pytest
from opentelemetry.context import attach, detach
from opentelemetry.trace import SpanKind, get_current_span, set_span_in_context

from bamboo_mcp.domain.ids import LOCAL
from bamboo_mcp.domain.runs import Limits
from bamboo_mcp.metrics.tracing import Tracing
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.testing.harness import Harness, open_harness
from bamboo_mcp.testing.scripted import (
    Call,
    Fault,
    ScriptedProvider,
    Step,
    Tokens,
    scripted_models,
)
from bamboo_mcp.tools.function import FunctionExecutor, tool, tools_of
from tests.metrics.spans import KeptSpan, KeptSpans


class Lab:
    def __init__(self) -> None:
        self.current: dict[str, int] = {}
        self.holding = anyio.Event()

    @tool(title="Note", effect="read")
    async def note(self, context: ToolContext, *, name: str) -> str:
        """Note which span is current."""
        self.current[name] = get_current_span().get_span_context().span_id
        await anyio.lowlevel.checkpoint()
        assert self.current[name] == get_current_span().get_span_context().span_id
        return name

    @tool(title="Hold", effect="read")
    async def hold(self, context: ToolContext) -> str:
        """Wait for ever."""
        self.holding.set()
        await anyio.sleep_forever()
        return ""

    @tool(title="Fail", effect="read")
    async def fail(self, context: ToolContext) -> str:
        """Fail."""
        raise ValueError("private words")


def traced(harness: Harness, kept: KeptSpans) -> Tracing:
    tracing = Tracing(harness.log.listen, lambda: kept)
    harness.log.listen(tracing.emit, tracing.KINDS)
    return tracing


def span_id(span: KeptSpan) -> int:
    return span.get_span_context().span_id


async def test_a_run_is_a_span_with_its_rounds_model_calls_and_tool_calls_below() -> None:
    lab, kept = Lab(), KeptSpans()
    usage = Tokens(input=100, output=7, cache_read=60, cache_write=30)
    provider = ScriptedProvider(
        Step(
            calls=(Call(name="note", args={"name": "a"}), Call(name="note", args={"name": "b"})),
            usage=usage,
        ),
        "done",
    )
    models = scripted_models(provider, cost=lambda usage: 0.5)
    async with open_harness(models, tools=FunctionExecutor(tools_of(lab))) as harness:
        traced(harness, kept)
        outcome = await harness.run("go")
    assert outcome.text == "done"
    assert kept.tree() == [
        "invoke_agent bamboo-mcp",
        "  round 1",
        "    chat test",
        "    execute_tool note",
        "    execute_tool note",
        "  round 2",
        "    chat test",
    ]
    assert [span.ends for span in kept.spans] == [1] * 7
    assert all(span.start and span.ended and span.start <= span.ended for span in kept.spans)
    chat = kept.named("chat")[0]
    assert chat.kind is SpanKind.CLIENT
    assert chat.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scripted",
        "gen_ai.response.model": "test",
        "gen_ai.response.finish_reasons": ("tool_use",),
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 60,
        "gen_ai.usage.cache_creation.input_tokens": 30,
        "bamboo.cost_usd": 0.5,
    }
    run = kept.spans[0]
    assert run.attributes["bamboo.run.status"] == "completed"
    assert run.attributes["bamboo.cost_usd"] == 1.0
    # Side by side, and each with its own span around it.
    assert sorted(lab.current.values()) == sorted(map(span_id, kept.named("execute_tool")))


async def test_what_fails_is_marked_and_nothing_private_is_in_a_span() -> None:
    lab, kept = Lab(), KeptSpans()
    provider = ScriptedProvider(
        Step(calls=(Call(name="fail", args={}),)), Step(error=Fault(kind="auth"))
    )
    async with open_harness(provider, tools=FunctionExecutor(tools_of(lab))) as harness:
        traced(harness, kept)
        outcome = await harness.run("the private task")
    assert outcome.status == "error"
    run, tool_call = kept.spans[0], kept.named("execute_tool")[0]
    assert (run.failed, run.attributes["error.type"]) == (True, outcome.error_code)
    assert (tool_call.failed, tool_call.attributes["error.type"]) == (True, "tool_error")
    assert [span.failed for span in kept.named("chat")] == [False, True]
    assert "private" not in repr([span.attributes for span in kept.spans])


async def test_a_run_that_is_cut_off_ends_every_span_once() -> None:
    lab, kept = Lab(), KeptSpans()
    provider = ScriptedProvider(
        Step(calls=(Call(name="hold", args={}), Call(name="note", args={"name": "x"})))
    )
    async with open_harness(provider, tools=FunctionExecutor(tools_of(lab))) as harness:
        traced(harness, kept)
        child = await harness.spawn("go")
        with anyio.fail_after(5):
            await lab.holding.wait()
        await harness.subagents.cancel(child.subagent_id, caller=LOCAL)
        assert (await harness.ended(child.subagent_id)).status == "cancelled"
    assert [span.ends for span in kept.spans] == [1] * len(kept.spans)
    assert not kept.spans[0].failed, "it was asked to stop"


async def test_who_starts_a_run_is_above_it_and_has_its_own_span_back() -> None:
    kept = KeptSpans()
    async with open_harness(ScriptedProvider("done")) as harness:
        traced(harness, kept)
        caller = kept.start_span("caller")
        token = attach(set_span_in_context(caller))
        await harness.run("go")
        assert get_current_span() is caller
        detach(token)
    assert kept.tree()[:2] == ["caller", "  invoke_agent bamboo-mcp"]


async def test_runs_side_by_side_do_not_mix() -> None:
    lab, kept = Lab(), KeptSpans()
    provider = ScriptedProvider()
    provider.respond(
        lambda request: (
            Step(calls=(Call(name="note", args={"name": request.conversation}),))
            if len(request.messages) == 1
            else Step(text="done")
        )
    )
    async with open_harness(provider, tools=FunctionExecutor(tools_of(lab))) as harness:
        traced(harness, kept)
        children = [await harness.spawn("go") for _ in range(5)]
        for child in children:
            await harness.ended(child.subagent_id)
    runs = kept.named("invoke_agent")
    assert len({span.get_span_context().trace_id for span in runs}) == 5
    for span in kept.spans:
        assert span.ends == 1
    traces = [span.get_span_context().trace_id for span in kept.spans]
    assert all(traces.count(trace) == 6 for trace in set(traces))


async def test_a_limit_that_allows_no_round_leaves_no_span_open() -> None:
    kept = KeptSpans()
    async with open_harness(ScriptedProvider("done")) as harness:
        traced(harness, kept)
        await harness.run("go", limits=Limits(max_tokens=0))
    assert [span.ends for span in kept.spans] == [1, 1, 1]
    assert kept.spans[0].attributes["error.type"] == "limit_reached"


async def test_a_model_that_is_waited_for_says_so_in_its_span() -> None:
    kept = KeptSpans()
    provider = ScriptedProvider(Step(error=Fault(kind="overloaded", retry_after=0.001)), "done")
    async with open_harness(scripted_models(provider, retries=True)) as harness:
        traced(harness, kept)
        assert (await harness.run("go")).text == "done"
    assert kept.named("chat")[0].events == ["retry"]


async def test_without_a_provider_nothing_is_traced() -> None:
    async with open_harness(ScriptedProvider("done")) as harness:
        tracing = Tracing(harness.log.listen)
        harness.log.listen(tracing.emit, tracing.KINDS)
        assert (await harness.run("go")).text == "done"
        assert not get_current_span().get_span_context().is_valid


@pytest.mark.parametrize("blocked", [False, True])
def test_the_library_is_not_imported_for_a_process_that_traces_nothing(blocked: bool) -> None:
    program = f"""
import sys
if {blocked}:
    sys.modules["opentelemetry"] = None
    import os
    os.environ["OTEL_PYTHON_TRACER_PROVIDER"] = "any"
from bamboo_mcp.domain.events import EventRecord, RunStarted
from bamboo_mcp.metrics.tracing import Tracing
event = RunStarted(session_id="s")
Tracing(lambda hear: lambda: None).emit(EventRecord(run_id="r", seq=1, at=1.0, event=event))
print(any(name.startswith("opentelemetry.") for name in sys.modules))
"""
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "False"
