"""The tool calls of one round: run side by side, answered in call order, every one answered."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

import anyio
import msgspec

from bamboo_mcp.agent.call_contexts import CallContexts
from bamboo_mcp.agent.clock import RunClock
from bamboo_mcp.agent.limits import CallLimits
from bamboo_mcp.domain.errors import BambooError
from bamboo_mcp.domain.events import ToolFinished, ToolProgressed, ToolStarted
from bamboo_mcp.domain.ids import CallId
from bamboo_mcp.domain.messages import Content, TextBlock, ToolCallBlock, ToolResultBlock, text_of
from bamboo_mcp.domain.redaction import redacted_arguments, redacted_head
from bamboo_mcp.domain.runs import Limits
from bamboo_mcp.domain.tools import Progress, ToolCall, ToolResult, ToolSpec, error_result
from bamboo_mcp.ports import Emit, ToolExecutor

logger = logging.getLogger(__name__)

PREVIEW_CHARS = 200
EVENT_ARGUMENTS_CHARS = 8_192
PROGRESS_INTERVAL_S = 0.1


class RoundCalls:
    """The calls of one round and the answers that are there so far."""

    def __init__(
        self,
        calls: Sequence[ToolCallBlock],
        *,
        tools: ToolExecutor,
        contexts: CallContexts,
        refusals: CallLimits,
        limits: Limits,
        clock: RunClock,
        emit: Emit,
    ) -> None:
        self._calls = calls
        self._tools = tools
        self._contexts = contexts
        self._refusals = refusals
        self._limits = limits
        self._clock = clock
        self._emit = emit
        self._answers: dict[int, ToolResult] = {}
        self._started: dict[int, float] = {}

    async def run(self, sequential: frozenset[str]) -> None:
        """Run them all, those named in `sequential` one at a time, within the batch time."""
        with self._clock.scope(self._limits.batch_timeout_s) as batch:
            try:
                await self._run_groups(sequential)
            finally:
                self._clock.release(batch)
        if batch.cancelled_caught:
            self.close(
                f"not finished: the calls of a round have {self._limits.batch_timeout_s:g} s"
            )

    def close(self, reason: str) -> None:
        """Answer every call that has no answer yet, so that the history stays valid."""
        unanswered = [n for n in range(len(self._calls)) if n not in self._answers]
        # All answers first: telling of one may fail, and the history needs every one.
        for position in unanswered:
            self._answers[position] = error_result("cancelled", reason)
        for position in unanswered:
            self._tell(position)

    def blocks(self) -> tuple[ToolResultBlock, ...]:
        """One result for each call, in call order. Call `close` first if the round was cut off."""
        return tuple(
            _block(call, self._answers[position]) for position, call in enumerate(self._calls)
        )

    async def _run_groups(self, sequential: frozenset[str]) -> None:
        together: list[int] = []
        for position, call in enumerate(self._calls):
            if call.name in sequential:
                await self._run_together(together)
                together = []
                await self._run_one(position)
            else:
                together.append(position)
        await self._run_together(together)

    async def _run_together(self, positions: Sequence[int]) -> None:
        if len(positions) == 1:
            await self._run_one(positions[0])
        elif positions:
            try:
                async with anyio.create_task_group() as group:
                    for position in positions:
                        group.start_soon(self._run_one, position)
            except ExceptionGroup as failed:
                # As it would be with one call: a full disk is known by its own name further up.
                known, others = failed.split(BambooError)
                if known is None or others is not None:
                    raise
                raise known.exceptions[0] from failed

    async def _run_one(self, position: int) -> None:
        call = self._calls[position]
        arguments = _parse(call.arguments_json)
        self._emit(
            ToolStarted(
                call_id=CallId(call.id), tool=call.name, arguments=_shown(call, arguments or {})
            )
        )
        self._started[position] = time.monotonic()
        if refusal := self._refusals.refusal(position, call.name, call.arguments_json):
            self._finish(position, error_result("limit_reached", refusal))
            return
        if arguments is None:
            self._finish(
                position,
                error_result("bad_tool_json", f"the arguments of {call.name!r} are no JSON object"),
            )
            return
        result = await self._call(call, arguments)
        self._refusals.note(call.name, failed=result.is_error)
        self._finish(position, result)

    async def _call(self, call: ToolCallBlock, arguments: Mapping[str, object]) -> ToolResult:
        context = self._contexts.make(_ProgressEvents(call, self._emit))
        try:
            return await self._tools.call_tool(
                ToolCall(id=call.id, name=call.name, arguments=arguments), context
            )
        except Exception:
            logger.exception("tool %s raised in run %s", call.name, context.run_id)
            return error_result(
                "internal_error", f"{call.name!r} failed inside; the server's log has the details"
            )

    def _finish(self, position: int, result: ToolResult) -> None:
        self._answers[position] = result
        self._tell(position)

    def _tell(self, position: int) -> None:
        call, result = self._calls[position], self._answers[position]
        started = self._started.get(position)
        if started is None:
            return
        self._emit(
            ToolFinished(
                call_id=CallId(call.id),
                tool=call.name,
                is_error=result.is_error,
                duration_s=round(time.monotonic() - started, 6),
                preview=_preview(result),
            )
        )


class _ProgressEvents:
    """A call's progress as events, at most ten a second, the last one always."""

    __slots__ = ("_call", "_emit", "_last")

    def __init__(self, call: ToolCallBlock, emit: Emit) -> None:
        self._call = call
        self._emit = emit
        self._last = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._last < PROGRESS_INTERVAL_S and progress.done != progress.total:
            return
        self._last = now
        self._emit(
            ToolProgressed(
                call_id=CallId(self._call.id),
                tool=self._call.name,
                done=progress.done,
                total=progress.total,
                message=progress.message,
            )
        )


