"""Run a shell command: bounded in time and output, and nothing it started outlives it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

import anyio
from anyio.abc import ByteReceiveStream, Process

from bamboo_mcp.domain.errors import WorkspaceError
from bamboo_mcp.workspace.capture import Capture

_STOP_S = 2.0
"""Longest time from giving a command up to killing its guard too."""

_DRAIN_S = 1.0
"""Longest time to read on after the end: off Linux an escaped child may hold the pipe."""

_PASSED_ON = frozenset(
    "PATH HOME LANG LANGUAGE TERM COLORTERM USER LOGNAME SHELL TMPDIR TZ "
    # What programs on Windows cannot do without.
    "SYSTEMROOT SYSTEMDRIVE WINDIR COMSPEC PATHEXT TEMP TMP USERPROFILE HOMEDRIVE HOMEPATH "
    "APPDATA LOCALAPPDATA PROGRAMDATA PROGRAMFILES NUMBER_OF_PROCESSORS OS".split()
)


Stop: TypeAlias = Callable[[float], None]
"""Ask a running command to end within so many seconds, after which it is killed."""


class Sink(Protocol):
    """Takes what a command writes, as it comes."""

    def add(self, chunk: bytes) -> None: ...


@dataclass(slots=True, kw_only=True)
class Ending:
    """How a command ended. `exit_code` None: given up, or not watched to its end."""

    exit_code: int | None = None
    timed_out: bool = False
    left: int = 0
    """Processes it had left running, which were ended."""
    duration_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class Finished(Ending):
    """How it ended and what it wrote."""

    stdout: Capture = field(default_factory=Capture)
    stderr: Capture = field(default_factory=Capture)


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a command sees of our environment: a short list of names, never a key; plus `extra`."""
    passed = {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _PASSED_ON or name.startswith("LC_")
    }
    return {**passed, **(extra or {})}


async def run_shell(
    command: str, *, folder: str, environment: Mapping[str, str], timeout_s: float
) -> Finished:
    """Run `command` in a shell until it ends; cancelling ends all it started within a second.

    Raises:
        WorkspaceError: It could not be started.
    """
    finished = Finished()
    await hold_shell(
        Order(command, folder, environment, timeout_s, finished.stdout, finished.stderr), finished
    )
    return finished


class Order(NamedTuple):
    """What to run; without `err` both streams go to `out`, in the order they were written."""

    command: str
    folder: str
    environment: Mapping[str, str]
    timeout_s: float | None
    out: Sink
    err: Sink | None = None


def _unheard(stop: Stop) -> None: ...


async def hold_shell(
    order: Order, ending: Ending, started: Callable[[Stop], None] = _unheard
) -> None:
    """Run a command until it ends, filling in `ending`; cancelling ends all it started.

    `started` is called once it runs, with what asks it to stop.

    Raises:
        WorkspaceError: It could not be started.
    """
    began = time.monotonic()
    try:
        if sys.platform == "win32":
            await _in_job(order, ending, started)
        else:
            await _below_guard(order, ending, started)
    finally:
        ending.duration_s = time.monotonic() - began


async def _below_guard(order: Order, ending: Ending, started: Callable[[Stop], None]) -> None:
    from bamboo_mcp.workspace import shell_guard  # POSIX only

    ours, theirs = socket.socketpair()
    argv = [sys.executable, "-I", "-S", shell_guard.__file__, _shell(), "-c", order.command]
    with ours:
        ours.setblocking(False)
        with theirs:
            process = await _start(argv, theirs.fileno(), order)
        watch = _GuardWatch(ours, process)
        async with _pumped(process, order):
            try:
                started(watch.ask_to_stop)
                with anyio.move_on_after(order.timeout_s) as limit:
                    await watch.until_told()
                ending.timed_out = limit.cancelled_caught
            finally:
                await watch.stop()
                ending.exit_code = None if ending.timed_out else watch.exit_code
                ending.left = watch.left


