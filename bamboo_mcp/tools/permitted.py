"""`PermittedExecutor`: asks the policy before each call, and a person when the policy says so."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, assert_never

import anyio
from msgspec.structs import replace

from bamboo_mcp.domain.questions import Answer, Question
from bamboo_mcp.domain.tools import ToolCall, ToolResult, ToolSpec, error_result
from bamboo_mcp.ports import Policy, ToolContext
from bamboo_mcp.tools.catalogue import Catalogue
from bamboo_mcp.tools.validation import Validators


class PermittedExecutor:
    """Stands outside `Bounded`, so that a call's clock stands still while its question is open."""

    def __init__(self, base: Catalogue, policy: Policy, *, validators: Validators) -> None:
        self._base = base
        self._policy = policy
        self._validators = validators

    def list_tools(self) -> Coroutine[Any, Any, Sequence[ToolSpec]]:
        return self._base.list_tools()

    def find_tool(self, name: str) -> Coroutine[Any, Any, ToolSpec | None]:
        return self._base.find_tool(name)

    async def call_tool(self, call: ToolCall, context: ToolContext) -> ToolResult:
        spec = await self._base.find_tool(call.name)
        verdict = None if spec is None else self._policy.decide(spec, call, context)
        if verdict is None or spec is None:
            return await self._base.call_tool(call, context)
        if isinstance(verdict, Answer):
            return _refused(call, "the permission policy", verdict.reason, _OTHER_WAY)
        # Nobody is bothered with a call that could not run anyway.
        if problem := self._validators.problem(spec, call):
            return problem
        asked_at = anyio.current_time()
        answer = await context.ask(verdict)
        if not answer.allowed:
            return _refused(call, *_who_and_what_next(verdict, answer))
        self._policy.remember(verdict, answer)
        waited = anyio.current_time() - asked_at
        return await self._base.call_tool(
            call, replace(context, deadline=context.deadline + waited)
        )


_OTHER_WAY = "Do not try the same again; find another way, or say in your answer what is missing."


def _who_and_what_next(question: Question, answer: Answer) -> tuple[str, str, str]:
    match answer.by:
        case "person":
            return "a person", answer.reason, _OTHER_WAY
        case "model":
            return "the agent that started this run", answer.reason, _OTHER_WAY
        case "expiry":
            reason = answer.reason or f"nobody answered within {question.expires_in_s:g} s"
            return (
                "the question's expiry",
                reason,
                "Go on without it, and report what was not done.",
            )
        case "closed":
            return "the end of the run", answer.reason or "its questions were closed", ""
        case never:
            assert_never(never)


def _refused(call: ToolCall, who: str, reason: str, hint: str) -> ToolResult:
    message = f"{call.name!r} did not run: {who} said no" + (f" ({reason})" if reason else "")
    return error_result("permission_denied", message, hint=hint)
