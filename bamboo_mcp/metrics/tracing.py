"""Runs as OpenTelemetry spans: run, round, model call, tool call, under the caller's own span.

Only the API is used, and only in a process where somebody has configured a tracer provider: the
`opentelemetry-instrument` command, or the program that embeds us. Names are those of the GenAI
semantic conventions; neither texts nor arguments are in a span.

An event is told in the task it happens in, so the span that is current there is the right parent:
for a call over MCP the SDK's own, which continues the `traceparent` of the request's `_meta`. While
ours are open they are current in their task, so that what a model's client or a tool traces, and
the runs of subagents, stand below them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bamboo_mcp.contributions import Services
from bamboo_mcp.domain.events import (
    EventRecord,
    ModelAnswered,
    ModelReplaced,
    ProviderWaiting,
    RoundStarted,
    RunEnded,
    RunStarted,
    ToolFinished,
    ToolStarted,
)
from bamboo_mcp.domain.ids import CallId, RunId

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanKind, Tracer

TRACER = "bamboo_mcp"
_NS = 1_000_000_000


class _RunSpans:
    """The open spans of one run, and what was current in its task before them."""

    __slots__ = ("before", "model", "round", "run", "tools", "tracer")

    def __init__(self, tracer: Tracer, run: Span, before: Context) -> None:
        self.tracer = tracer
        self.run = run
        self.before = before
        self.round: Span | None = None
        self.model: Span | None = None
        self.tools: dict[CallId, Span] = {}


class Tracing:
    """An event sink. A run is traced if a provider is configured when it starts.

    Once there is a run to trace it has itself told of everything, through `listen`. A model call's
    span begins with its round: what comes between is making room in the conversation. Times are
    those of the events.
    """

    KINDS = frozenset((RunStarted,))

    def __init__(
        self,
        listen: Callable[[Callable[[EventRecord], None]], Callable[[], None]],
        tracer: Callable[[], Tracer | None] | None = None,
    ) -> None:
        self._listen = listen
        self._remove: Callable[[], None] | None = None
        self._tracer = tracer or configured_tracer
        self._runs: dict[RunId, _RunSpans] = {}

    def emit(self, record: EventRecord) -> None:
        if isinstance(record.event, RunStarted):
            self._start(record, record.event)

    def hear(self, record: EventRecord) -> None:
        fold = _FOLDS.get(type(record.event))
        if fold is not None and (spans := self._runs.get(record.run_id)) is not None:
            fold(self, spans, record, record.event)

    def close(self) -> None:
        """End what is still open; there are no more events."""
        if self._remove is not None:
            self._remove()
        for spans in self._runs.values():
            _end_round(spans, None)
            spans.run.end()
        self._runs.clear()

    def _start(self, record: EventRecord, event: RunStarted) -> None:
        tracer = self._tracer()
        if tracer is None or record.run_id in self._runs:
            return
        if self._remove is None:
            self._remove = self._listen(self.hear)
        from opentelemetry.context import get_current

        attributes = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": "bamboo-mcp",
            "gen_ai.conversation.id": event.session_id,
            "bamboo.run.id": record.run_id,
        }
        if event.subagent_id:
            attributes["gen_ai.agent.id"] = event.subagent_id
        if event.model:
            attributes["gen_ai.request.model"] = event.model
        span = _begin(tracer, "invoke_agent bamboo-mcp", attributes, record, None)
        self._runs[record.run_id] = _RunSpans(tracer, span, get_current())
        _make_current(span)

    def _round(self, spans: _RunSpans, record: EventRecord, event: RoundStarted) -> None:
        _end_round(spans, record)
        spans.round = _begin(
            spans.tracer, f"round {event.round}", {"bamboo.round": event.round}, record, spans.run
        )
        chat = {"gen_ai.operation.name": "chat"}
        spans.model = _begin(spans.tracer, "chat", chat, record, spans.round, client=True)
        _make_current(spans.model)

    def _waits(
        self, spans: _RunSpans, record: EventRecord, event: ProviderWaiting | ModelReplaced
    ) -> None:
        if spans.model is not None:
            name = "model replaced" if isinstance(event, ModelReplaced) else "retry"
            spans.model.add_event(name, {"reason": event.reason}, timestamp=_ns(record))

    def _answered(self, spans: _RunSpans, record: EventRecord, event: ModelAnswered) -> None:
        if (span := spans.model) is None:
            return
        usage = event.usage
        span.update_name(f"chat {event.model}")
        span.set_attributes(
            {
                "gen_ai.provider.name": event.provider,
                "gen_ai.response.model": event.model,
                "gen_ai.response.finish_reasons": (event.stop,),
                "gen_ai.usage.input_tokens": usage.input,
                "gen_ai.usage.output_tokens": usage.output,
                "gen_ai.usage.cache_read.input_tokens": usage.cache_read,
                "gen_ai.usage.cache_creation.input_tokens": usage.cache_write,
            }
        )
        if event.cost_usd is not None:
            span.set_attribute("bamboo.cost_usd", event.cost_usd)
        span.end(_ns(record))
        spans.model = None
        _make_current(spans.round or spans.run)

    def _tool(self, spans: _RunSpans, record: EventRecord, event: ToolStarted) -> None:
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": event.tool,
            "gen_ai.tool.call.id": event.call_id,
            "gen_ai.tool.type": "function",
        }
        above = spans.round or spans.run
        span = _begin(spans.tracer, f"execute_tool {event.tool}", attributes, record, above)
        if (same := spans.tools.pop(event.call_id, None)) is not None:
            same.end(_ns(record))  # ids are a model's: it may use one twice
        spans.tools[event.call_id] = span
        _make_current(span)

    def _tool_done(self, spans: _RunSpans, record: EventRecord, event: ToolFinished) -> None:
        span = spans.tools.pop(event.call_id, None)
        if span is not None:
            if event.is_error:
                _fail(span, "tool_error")
            span.end(_ns(record))
        _make_current(spans.round or spans.run)

    def _ended(self, spans: _RunSpans, record: EventRecord, event: RunEnded) -> None:
        from opentelemetry.context import attach

        del self._runs[record.run_id]
        outcome = event.outcome
        failed = outcome.status in ("error", "lost")
        _end_round(spans, record, outcome.error_code if failed else "")
        spans.run.set_attributes(
            {
                "bamboo.run.status": outcome.status,
                "bamboo.run.rounds": outcome.rounds,
                "gen_ai.usage.input_tokens": outcome.usage.input,
                "gen_ai.usage.output_tokens": outcome.usage.output,
            }
        )
        if outcome.model:
            spans.run.set_attribute("gen_ai.request.model", outcome.model)
        if outcome.cost_usd is not None:
            spans.run.set_attribute("bamboo.cost_usd", outcome.cost_usd)
        if failed:
            _fail(spans.run, outcome.error_code or outcome.status)
        spans.run.end(_ns(record))
        attach(spans.before)


_FOLDS: Mapping[type, Callable[[Tracing, _RunSpans, EventRecord, Any], None]] = {
    RoundStarted: Tracing._round,
    ProviderWaiting: Tracing._waits,
    ModelReplaced: Tracing._waits,
    ModelAnswered: Tracing._answered,
    ToolStarted: Tracing._tool,
    ToolFinished: Tracing._tool_done,
    RunEnded: Tracing._ended,
}


def configured_tracer() -> Tracer | None:
    """None unless a tracer provider is configured: then the library is not even imported."""
    if "opentelemetry.trace" not in sys.modules and not os.environ.get(
        "OTEL_PYTHON_TRACER_PROVIDER"
    ):
        return None
    try:
        from opentelemetry import trace
    except ImportError:
        return None
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return None
    return provider.get_tracer(TRACER)


def _begin(
    tracer: Tracer,
    name: str,
    attributes: Mapping[str, str | int],
    record: EventRecord,
    above: Span | None,
    *,
    client: bool = False,
) -> Span:
    """A span below another, or below the current one."""
    from opentelemetry.trace import SpanKind, set_span_in_context

    kind: SpanKind = SpanKind.CLIENT if client else SpanKind.INTERNAL
    context = None if above is None else set_span_in_context(above)
    return tracer.start_span(
        name, context=context, kind=kind, attributes=attributes, start_time=_ns(record)
    )


def _end_round(spans: _RunSpans, record: EventRecord | None, error: str = "") -> None:
    """End the round and what in it is still open: it was cut off."""
    at = None if record is None else _ns(record)
    for span in (*spans.tools.values(), spans.model):
        if span is not None:
            _fail(span, error or "interrupted")
            span.end(at)
    spans.tools.clear()
    spans.model = None
    if spans.round is not None:
        spans.round.end(at)
        spans.round = None


def _make_current(span: Span) -> None:
    """In this task, until another is made so. Not taken back by its token: an open call may be
    ended by another task than the one it began in."""
    from opentelemetry.context import attach
    from opentelemetry.trace import set_span_in_context

    attach(set_span_in_context(span))


def _fail(span: Span, kind: str) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)


def _ns(record: EventRecord) -> int:
    return int(record.at * _NS)


def sink(services: Services) -> Tracing:
    return Tracing(services.listen)