class _GuardWatch:
    """The server's end of the socket to a guard."""

    def __init__(self, connection: socket.socket, process: Process) -> None:
        self._connection = connection
        self._process = process
        self._heard = b""
        self._program: int | None = None
        self.exit_code: int | None = None
        self.left = 0

    async def until_told(self) -> None:
        """Return when the guard has told the end, or is gone."""
        while self._read():
            await anyio.wait_readable(self._connection)

    def _read(self) -> bool:
        try:
            heard = self._connection.recv(4096)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        self._heard += heard
        *lines, self._heard = self._heard.split(b"\n")
        for line in lines:
            match line.split():
                case [b"started", pid]:
                    self._program = int(pid)
                case [b"exit", code, left]:
                    self.exit_code, self.left = int(code), int(left)
                    return False
        return bool(heard)

    def ask_to_stop(self, grace_s: float) -> None:
        """Have the guard end all of it: SIGTERM, and after `grace_s` SIGKILL. `until_told` tells.

        A guard that is gone already is no error.
        """
        with contextlib.suppress(OSError):
            self._connection.send(b"stop %g\n" % grace_s)

    async def stop(self) -> None:
        """Hang up; the guard ends what is left, or, if it was killed itself, we do."""
        with anyio.CancelScope(shield=True):
            with contextlib.suppress(OSError):  # it hung up first
                self._connection.shutdown(socket.SHUT_WR)
            with anyio.move_on_after(_STOP_S):
                await self._process.wait()
            while self.exit_code is None and self._read_pending():
                pass
            if self._process.returncode is None:
                self._process.kill()
            if self.exit_code is None and self._program is not None:
                _end_group(self._program)

    def _read_pending(self) -> bool:
        try:
            heard = self._connection.recv(4096, socket.MSG_PEEK)
        except OSError:
            return False
        return bool(heard) and self._read()


def _end_group(program: int) -> None:
    """The best that can be done without the guard: it is the leader of its own group."""
    if sys.platform != "win32":
        try:
            os.killpg(program, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return


def _shell() -> str:
    return "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh"


async def _start(argv: list[str] | str, stdin: int, order: Order) -> Process:
    # Shielded: cancelled half-way, a started guard would be killed before it can clean up.
    try:
        with anyio.CancelScope(shield=True):
            process = await anyio.open_process(
                argv,
                stdin=stdin,
                stderr=subprocess.STDOUT if order.err is None else subprocess.PIPE,
                cwd=order.folder,
                env=order.environment,
                start_new_session=True,
            )
    except (OSError, ValueError) as error:
        raise WorkspaceError(f"the command could not be started: {error}") from error
    return process


@asynccontextmanager
async def _pumped(process: Process, order: Order) -> AsyncIterator[None]:
    """Read both streams while the block runs and, for a moment, after it."""
    try:
        async with anyio.create_task_group() as group:
            for stream, sink in ((process.stdout, order.out), (process.stderr, order.err)):
                if stream is not None and sink is not None:
                    group.start_soon(_pump, stream, sink)
            yield
            group.cancel_scope.deadline = anyio.current_time() + _DRAIN_S
    finally:
        with anyio.CancelScope(shield=True):
            await process.aclose()


async def _pump(stream: ByteReceiveStream, sink: Sink) -> None:
    try:
        async for chunk in stream:
            sink.add(chunk)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return


async def _in_job(order: Order, ending: Ending, started: Callable[[Stop], None]) -> None:
    """Windows: the job object does what the guard does elsewhere, and dies with this process."""
    if sys.platform == "win32":
        from bamboo_mcp.workspace.windows_job import Job

        with Job() as job:
            process = await _start(order.command, subprocess.DEVNULL, order)
            job.take(process.pid)
            async with _pumped(process, order):
                try:
                    # There is no asking first: what a job ends, it ends at once.
                    started(lambda grace_s: process.terminate())
                    with anyio.move_on_after(order.timeout_s) as limit:
                        ending.exit_code = await process.wait()
                    ending.timed_out = limit.cancelled_caught
                finally:
                    ending.left = job.end()