def sequential_names(specs: Sequence[ToolSpec]) -> frozenset[str]:
    return frozenset(spec.name for spec in specs if spec.sequential)


def unrun_blocks(calls: Sequence[ToolCallBlock], reason: str) -> tuple[ToolResultBlock, ...]:
    """One result for each call of an answer whose calls are not run at all."""
    result = error_result("cancelled", reason)
    return tuple(_block(call, result) for call in calls)


def _block(call: ToolCallBlock, result: ToolResult) -> ToolResultBlock:
    return ToolResultBlock(
        call_id=call.id, name=call.name, content=_content(result), is_error=result.is_error
    )


def _parse(arguments_json: str) -> dict[str, object] | None:
    try:
        parsed = msgspec.json.decode(arguments_json or "{}")
    except msgspec.DecodeError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _shown(call: ToolCallBlock, arguments: Mapping[str, object]) -> Mapping[str, object]:
    """The arguments as an event keeps them: no secrets, and not more than one can read."""
    shown = redacted_arguments(arguments)
    if len(call.arguments_json) <= EVENT_ARGUMENTS_CHARS:
        return shown
    if not arguments:  # no JSON
        return {"cut": redacted_head(call.arguments_json, EVENT_ARGUMENTS_CHARS)}
    return {"cut": msgspec.json.encode(shown).decode()[:EVENT_ARGUMENTS_CHARS]}


def _content(result: ToolResult) -> tuple[Content, ...]:
    if not result.content and result.structured is not None:
        return (TextBlock(text=msgspec.json.encode(result.structured).decode()),)
    return result.content


def _preview(result: ToolResult) -> str:
    """The beginning of an answer; of a failure in our form, what it says in words."""
    text = result.text
    if result.is_error and text.startswith('{"error":'):
        first = text_of(result.content[:1])
        try:
            return str(msgspec.json.decode(first)["error"]["message"])[:PREVIEW_CHARS]
        except (msgspec.DecodeError, KeyError, TypeError):
            pass  # not our form after all
    return text[:PREVIEW_CHARS]
