"""The launcher that runs a subagent as a task of this process: cheapest, and not isolated."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

from bamboo_mcp.domain.runs import Outcome, RunRequest, Steer
from bamboo_mcp.domain.subagents import SubagentSpec
from bamboo_mcp.ports import Execute, Inbox, SubagentLink


class InProcessLauncher:
    """A `Launcher` that executes a run in the task that awaits the link's result."""

    name = "in_process"

    def __init__(self, *, execute: Execute, new_inbox: Callable[[], Inbox]) -> None:
        self._execute = execute
        self._new_inbox = new_inbox

    def launch(
        self, spec: SubagentSpec, request: RunRequest
    ) -> AbstractAsyncContextManager[SubagentLink]:
        return _Link(self._execute, self._new_inbox(), request)


class _Link:
    """The link and its own context: nothing is left to reap, the run ends with `result`."""

    __slots__ = ("_execute", "_inbox", "_request")

    def __init__(self, execute: Execute, inbox: Inbox, request: RunRequest) -> None:
        self._execute = execute
        self._inbox = inbox
        self._request = request

    async def __aenter__(self) -> SubagentLink:
        return self

    async def __aexit__(self, *reason: object) -> None:
        return None

    def result(self) -> Coroutine[Any, Any, Outcome]:
        return self._execute(self._request, self._inbox)

    def steer(self, steer: Steer) -> None:
        self._inbox.put(steer)

    def cancel(self, reason: str) -> None:
        self._inbox.cancel(reason)
