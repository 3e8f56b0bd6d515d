"""Plays a script: which step answers a request, and what it says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.domain.ids import new_call_id
from bamboo_mcp.domain.messages import Block, ReasoningBlock, TextBlock, ToolCallBlock
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.provider_errors import (
    ProviderFailure,
    TransportFailed,
    Truncated,
    UnmatchedRequest,
)
from bamboo_mcp.domain.stream import Chunk
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.providers.playback import Playback, chunks_of
from bamboo_mcp.providers.scripted.match import Condition, explain
from bamboo_mcp.providers.scripted.steps import Fault, Step, Track
from bamboo_mcp.providers.scripted.values import (
    Asked,
    NoValue,
    Scope,
    fill,
    fill_text,
    has_placeholder,
)

Responder = Callable[[ModelRequest], Step | str]
"""Answers a request in Python: what doubles may use instead of a step."""

_KINDS: dict[str, type[ProviderFailure]] = {
    kind.code: kind for kind in ProviderFailure.__subclasses__()
}
_SHORT = {
    "auth": "authentication_failed",
    "authentication": "authentication_failed",
    "quota": "quota_exhausted",
    "rate_limit": "rate_limited",
    "overload": "overloaded",
    "transport": "transport_failed",
    "context": "context_overflow",
    "server": "server_failed",
    "server_error": "server_failed",
}


def fault_kind(kind: str) -> type[ProviderFailure] | None:
    return _KINDS.get(_SHORT.get(kind, kind))


class CompiledStep:
    """A step made ready at load: what it waits for, and its answer when that never changes."""

    def __init__(self, step: Step, number: int) -> None:
        self.step = step
        self.condition = Condition(step.when) if step.when is not None else None
        self.title = f"step {number}" + (f" (line {step.line})" if step.line else "")
        self.repeats = step.repeat is not False
        self.limit: float = 1
        if self.repeats:
            self.limit = float("inf") if step.repeat is True else int(step.repeat)
        usage = step.usage
        self._usage = Usage(**{name: getattr(usage, name) for name in usage.__struct_fields__})
        self._filled = has_placeholder([step.text, step.reasoning, [c.args for c in step.calls]])
        self._arguments = [msgspec.json.encode(call.args).decode() for call in step.calls]
        self._fixed = not self._filled and all(call.id for call in step.calls)
        self._ready: dict[str, list[Chunk]] = {}
        self._breaks = step.error is not None or step.truncate or step.cut_after is not None
        self._before_s = step.delay_ms / 1000
        self._between_s = step.chunk_delay_ms / 1000

    def play(self, asked: Asked, variables: Mapping[str, str], origin: str) -> Playback:
        chunks: Sequence[Chunk] = ()
        ending: ProviderFailure | None = None
        if self.step.error is None:
            chunks = self._chunks(asked, variables, origin)
        if self._breaks:
            chunks, ending = self._broken(chunks, origin)
        return Playback(chunks, ending=ending, before_s=self._before_s, between_s=self._between_s)

    def _broken(
        self, chunks: Sequence[Chunk], origin: str
    ) -> tuple[Sequence[Chunk], ProviderFailure]:
        """What is played of an answer that breaks off, and how it does."""
        step = self.step
        provider = origin.partition(":")[0]
        if step.cut_after is not None:
            ending = TransportFailed(f"the connection to {origin} broke", provider=provider)
            return chunks[:-1][: step.cut_after], ending
        if step.truncate:
            ended = Truncated(f"{origin} ended in the middle of its answer", provider=provider)
            return chunks[:-1], ended
        assert step.error is not None
        return chunks, _failure(step.error, origin)

    def _chunks(self, asked: Asked, variables: Mapping[str, str], origin: str) -> list[Chunk]:
        if self._fixed and (ready := self._ready.get(origin)) is not None:
            return ready
        step = self.step
        text, reasoning, arguments = step.text, step.reasoning, self._arguments
        if self._filled:
            scope = Scope(asked, variables, step.when.tool_result if step.when else "")
            try:
                text = fill_text(text, scope) if text else ""
                reasoning = fill_text(reasoning, scope) if reasoning else ""
                arguments = [
                    msgspec.json.encode(fill(call.args, scope)).decode() for call in step.calls
                ]
            except NoValue as missing:
                raise UnmatchedRequest(f"{origin}, {self.title}: {missing}") from missing
        blocks: list[Block] = []
        if reasoning:
            blocks.append(ReasoningBlock(text=reasoning))
        if text:
            blocks.append(TextBlock(text=text))
        blocks += [
            ToolCallBlock(id=call.id or new_call_id(), name=call.name, arguments_json=json)
            for call, json in zip(step.calls, arguments, strict=True)
        ]
        chunks = chunks_of(
            blocks, origin=origin, usage=self._usage, reason=step.stop, size=step.chunk
        )
        if self._fixed:
            self._ready[origin] = chunks
        return chunks


class CompiledResponder:
    """A function in the place of a step."""

    condition: Condition | None = None
    repeats = False
    limit: float = 1

    def __init__(self, respond: Responder, number: int, *, repeats: bool = False) -> None:
        self._respond = respond
        self.title = f"step {number} (a function)"
        if repeats:
            self.repeats = True
            self.limit = float("inf")

    def play(self, asked: Asked, variables: Mapping[str, str], origin: str) -> Playback:
        answer = self._respond(asked.request)
        step = Step(text=answer) if isinstance(answer, str) else answer
        return CompiledStep(step, 0).play(asked, variables, origin)


AnyStep = CompiledStep | CompiledResponder


class CompiledTrack:
    def __init__(self, track: Track) -> None:
        self.name = track.name
        self.condition = Condition(track.when) if track.when is not None else None
        self.steps: list[AnyStep] = []
        for step in track.steps:
            self.add(step)

    def add(self, step: Step | Responder, *, repeats: bool = False) -> None:
        number = len(self.steps) + 1
        if isinstance(step, Step):
            self.steps.append(CompiledStep(step, number))
        else:
            self.steps.append(CompiledResponder(step, number, repeats=repeats))


def compile_track(track: Track, source: str) -> CompiledTrack:
    """Raises `InvalidInput` for a regular expression that is none."""
    try:
        return CompiledTrack(track)
    except (re.error, KeyError) as error:
        raise InvalidInput(f"{source}: a `when` holds a bad regular expression: {error}") from error


class _Walk:
    """How far one conversation is."""

    __slots__ = ("calls", "first", "track", "used", "variables")

    def __init__(self, track: CompiledTrack, variables: dict[str, str]) -> None:
        self.track = track
        self.variables = variables
        self.first = 0
        self.used: dict[int, int] = {}
        self.calls = 0

    def take(self, asked: Asked, *, strict: bool) -> AnyStep | None:
        """The step that answers, now used; None when none fits."""
        steps = self.track.steps
        blocked = False
        for place in range(self.first, len(steps)):
            step = steps[place]
            if (blocked and not step.repeats) or self.used.get(place, 0) >= step.limit:
                continue
            captured = step.condition.match(asked) if step.condition is not None else {}
            if captured is None:
                blocked = blocked or (strict and not step.repeats)
                continue
            self.variables.update(captured)
            self.calls += 1
            self._use(place)
            return step
        return None

    def _use(self, place: int) -> None:
        steps = self.track.steps
        self.used[place] = self.used.get(place, 0) + 1
        while self.first < len(steps) and self.used.get(self.first, 0) >= steps[self.first].limit:
            self.used.pop(self.first)
            self.first += 1

    def waiting(self) -> list[AnyStep]:
        """What could still be played, in order."""
        return [
            step
            for place, step in enumerate(self.track.steps[self.first :], self.first)
            if self.used.get(place, 0) < step.limit
        ]

    def unused(self) -> list[AnyStep]:
        return [step for step in self.waiting() if not step.repeats]


class Engine:
    """One script and every conversation that walks it, each on its own."""

    def __init__(self, tracks: Sequence[CompiledTrack], *, origin: str, strict: bool) -> None:
        self._tracks = tracks
        self._origin = origin
        self._strict = strict
        self._walks: dict[str, _Walk] = {}

    def play(self, request: ModelRequest) -> Playback:
        """Raises `UnmatchedRequest`, which shows what was asked beside what was waited for."""
        asked = Asked(request)
        walk = self._walks.get(request.conversation)
        if walk is None:
            walk = self._begin(asked)
        step = walk.take(asked, strict=self._strict)
        if step is None:
            waiting = walk.waiting()[:3]
            raise UnmatchedRequest(
                explain(
                    asked,
                    f"{self._origin}: no step fits call {walk.calls + 1}",
                    [(step.title, step.condition) for step in waiting],
                ),
                hint="Add a step that fits, or correct the `when` of one.",
                provider=self._origin.partition(":")[0],
            )
        return step.play(asked, walk.variables, self._origin)

    def _begin(self, asked: Asked) -> _Walk:
        for track in self._tracks:
            captured = track.condition.match(asked) if track.condition is not None else {}
            if captured is not None:
                walk = _Walk(track, dict(captured))
                self._walks[asked.request.conversation] = walk
                return walk
        raise UnmatchedRequest(
            explain(
                asked,
                f"{self._origin}: no kind of conversation fits this first request",
                [(track.name or "unnamed", track.condition) for track in self._tracks],
            ),
            provider=self._origin.partition(":")[0],
        )

    def unused(self) -> list[str]:
        """The steps that were to be played and were not, by conversation."""
        walked = {id(walk.track) for walk in self._walks.values()}
        left = [
            f"{conversation or 'the conversation'}: {step.title}"
            for conversation, walk in self._walks.items()
            for step in walk.unused()
        ]
        for track in self._tracks:
            if id(track) not in walked:
                left += [f"never begun: {step.title}" for step in track.steps if not step.repeats]
        return left


def _failure(fault: Fault, origin: str) -> ProviderFailure:
    kind = fault_kind(fault.kind)
    if kind is None:
        kinds = ", ".join(sorted(_KINDS))
        raise InvalidInput(f"no kind of error is called {fault.kind!r}; there are {kinds}")
    return kind(
        fault.message or f"{origin} fails here, as its script says ({kind.code})",
        provider=origin.partition(":")[0],
        retry_after_s=fault.retry_after,
    )
