"""Keys that a command writes: run without a shell, bounded, its output never shown.

Loaded when such a key is first needed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from bamboo_mcp.domain.errors import SettingsError
from bamboo_mcp.settings.paths import expanded

WITHIN_S = 10.0
MAX_BYTES = 16_384

_GONE_WITHIN_S = 2.0


def command_output(
    words: Sequence[str], environ: Mapping[str, str], *, within_s: float = WITHIN_S
) -> str:
    """What the command writes to its standard output. Blocks; call it in a thread.

    It has no standard input, no terminal and no shell, and runs in the home folder of the user:
    where a client starts the server is nobody's choice. What it writes to standard error is thrown
    away, since that may hold a secret as well.

    Raises:
        SettingsError: It cannot be started, fails, takes too long, or writes too much or no text.
    """
    shown = repr(shown_command(words))
    until = time.monotonic() + within_s
    process = _started(words, environ)
    assert process.stdout is not None
    written: list[bytes] = []
    reader = threading.Thread(target=_read, args=(process.stdout, written), daemon=True)
    reader.start()
    try:
        reader.join(within_s)
        output = b"".join(written)
        if reader.is_alive():
            raise _too_slow(shown, within_s)
        if len(output) > MAX_BYTES:
            raise SettingsError(
                f"{shown} wrote more than {MAX_BYTES:,} bytes",
                hint="It must write the key and nothing else to its standard output.",
            )
        process.wait(max(0.1, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise _too_slow(shown, within_s) from None
    finally:
        _end(process)
    if process.returncode != 0:
        raise SettingsError(
            f"{shown} {_ending(process.returncode)}", hint="Run it in a terminal to see why."
        )
    try:
        return output.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError(f"what {shown} wrote is not text") from None


def shown_command(words: Sequence[str]) -> str:
    """The command for messages: its arguments may hold what is nobody's business."""
    return f"cmd:{words[0]}{' ...' if len(words) > 1 else ''}"


def _started(words: Sequence[str], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    home = expanded(Path("~"))
    try:
        return subprocess.Popen(
            [_program(words, environ), *words[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environ),
            cwd=home if home.is_dir() else None,
            **_own_group(),
        )
    except OSError as error:
        raise SettingsError(
            f"{shown_command(words)!r} cannot be started: {error.strerror or error}",
            hint="Is it a program, and may you run it?",
        ) from error


def _program(words: Sequence[str], environ: Mapping[str, str]) -> str:
    program = expanded(Path(words[0]))
    if program.is_absolute():
        return str(program)
    found = shutil.which(words[0], path=environ.get("PATH", os.defpath))
    # A relative one would lie in the folder the server was started in: anybody's project.
    if found is None or not Path(found).is_absolute():
        raise SettingsError(
            f"{shown_command(words)!r}: there is no such program on the PATH of this process",
            hint="Write its whole path: many MCP clients start servers with a short PATH.",
        )
    return found


def _own_group() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def _read(stream: IO[bytes], written: list[bytes]) -> None:
    with stream:
        written.append(stream.read(MAX_BYTES + 1))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the command and what it started, unless it has ended by itself."""
    if process.returncode is not None:
        return
    try:
        if sys.platform == "win32":
            tree = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
            quiet = subprocess.DEVNULL
            subprocess.run(
                tree, stdin=quiet, stdout=quiet, stderr=quiet, timeout=_GONE_WITHIN_S, check=False
            )
        else:
            # Not yet waited for, so the number is still this group's.
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(_GONE_WITHIN_S)
    except (OSError, subprocess.TimeoutExpired):
        process.kill()


def _too_slow(shown: str, within_s: float) -> SettingsError:
    return SettingsError(
        f"{shown} did not end within {within_s:g} s and was ended",
        hint="It has no terminal to ask on: log in or unlock what it needs, then try again.",
    )


def _ending(code: int) -> str:
    return f"ended with exit code {code}" if code > 0 else f"was ended by signal {-code}"
