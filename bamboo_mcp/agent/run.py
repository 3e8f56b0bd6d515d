"""The agent as a `RunBody`: model and tools of a request, the loop, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio

from bamboo_mcp.agent.call_contexts import CallContexts
from bamboo_mcp.agent.clock import RunClock
from bamboo_mcp.agent.loop import Loop, Stopped
from bamboo_mcp.agent.prompt import system_prompt
from bamboo_mcp.domain.errors import BambooError, LimitReached
from bamboo_mcp.domain.events import Warned
from bamboo_mcp.domain.runs import Outcome, RunRequest, Steer, TerminalStatus
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.ports import (
    Compactor,
    Conversation,
    Emit,
    Inbox,
    Models,
    Questions,
    ToolExecutor,
)


class Agent:
    """A `RunBody` that lets a language model use tools.

    `tools_for` gives the tools of a request, wrapped as they shall be (denied, permitted, bounded).
    """

    def __init__(
        self,
        *,
        models: Models,
        tools_for: Callable[[RunRequest], ToolExecutor],
        questions: Questions,
        compactor: Compactor,
    ) -> None:
        self._models = models
        self._tools_for = tools_for
        self._questions = questions
        self._compactor = compactor

    async def run(
        self, request: RunRequest, conversation: Conversation, inbox: Inbox, emit: Emit
    ) -> Outcome:
        clock = RunClock(request.limits.timeout_s)
        loop: Loop | None = None
        status: TerminalStatus = "completed"
        code = words = ""
        try:
            # One scope for finding model and tools and for the first rounds: a provider or plugin
            # that hangs is cut off like a round. With its timer it costs as much as half a round.
            with clock.scope() as scope:
                # A message that interrupts finds no round to cut here: the first one reads it.
                inbox.on_interrupt(lambda: _cut_if_cancelled(scope, inbox))
                try:
                    loop = await self._prepare(request, conversation, inbox, emit, clock)
                    await loop.rounds_within(scope)
                finally:
                    inbox.on_interrupt(None)
                    clock.release(scope)
            if loop is None:
                raise _not_ready(request, inbox)
            await loop.run_rounds()
        except Stopped:
            status, code, words = "cancelled", "cancelled", inbox.cancel_reason or ""
        except BambooError as error:
            status, code, words = "error", error.code, _words(error)
        except BaseException:
            # Cut off from outside, or a bug: no outcome of ours hands back what nobody read.
            if loop is not None:
                _put_back(loop.unread, inbox)
            raise
        if loop is None:
            return Outcome(status=status, error_code=code, error=words)
        return Outcome(
            status=status,
            text=loop.text,
            error_code=code,
            error=words,
            usage=loop.limits.usage,
            rounds=loop.rounds,
            model=loop.origin,
            undelivered=loop.unread,
        )

    async def _prepare(
        self,
        request: RunRequest,
        conversation: Conversation,
        inbox: Inbox,
        emit: Emit,
        clock: RunClock,
    ) -> Loop:
        provider, model = await self._models.resolve(request.model)
        tools = self._tools_for(request)
        caps = provider.caps(model)
        specs = await tools.list_tools() if caps.tools else ()
        if request.allow_tools and (missing := _not_there(request.allow_tools, specs)):
            words = f"allow_tools names what is not there: {', '.join(missing)}"
            emit(Warned(code="unknown_tools", message=words))
        return Loop(
            request,
            provider=provider,
            model=model,
            caps=caps,
            sizing_of=self._models.sizing,
            system=system_prompt(request),
            tools=tools,
            specs=specs,
            contexts=CallContexts(request, questions=self._questions, emit=emit, clock=clock),
            conversation=conversation,
            inbox=inbox,
            emit=emit,
            compactor=self._compactor,
            clock=clock,
        )


def _cut_if_cancelled(scope: anyio.CancelScope, inbox: Inbox) -> None:
    if inbox.cancel_reason is not None:
        scope.cancel()


def _not_ready(request: RunRequest, inbox: Inbox) -> Exception:
    """Why a run was cut off before it had its model and tools; there is no model to ask."""
    if inbox.cancel_reason is not None:
        return Stopped()
    return LimitReached(
        f"the run reached timeout_s = {request.limits.timeout_s:g} before its model and tools "
        "were ready",
        hint="a provider or a plugin is slow or hangs; the server's log says more",
    )


def _put_back(unread: Sequence[Steer], inbox: Inbox) -> None:
    for steer in (*unread, *inbox.take(idle=True)):
        inbox.put(steer)


def _not_there(allowed: Sequence[str], specs: Sequence[ToolSpec]) -> list[str]:
    names = {spec.name for spec in specs}
    return [name for name in allowed if "*" not in name and _plain(name) not in names]


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def _words(error: BambooError) -> str:
    return f"{error.message}. {error.hint}" if error.hint else error.message
