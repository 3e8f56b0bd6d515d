"""What a step answers: its placeholders filled, and how it is played as a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.domain.ids import new_call_id
from bamboo_mcp.domain.messages import (
    Block,
    OpaqueBlock,
    ReasoningBlock,
    TextBlock,
    ToolCallBlock,
)
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.provider_errors import (
    BadToolJson,
    ProviderFailure,
    TransportFailed,
    Truncated,
    UnmatchedRequest,
)
from bamboo_mcp.domain.stream import BlockDone, Chunk, ToolCallChunk
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.domain.value import Value
from bamboo_mcp.providers.playback import Playback, chunks_of
from bamboo_mcp.providers.scripted.match import Condition
from bamboo_mcp.providers.scripted.steps import Call, Fault, Step
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


def kind_of_fault(fault: Fault) -> type[ProviderFailure]:
    """Raises `InvalidInput` for a kind that is none; a file is checked before it comes to this."""
    kind = fault_kind(fault.kind)
    if kind is None:
        kinds = ", ".join(sorted(_KINDS))
        raise InvalidInput(f"no kind of error is called {fault.kind!r}; there are {kinds}")
    return kind


class FilledCall(Value, frozen=True, kw_only=True):
    """`arguments_json` is an object unless `is_broken`, which a model's own text may be."""

    id: str
    name: str
    arguments_json: str
    is_broken: bool = False


class Filled(Value, frozen=True, kw_only=True):
    """A step chosen for a request, its placeholders replaced; the rest stands in `step`."""

    title: str
    step: Step
    text: str = ""
    reasoning: str = ""
    calls: tuple[FilledCall, ...] = ()


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
        self._has_holes = has_placeholder([step.text, step.reasoning, [c.args for c in step.calls]])
        self._arguments = [_arguments(call) for call in step.calls]
        self._fixed = not self._has_holes and all(call.id for call in step.calls)
        self._ready: dict[str, list[Chunk]] = {}
        self._breaks = (
            step.error is not None
            or step.truncate
            or step.stall
            or step.cut_after is not None
            or any(is_broken for _, is_broken in self._arguments)
        )
        self._before_s = step.delay_ms / 1000
        self._between_s = step.chunk_delay_ms / 1000

    def play(self, asked: Asked, variables: Mapping[str, str], origin: str) -> Playback:
        chunks: Sequence[Chunk] = ()
        ending: ProviderFailure | None = None
        error = self.step.error
        if error is None or error.after is not None:
            chunks = self._chunks(asked, variables, origin)
        if self._breaks:
            chunks, ending = self._broken(chunks, origin)
        return Playback(
            chunks,
            ending=ending,
            before_s=self._before_s,
            between_s=self._between_s,
            stalls=self.step.stall,
        )

    def _broken(
        self, chunks: Sequence[Chunk], origin: str
    ) -> tuple[Sequence[Chunk], ProviderFailure | None]:
        """What is played of an answer that breaks off, and how it does."""
        step = self.step
        provider = origin.partition(":")[0]
        chunks = chunks[:-1]
        if step.stall:
            return chunks[: step.cut_after], None
        if step.cut_after is not None:
            ending = TransportFailed(f"the connection to {origin} broke", provider=provider)
            return chunks[: step.cut_after], ending
        if step.truncate:
            return chunks, Truncated(
                f"{origin} ended in the middle of its answer", provider=provider
            )
        if step.error is not None:
            return chunks[: step.error.after], _failure(step.error, origin)
        return _until_broken_call(chunks, self._arguments), BadToolJson(
            f"{origin} called a tool with arguments that are not a JSON object", provider=provider
        )

    def filled(self, asked: Asked, variables: Mapping[str, str], origin: str) -> Filled:
        """Raises `UnmatchedRequest` when a placeholder names what is not there."""
        step = self.step
        text, reasoning, arguments = step.text, step.reasoning, self._arguments
        if self._has_holes:
            scope = Scope(asked, variables, step.when.tool_result if step.when else "")
            try:
                text = fill_text(text, scope) if text else ""
                reasoning = fill_text(reasoning, scope) if reasoning else ""
                arguments = [
                    (msgspec.json.encode(fill(call.args, scope)).decode(), False)
                    if call.raw_json is None
                    else ready
                    for call, ready in zip(step.calls, arguments, strict=True)
                ]
            except NoValue as missing:
                raise UnmatchedRequest(f"{origin}, {self.title}: {missing}") from missing
        return Filled(
            title=self.title,
            step=step,
            text=text,
            reasoning=reasoning,
            calls=tuple(
                FilledCall(
                    id=call.id or new_call_id(),
                    name=call.name,
                    arguments_json=json,
                    is_broken=is_broken,
                )
                for call, (json, is_broken) in zip(step.calls, arguments, strict=True)
            ),
        )

    def _chunks(self, asked: Asked, variables: Mapping[str, str], origin: str) -> list[Chunk]:
        if self._fixed and (ready := self._ready.get(origin)) is not None:
            return ready
        step = self.step
        said = self.filled(asked, variables, origin)
        provider = origin.partition(":")[0]
        blocks: list[Block] = []
        if said.reasoning:
            blocks.append(ReasoningBlock(text=said.reasoning))
        blocks += [OpaqueBlock(provider=provider, raw=raw) for raw in step.blocks]
        if said.text:
            blocks.append(TextBlock(text=said.text))
        blocks += [
            ToolCallBlock(id=call.id, name=call.name, arguments_json=call.arguments_json)
            for call in said.calls
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
        return self._answer(asked).play(asked, variables, origin)

    def filled(self, asked: Asked, variables: Mapping[str, str], origin: str) -> Filled:
        return self._answer(asked).filled(asked, variables, origin)

    def _answer(self, asked: Asked) -> CompiledStep:
        answer = self._respond(asked.request)
        return CompiledStep(Step(text=answer) if isinstance(answer, str) else answer, 0)


def _arguments(call: Call) -> tuple[str, bool]:
    """What goes out as the arguments, and whether that is no JSON object.

    Nothing at all counts as an empty object, as it does with the services.
    """
    if call.raw_json is None:
        return msgspec.json.encode(call.args).decode(), False
    if not call.raw_json.strip():
        return "{}", False
    try:
        return call.raw_json, not isinstance(msgspec.json.decode(call.raw_json), dict)
    except msgspec.DecodeError:
        return call.raw_json, True


def _until_broken_call(
    chunks: Sequence[Chunk], arguments: Sequence[tuple[str, bool]]
) -> Sequence[Chunk]:
    """Up to where the first broken call would have been whole."""
    broken = next(place for place, (_, is_broken) in enumerate(arguments) if is_broken)
    calls = -1
    for place, chunk in enumerate(chunks):
        if isinstance(chunk, ToolCallChunk) and chunk.id:
            calls += 1
        if calls == broken and isinstance(chunk, BlockDone):
            return chunks[:place]
    return chunks


def _failure(fault: Fault, origin: str) -> ProviderFailure:
    kind = kind_of_fault(fault)
    return kind(
        fault.message or f"{origin} fails here, as its script says ({kind.code})",
        provider=origin.partition(":")[0],
        retry_after_s=fault.retry_after,
    )
