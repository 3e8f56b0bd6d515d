"""A script that answers on the wire: the YAML a scripted model plays, as a service over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from bamboo_mcp.domain.messages import text_of
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.provider_errors import (
    BadToolJson,
    ProviderFailure,
    Refused,
    TransportFailed,
    Truncated,
    UnmatchedRequest,
)
from bamboo_mcp.domain.value import Value
from bamboo_mcp.providers.scripted.answers import Filled, kind_of_fault
from bamboo_mcp.providers.scripted.engine import CompiledTrack, Engine
from bamboo_mcp.providers.scripted.steps import Script, Tokens, Track
from bamboo_mcp.providers.scripted.values import Asked
from bamboo_mcp.testing.fake_llm.events import place_after
from bamboo_mcp.testing.fake_llm.history import Histories
from bamboo_mcp.testing.fake_llm.server import Dialect, FakeCall, FakeError, FakeReply, Fault, Seen
from bamboo_mcp.testing.fake_llm.vendors import VENDORS, Vendor

_WHOLE = 1_000_000_000
"""Characters a delta, for a step that does not cut its answer into pieces."""


class Exchange(Value, frozen=True, kw_only=True):
    """A request and what became of it, for whoever watches. `step` is "" when none answered."""

    api: str
    model: str = ""
    asked: str = ""
    step: str = ""
    answer: str = ""
    status: int = 200
    problem: str = ""


def echo(request: ModelRequest) -> str:
    """What is said without a script: an honest word and the beginning of what was asked."""
    first_line = Asked(request).last_user.strip().partition("\n")[0]
    return (
        "This is a fake language model (bamboo-mcp fake-llm) without a script: "
        f"it can only repeat. You said: {first_line}"
    )


def engine_of(script: Script | None) -> Engine:
    """Without a script every request is answered by `echo`."""
    if script is None:
        track = CompiledTrack(Track(steps=()))
        track.add(echo, repeats=True)
        return Engine([track], origin="fake-llm", strict=False)
    tracks = [CompiledTrack(track) for track in script.tracks]
    return Engine(tracks, origin="the script", strict=script.strict)


class ScriptedReplies:
    """Implements `server.Replies`.

    `watch` is told of every exchange. With `in_order` all requests are one conversation, whatever
    their histories say.
    """

    def __init__(
        self,
        engine: Engine,
        watch: Callable[[Exchange], None],
        *,
        in_order: bool = False,
    ) -> None:
        self._engine = engine
        self._watch = watch
        self._in_order = in_order
        self._histories = Histories(engine.forget)

    def answer(self, dialect: Dialect, seen: Seen) -> FakeReply:
        vendor = VENDORS[dialect.stream_path]
        request = vendor.decode(seen.body)
        retried = seen.headers.get("x-stainless-retry-count", "0") not in ("", "0")
        turn = self._histories.turn(request, api=vendor.name, is_retry=retried)
        key = "" if self._in_order else turn.conversation
        asked = Exchange(api=vendor.name, model=request.model, asked=_asked(request))
        try:
            filled = self._engine.answer(msgspec.structs.replace(request, conversation=key))
        except UnmatchedRequest as failure:
            self._tell(asked, status=400, problem=failure.message)
            error = vendor.error(UnmatchedRequest, failure.message)
            return FakeReply(error=error, on_end=turn.end)
        turn.text = filled.text
        turn.call_ids = frozenset(call.id for call in filled.calls)
        reply = _reply(filled, vendor, dialect, seen)
        self._tell(
            asked,
            step=filled.title,
            answer=_summary(filled, reply),
            status=reply.error.status if reply.error and not reply.fault else 200,
        )
        return msgspec.structs.replace(reply, on_end=turn.end)

    def note(self, seen: Seen, status: int, problem: str = "") -> None:
        vendor = VENDORS.get(seen.path)
        body = seen.body if isinstance(seen.body, dict) else {}
        self._watch(
            Exchange(
                api=vendor.name if vendor is not None else "",
                model=str(body.get("model", "")),
                asked=f"{seen.method} {seen.path}",
                status=status,
                problem=problem,
            )
        )

    def _tell(self, asked: Exchange, **what: Any) -> None:
        self._watch(msgspec.structs.replace(asked, **what))


def _asked(request: ModelRequest) -> str:
    asked = Asked(request)
    if asked.recent:
        return "; ".join(f"{name} said {text_of(block.content)}" for name, block in asked.recent)
    return asked.last_user


def _summary(filled: Filled, reply: FakeReply) -> str:
    parts = []
    if reply.error is not None:
        parts.append(f"{reply.error.type} {reply.error.code}".strip())
    if reply.fault:
        parts.append(f"{reply.fault} after {reply.after} events")
    parts += [f"calls {call.name}" for call in filled.calls]
    if filled.text:
        parts.append(filled.text)
    return "; ".join(parts)


def _reply(filled: Filled, vendor: Vendor, dialect: Dialect, seen: Seen) -> FakeReply:
    step = filled.step
    reply = FakeReply(
        thinking=filled.reasoning,
        text=filled.text,
        blocks=step.blocks,
        calls=tuple(
            FakeCall(
                id=call.id,
                name=call.name,
                raw_json=call.arguments_json if said.raw_json is None else said.raw_json,
            )
            for call, said in zip(filled.calls, step.calls, strict=True)
        ),
        usage={} if step.usage == Tokens() else vendor.usage(step.usage),
        stop=vendor.stops.get(step.stop or "", ""),
        chunk=step.chunk or _WHOLE,
        before_s=step.delay_ms / 1000,
        between_s=step.chunk_delay_ms / 1000,
    )
    fault: Fault = ""
    deltas: int | None = step.cut_after
    error: FakeError | None = None
    if step.stall:
        fault = "stall"
    elif step.cut_after is not None:
        fault = "cut"
    elif step.truncate:
        fault = "eof"
    elif step.error is not None:
        deltas = step.error.after
        kind = kind_of_fault(step.error)
        if kind in (BadToolJson, Refused):
            return _unusable(kind, filled, vendor)
        if deltas is None:
            reply = FakeReply(before_s=reply.before_s)
        error = vendor.error(kind, step.error.message, step.error.retry_after)
        fault = _FAULTS.get(kind, "" if deltas is None else "error_event")
        deltas = deltas or 0
    if not fault:
        return msgspec.structs.replace(reply, error=error)
    return msgspec.structs.replace(
        reply,
        fault=fault,
        after=place_after(dialect.events(reply, seen), deltas),
        error=error if fault == "error_event" else None,
    )


_FAULTS: Mapping[type[ProviderFailure], Fault] = {TransportFailed: "cut", Truncated: "eof"}
"""Failures that are no answer of the service: what happens on the wire instead."""


def _unusable(kind: type[ProviderFailure], filled: Filled, vendor: Vendor) -> FakeReply:
    """Failures that come as a whole answer which nobody can use."""
    if kind is BadToolJson:
        call = FakeCall(id="call_broken", name="broken", raw_json='{"path": "READ')
        return FakeReply(text=filled.text, calls=(call,))
    fault = filled.step.error
    words = (fault.message if fault is not None else "") or "I cannot help with that."
    # With the Responses API a refusal is something said, with the others a reason to stop.
    stop = "" if vendor.name == "responses" else vendor.stops["refusal"]
    return FakeReply(refusal=words, stop=stop)
