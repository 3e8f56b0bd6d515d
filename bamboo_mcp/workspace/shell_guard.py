"""Stands between the server and one shell command, and takes with it all the command started.

Run as `python -I -S shell_guard.py PROGRAM ARGUMENT...` with a socket as standard input. The
program runs in a session of its own; the guard tells `started PID`, then `exit CODE LEFT` (CODE is
negative for a signal, LEFT counts the other processes it had to end). When the socket closes,
because the call was given up or because the server is gone (kill -9 included), on SIGTERM, or when
it reads `stop SECONDS`, the guard ends all of them: SIGTERM, a grace, SIGKILL. The grace is short,
or those seconds while the server is there to have asked for them.

On Linux the guard is a child subreaper, so whatever daemonises itself below it stays its child,
and "no child left" means nobody is left. Elsewhere it ends the process group and the descendants it
can see; a process that left both (setsid and a double fork) is missed.

Standard library only, and little of it: each import is start-up time of each command.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

assert sys.platform != "win32"

GRACE_S = 0.3
GIVE_UP_S = 5.0
"""A process in the kernel's hands, or another user's, cannot be ended; then say so and go."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_CANNOT_START = 127


class Guard:
    """Owns one command from its start to the end of its last descendant."""

    def __init__(self, control: int) -> None:
        self._control = control
        self._wake, wake_end = os.pipe()
        os.set_blocking(wake_end, False)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda number, frame: None)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        self._program = 0
        self._status: int | None = None
        self._grace_s = GRACE_S

    def run(self, arguments: list[str]) -> None:
        prctl = become_subreaper()
        self._program = self._start(arguments, prctl)
        self._tell(f"started {self._program}\n")
        while self._status is None and not self._told_to_stop(None):
            self._reap()
        left = self._end_all()
        status = -signal.SIGKILL if self._status is None else self._status
        self._tell(f"exit {status} {left}\n")

    def _start(self, arguments: list[str], prctl: object) -> int:
        guard = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        try:
            os.setsid()
            for number in range(1, 32):
                # Ignored signals would stay ignored in the command.
                if number not in (signal.SIGKILL, signal.SIGSTOP):
                    signal.signal(number, signal.SIG_DFL)
            if callable(prctl):
                prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                if os.getppid() != guard:
                    os._exit(_CANNOT_START)
            os.execvp(arguments[0], arguments)
        except OSError as error:
            os.write(2, f"cannot start {arguments[0]!r}: {error.strerror}\n".encode())
        finally:
            os._exit(_CANNOT_START)

    def _tell(self, line: str) -> None:
        try:
            os.write(self._control, line.encode())
        except OSError:
            pass  # the server is gone; nobody is there to be told

    def _told_to_stop(self, timeout_s: float | None) -> bool:
        """Wait for something to happen; True when it is a word from the server, or SIGTERM."""
        ready, _, _ = select.select([self._control, self._wake], [], [], timeout_s)
        told = self._control in ready
        if told:
            self._hear()
        if self._wake in ready and signal.SIGTERM in os.read(self._wake, 512):
            self._grace_s = GRACE_S
            return True
        return told

    def _hear(self) -> None:
        """What the server says: how long a grace to give, or, by hanging up, the short one."""
        try:
            words = os.read(self._control, 512).split()
            self._grace_s = float(words[-1])
        except (OSError, IndexError, ValueError):
            self._grace_s = GRACE_S

    def _reap(self) -> bool:
        """Take leave of the dead; True while a child lives."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._program:
                self._status = os.waitstatus_to_exitcode(status)

    def _end_all(self) -> int:
        """End every descendant; how many there were besides the program itself."""
        if sys.platform == "linux" and not self._reap():
            return 0
        below = self._living()
        left = len(below - {self._program})
        send(below, signal.SIGTERM)
        send(below, signal.SIGCONT)  # a stopped process takes its SIGTERM only when it goes on
        began = time.monotonic()
        while self._remain(below) and (rest := began + self._grace_s - time.monotonic()) > 0:
            select.select([self._wake], [], [], min(rest, 0.02))
            # Asked again, now with force, or hung up on: the long grace was for one who waits.
            if self._grace_s > GRACE_S and select.select([self._control], [], [], 0)[0]:
                self._hear()
        give_up = time.monotonic() + GIVE_UP_S
        while self._remain(below) and time.monotonic() < give_up:
            below |= self._living()
            send(below if sys.platform != "linux" else self._living(), signal.SIGKILL)
            select.select([self._wake], [], [], 0.002)
            self._drain()
        return left

    def _remain(self, below: set[int]) -> bool:
        self._drain()
        children = self._reap()
        if sys.platform == "linux":
            return children
        return children or any(is_alive(pid) for pid in below)

    def _drain(self) -> None:
        if select.select([self._wake], [], [], 0)[0]:
            os.read(self._wake, 512)

    def _living(self) -> set[int]:
        if sys.platform == "linux":
            return descendants(os.getpid(), processes_of_linux())
        return descendants(os.getpid(), processes_by_ps(), self._program)


def become_subreaper() -> object:
    """`prctl` when there is one."""
    if sys.platform != "linux":
        return None
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return prctl


def processes_of_linux() -> list[tuple[int, int, int]]:
    """(pid, parent, group) of every process that is not dead yet."""
    found: list[tuple[int, int, int]] = []
    for name in os.listdir("/proc"):  # noqa: PTH208 (pathlib would double the start-up time)
        if not name.isdigit():
            continue
        try:
            descriptor = os.open(f"/proc/{name}/stat", os.O_RDONLY)
        except OSError:
            continue
        try:
            line = os.read(descriptor, 1024)
        except OSError:
            continue
        finally:
            os.close(descriptor)
        # The name of the program comes in brackets and may itself contain blanks and brackets.
        state, parent, group = line[line.rindex(b")") + 2 :].split()[:3]
        if state not in (b"Z", b"X"):
            found.append((int(name), int(parent), int(group)))
    return found


def processes_by_ps() -> list[tuple[int, int, int]]:
    with os.popen("/bin/ps -axo pid=,ppid=,pgid=,stat=") as listing:
        rows = [line.split() for line in listing]
    return [(int(a), int(b), int(c)) for a, b, c, state in rows if not state.startswith("Z")]


def descendants(
    ancestor: int, processes: list[tuple[int, int, int]], group: int | None = None
) -> set[int]:
    """Everybody below `ancestor`, and whoever is in `group`."""
    children: dict[int, list[int]] = {}
    for pid, parent, _ in processes:
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    todo = [ancestor]
    if group is not None:
        found = {pid for pid, _, its_group in processes if its_group == group}
        todo += found
    while todo:
        for child in children.get(todo.pop(), ()):
            if child not in found:
                found.add(child)
                todo.append(child)
    return found - {ancestor}


def send(pids: set[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            continue  # gone meanwhile, or another user's


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def main() -> None:
    control = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    guard = Guard(control)
    guard.run(sys.argv[1:])


if __name__ == "__main__":
    main()
