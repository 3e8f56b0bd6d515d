"""Builtin plugin: the figures of runs, and their spans for OpenTelemetry."""

from __future__ import annotations

from collections.abc import Sequence

from bamboo_mcp.contributions import EventSinkContribution
from bamboo_mcp.plugin_host.hookspecs import hookimpl


@hookimpl
def contribute_event_sinks() -> Sequence[EventSinkContribution]:
    return [
        EventSinkContribution(name="metrics", load="bamboo_mcp.metrics.recorder:sink"),
        EventSinkContribution(name="tracing", load="bamboo_mcp.metrics.tracing:sink"),
    ]
