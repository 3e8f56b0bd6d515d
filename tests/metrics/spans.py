"""A tracer that keeps its spans, made of OpenTelemetry's API alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import (
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    get_current_span,
)


class KeptSpan(Span):
    def __init__(
        self, number: int, name: str, kind: SpanKind, above: SpanContext, start: int | None
    ) -> None:
        self.name = name
        self.kind = kind
        self.above = above
        self.start = start
        self.ended: int | None = None
        self.ends = 0
        self.attributes: dict[str, Any] = {}
        self.events: list[str] = []
        self.failed = False
        trace_id = above.trace_id if above.is_valid else number + (1 << 64)
        self._context = SpanContext(trace_id, number, False, TraceFlags(1))

    def end(self, end_time: int | None = None) -> None:
        self.ended = end_time
        self.ends += 1

    def get_span_context(self) -> SpanContext:
        return self._context

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        self.attributes.update(attributes)

    def set_attribute(self, key: str, value: Any) -> None:
        self.attributes[key] = value

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        self.events.append(name)

    def update_name(self, name: str) -> None:
        self.name = name

    def is_recording(self) -> bool:
        return not self.ends

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self.failed = status is StatusCode.ERROR

    def record_exception(self, *_: Any, **__: Any) -> None:
        raise AssertionError("no exception is recorded: its words may be private")


class KeptSpans(Tracer):
    def __init__(self) -> None:
        self.spans: list[KeptSpan] = []

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Any = None,
        links: Any = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> KeptSpan:
        above = get_current_span(context).get_span_context()
        span = KeptSpan(len(self.spans) + 1, name, kind, above, start_time)
        span.set_attributes(attributes or {})
        self.spans.append(span)
        return span

    def start_as_current_span(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    def named(self, beginning: str) -> list[KeptSpan]:
        return [span for span in self.spans if span.name.startswith(beginning)]

    def tree(self) -> Sequence[str]:
        """Each span by name, as deep as it is."""
        by_id = {span.get_span_context().span_id: span for span in self.spans}

        def depth(span: KeptSpan) -> int:
            above = by_id.get(span.above.span_id)
            return 0 if above is None else 1 + depth(above)

        return ["  " * depth(span) + span.name for span in self.spans]
