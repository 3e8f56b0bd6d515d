"""The agent as a `RunBody`: model and tools of a request, the loop, and how it ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import anyio

from bamboo_mcp.agent.call_contexts import CallContexts
from bamboo_mcp.agent.clock import RunClock
from bamboo_mcp.agent.dialogue import Dialogue
from bamboo_mcp.agent.limits import RunLimits
from bamboo_mcp.agent.loop import Loop, Stopped
from bamboo_mcp.agent.money import Money
from bamboo_mcp.agent.prompt import log_prompt, system_prompt
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
    Provider,
    Questions,
    ToolExecutor,
)
from bamboo_mcp.tools.output_schema import OutputCheck, wanted

if TYPE_CHECKING:
    from bamboo_mcp.agent.extras import Extras

logger = logging.getLogger(__name__)


class Agent:
    """A `RunBody` that lets a language model use tools.

    `tools_for` gives the tools of a request, wrapped as they shall be (denied, permitted, bounded).
    `roles_said` are the roles that the settings name a model for. With `provider` it answers in the
    place of the one a request names.
    """

    def __init__(
        self,
        *,
        models: Models,
        tools_for: Callable[[RunRequest], ToolExecutor],
        questions: Questions,
        compactor: Compactor,
        roles_said: Collection[str] = (),
        provider: Provider | None = None,
    ) -> None:
        self._models = models
        self._tools_for = tools_for
        self._questions = questions
        self._compactor = compactor
        self._roles_said = roles_said
        self._provider = provider

    def using(
        self,
        *,
        provider: Provider | None = None,
        tools_for: Callable[[RunRequest], ToolExecutor] | None = None,
    ) -> Agent:
        """The same agent with something of one run's own in the place of what all share."""
        return Agent(
            models=self._models,
            tools_for=tools_for or self._tools_for,
            questions=self._questions,
            compactor=self._compactor,
            roles_said=self._roles_said,
            provider=provider or self._provider,
        )

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
            if loop is not None and loop.goal is not None and isinstance(error, LimitReached):
                loop.goal.cut_off()
        except BaseException:
            # Cut off from outside, or a bug: no outcome of ours hands back what nobody read.
            if loop is not None:
                _put_back(loop.unread, inbox)
            raise
        if loop is None:
            return Outcome(status=status, error_code=code, error=words)
        return Outcome(
            status=status,
            text=loop.dialogue.text,
            error_code=code,
            error=words,
            usage=loop.limits.usage,
            rounds=loop.rounds,
            model=loop.dialogue.origin,
            cost_usd=loop.limits.cost_usd,
            undelivered=loop.unread,
            goal=None if loop.goal is None else loop.goal.status,
        )

    async def _prepare(
        self,
        request: RunRequest,
        conversation: Conversation,
        inbox: Inbox,
        emit: Emit,
        clock: RunClock,
    ) -> Loop:
        if self._provider is None:
            provider, model = await self._models.resolve(request.model)
        else:
            provider = self._provider
            model = request.model.partition(":")[2] or request.model
        money = Money(self._models, request.limits.max_cost_usd)
        await money.admit(f"{provider.name}:{model}")
        tools = self._tools_for(request)
        caps = provider.caps(model)
        extras: Extras | None = None
        if not caps.images or request.goal or request.image_fallback:
            extras = self._extras(request, money, emit)
            provider, tools = extras.around(provider, caps), extras.over(tools)
        specs = await tools.list_tools() if caps.tools else ()
        if request.allow_tools and (missing := _not_there(request.allow_tools, specs)):
            words = f"allow_tools names what is not there: {', '.join(missing)}"
            emit(Warned(code="unknown_tools", message=words))
        system = system_prompt(request)
        output = None
        if request.output_schema is not None:
            output = OutputCheck(request.output_schema)
            system += f"\n\n{wanted(request.output_schema)}"
        _log_start(request, f"{provider.name}:{model}", system)
        limits = RunLimits(request.limits, clock)
        if extras is not None:
            extras.side.spend = limits.spend
        dialogue = Dialogue(
            request,
            provider=provider,
            model=model,
            caps=caps,
            sizing_of=self._models.sizing,
            money=money,
            limits=limits,
            system=system,
            specs=specs,
            conversation=conversation,
            emit=emit,
            compactor=self._compactor,
        )
        return Loop(
            request,
            dialogue=dialogue,
            limits=limits,
            tools=tools,
            specs=specs,
            contexts=CallContexts(request, questions=self._questions, emit=emit, clock=clock),
            inbox=inbox,
            emit=emit,
            clock=clock,
            goal=None if extras is None else extras.goal,
            output=output,
        )

    def _extras(self, request: RunRequest, money: Money, emit: Emit) -> Extras:
        from bamboo_mcp.agent.extras import Extras  # late: most runs have none of it

        return Extras(
            request, models=self._models, roles_said=self._roles_said, money=money, emit=emit
        )


def _log_start(request: RunRequest, model: str, system: str) -> None:
    if logger.isEnabledFor(logging.INFO):
        logger.info(
            "run %s of session %s: model %s, effort %s (from: %s)",
            request.run_id,
            request.session_id,
            model,
            request.effort or "none",
            request.effort_source or ("request" if request.effort else "default"),
        )
        log_prompt(request, system)


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
