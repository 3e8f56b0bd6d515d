"""Commands that run on after their call: whose they are, how many, and how they end.

A command belongs to the run that started it, or to the server for a direct call, and ends with it.
Its guard (`shell_guard`) sees to that also when this process is killed. It is held by a task in the
group that `start` starts into; nobody else waits for it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import anyio
from anyio.abc import TaskStatus

from bamboo_mcp.domain.errors import BambooError, LimitReached, UnknownId
from bamboo_mcp.domain.ids import RunId, SessionId, Subject
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.workspace.commands import Ending, Order, Stop, child_environment, hold_shell
from bamboo_mcp.workspace.output import MAX_OUTPUT_BYTES, CommandOutput

logger = logging.getLogger(__name__)

MAX_COMMANDS = 8
"""Of one agent or client at once; `max_running` says otherwise."""

MAX_COMMANDS_IN_ALL = 64
_KEPT = 64
"""Commands that have ended and whose output can still be read; the oldest go first."""

STOP_GRACE_S = 5.0
_LAST_RESORT_S = 2.0
"""How long after the grace the guard has to be done before it is hung up on."""

_CUT_S = 8.0
"""More than a command that is cut off takes to be gone."""

Owner: TypeAlias = tuple[Subject, SessionId | None]
StartTask: TypeAlias = Callable[..., Awaitable[Any]]
"""`TaskGroup.start` of a group that outlives every call."""

Cause: TypeAlias = Literal["itself", "timeout", "stopped", "run_ended", "server_stopped", "lost"]


@dataclass(slots=True, kw_only=True, eq=False)
class BackgroundCommand:
    """One command, running or ended. `cause` is how it came to its end; "" while it runs."""

    command_id: str
    command: str
    owner: Owner
    run_id: RunId | None
    output: CommandOutput
    ending: Ending = field(default_factory=Ending)
    cause: Cause | Literal[""] = ""
    began: float = field(default_factory=time.monotonic)
    ended: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    ask_to_stop: Stop | None = None
    stopping: Literal["", "stopped", "run_ended"] = ""

    @property
    def running(self) -> bool:
        return not self.cause

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began if self.running else self.ending.duration_s

    def state(self) -> str:
        """In words: "running for 3.2 s", "exit_code: 0, ended after 3.2 s"."""
        took = f"{self.seconds:.1f} s"
        if self.running:
            return f"running for {took}"
        code = self.ending.exit_code
        parts = [f"exit_code: {code}", f"ended after {took}"] if code is not None else []
        parts = parts or [f"ended after {took} without an exit code"]
        if code is not None and code < 0:
            parts.append(f"by signal {-code}")
        if self.cause != "itself":
            parts.append(_CAUSES[self.cause])
        if self.ending.left:
            parts.append(f"{self.ending.left} other process(es) of it were ended too")
        return ", ".join(parts)

    def line(self) -> str:
        """For lists and hints: the id and the beginning of the command."""
        words = " ".join(self.command.split())
        # An agent wrote it: quoted, so that it does not read like words of ours.
        shown = words if len(words) <= 60 else f"{words[:59]}…"
        return f"{self.command_id} {shown!r}"


_CAUSES: Mapping[str, str] = {
    "timeout": "it ran out of its timeout_s",
    "stopped": "stopped by stop_command",
    "run_ended": "stopped because its run ended",
    "server_stopped": "stopped with the server",
    "lost": "its guard process was killed, perhaps by the command",
}


class BackgroundCommands:
    """All of one server. Whoever did not start a command does not see it.

    `on_end` is told of each command that has ended; it must not block.
    """

    def __init__(
        self,
        start: StartTask,
        *,
        environment: Mapping[str, str] | None = None,
        max_running: int = MAX_COMMANDS,
        max_output_bytes: int = MAX_OUTPUT_BYTES,
        on_end: Callable[[BackgroundCommand], None] = lambda command: None,
    ) -> None:
        self._start = start
        self._environment = environment or {}
        self._max_running = max_running
        self._max_output_bytes = max_output_bytes
        self._on_end = on_end
        self._running: dict[str, BackgroundCommand] = {}
        self._ended: dict[str, BackgroundCommand] = {}

    async def begin(
        self, command: str, folder: str, context: ToolContext, *, timeout_s: float | None = None
    ) -> BackgroundCommand:
        """Start `command` in `folder`, which must be there only until this returns.

        Raises:
            LimitReached: So many run already.
            WorkspaceError: It could not be started.
        """
        owner = _owner(context)
        self._refuse_too_many(owner)
        one = BackgroundCommand(
            command_id=f"cmd_{os.urandom(16).hex()}",
            command=command,
            owner=owner,
            run_id=context.run_id,
            output=CommandOutput(self._max_output_bytes),
        )
        # No await since the count: its place is taken before anybody else can look.
        self._running[one.command_id] = one
        environment = child_environment(self._environment)
        order = Order(command, folder, environment, timeout_s, one.output)
        # Shielded: half started it would be nobody's. A run that is cancelled meanwhile ends it
        # like every command of its own.
        with anyio.CancelScope(shield=True):
            await self._start(self._hold, one, order)
        return one

    def find(self, command_id: str, context: ToolContext) -> BackgroundCommand:
        """Raises `UnknownId`, with the caller's own commands, also for somebody else's."""
        one = self._running.get(command_id) or self._ended.get(command_id)
        owner = _owner(context)
        if one is None or one.owner != owner:
            known = [*self._running.values(), *reversed(self._ended.values())]
            mine = [other.line() for other in known if other.owner == owner][:10]
            raise UnknownId(
                f"no command {command_id[:100]!r} of yours, or its output is not kept any more",
                hint=f"Yours: {', '.join(mine)}." if mine else "You have started none.",
            )
        return one

    async def stop(self, one: BackgroundCommand, *, grace_s: float) -> None:
        """End it and all it started: SIGTERM, after `grace_s` SIGKILL. Returns at its end."""
        if not one.running:
            return
        one.stopping = one.stopping or "stopped"
        if one.ask_to_stop is not None:
            one.ask_to_stop(grace_s)
            with anyio.move_on_after(grace_s + _LAST_RESORT_S):
                await one.ended.wait()
                return
        one.scope.cancel()
        with anyio.move_on_after(_CUT_S):
            await one.ended.wait()

    async def end_run(self, run_id: RunId) -> Sequence[str]:
        """End what a run left running; a line about each."""
        mine = [one for one in self._running.values() if one.run_id == run_id]
        for one in mine:
            one.stopping = one.stopping or "run_ended"
            one.scope.cancel()
        with anyio.move_on_after(_CUT_S):
            for one in mine:
                await one.ended.wait()
        return [f"background command {one.line()} was stopped: the run ended" for one in mine]

    def _refuse_too_many(self, owner: Owner) -> None:
        mine = [one.line() for one in self._running.values() if one.owner == owner]
        if len(mine) >= self._max_running:
            raise LimitReached(
                f"{len(mine)} background commands of yours run, and no more may at once",
                hint=f"End one with stop_command: {', '.join(mine[:10])}.",
            )
        if len(self._running) >= MAX_COMMANDS_IN_ALL:
            raise LimitReached(
                f"{MAX_COMMANDS_IN_ALL} background commands of this server run, and no more may",
                hint="Wait until others have ended, or run it in the foreground.",
            )

    async def _hold(
        self,
        one: BackgroundCommand,
        order: Order,
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        def started(stop: Stop) -> None:
            one.ask_to_stop = stop
            task_status.started()

        failed = whole = False
        try:
            with one.scope:
                await hold_shell(order, one.ending, started)
                whole = True
        except Exception:
            if failed := one.ask_to_stop is None:
                raise  # it never ran; the call that wanted it tells why
            # The tool call that began it is over: this is its border.
            logger.exception("background command %s of run %s broke", one.command_id, one.run_id)
        finally:
            one.cause = _cause(one, whole=whole)
            self._note_end(one, failed=failed)

    def _note_end(self, one: BackgroundCommand, *, failed: bool) -> None:
        del self._running[one.command_id]
        one.output.end()
        one.ended.set()
        if failed:
            return
        self._ended[one.command_id] = one
        while len(self._ended) > _KEPT:
            del self._ended[next(iter(self._ended))]
        try:
            self._on_end(one)
        except BambooError:
            logger.exception("the end of command %s could not be told", one.command_id)


def _cause(one: BackgroundCommand, *, whole: bool) -> Cause:
    """`whole`: it was watched to its end, not cut off."""
    if one.ending.timed_out:
        return "timeout"
    if one.stopping:
        return one.stopping
    if not whole:
        return "server_stopped"
    return "lost" if one.ending.exit_code is None else "itself"


def _owner(context: ToolContext) -> Owner:
    return (Subject(context.subagent_id or context.caller), context.session_id)
