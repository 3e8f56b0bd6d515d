"""Tool for commands: run_command, which waits for them or leaves them running."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import anyio
from msgspec import Meta

from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.domain.messages import TextBlock
from bamboo_mcp.domain.tools import ToolResult, error_result, text_result
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.tools.function import tool
from bamboo_mcp.workspace.background import BackgroundCommands
from bamboo_mcp.workspace.bounds import Bounds, shown_size
from bamboo_mcp.workspace.capture import Capture, shorten
from bamboo_mcp.workspace.commands import Finished, child_environment, run_shell
from bamboo_mcp.workspace.opening import open_door
from bamboo_mcp.workspace.roots import relative_path, root_of

MAX_TIMEOUT_S = 600
DEFAULT_TIMEOUT_S = 120
MAX_BACKGROUND_S = 24 * 3600
MAX_COMMAND_BYTES = 100_000
"""Linux takes no single argument over 128 KiB."""

_ROOM_TO_ANSWER_S = 1.0
"""How long before the call's own deadline a command is ended, so that its output still gets out."""


class ShellTools:
    """`environment` is added to the few variables a command is given anyway.

    Without `background` none can be left running.
    """

    def __init__(
        self,
        bounds: Bounds,
        environment: Mapping[str, str],
        background: BackgroundCommands | None = None,
    ) -> None:
        self._bounds = bounds
        self._environment = environment
        self._background = background

    @tool(
        title="Run command",
        group="workspace",
        effect="execute",
        open_world=True,
        timeout_s=MAX_TIMEOUT_S + 10,
    )
    async def run_command(
        self,
        context: ToolContext,
        *,
        command: Annotated[str, Meta(description="For the shell.", min_length=1)],
        timeout_s: Annotated[
            float,
            Meta(
                description="Seconds until it is ended: 120 when not given, at most 600; "
                "in the background none when not given.",
                ge=1,
                le=MAX_BACKGROUND_S,
            ),
        ]
        | None = None,
        workdir: Annotated[
            str, Meta(description="Folder to run in, inside the workspace.", max_length=4000)
        ] = ".",
        description: Annotated[
            str, Meta(description="What it is for, in a few words, for people.", max_length=500)
        ] = "",
        background: Annotated[
            bool, Meta(description="Do not wait: a server, a watcher, a long build.")
        ] = False,
    ) -> ToolResult:
        """Run a shell command in the workspace and wait for it to end.

        The answer begins with its exit code; a code other than 0 is an answer, not an error. Only a
        command that ran out of time, or could not run, is an error. There is no input to type, and
        whatever it leaves running is ended with it (so no `&`: use background). Long output keeps
        its beginning and end. With background it returns a command_id at once, for
        read_command_output and stop_command; it ends with your run at the latest. To read, find and
        change files the other tools are better.
        Example: {"command": "make test", "timeout_s": 300}
        """
        _refuse_impossible(command)
        root = root_of(context)
        if background:
            return await self._begin(command, timeout_s, root, workdir, context)
        timeout_s = DEFAULT_TIMEOUT_S if timeout_s is None else timeout_s
        if timeout_s > MAX_TIMEOUT_S:
            raise InvalidInput(
                f"timeout_s {timeout_s:g} is over {MAX_TIMEOUT_S}, the longest one call may take",
                hint="Run it with background true and look at it with read_command_output.",
            )
        limit_s = min(timeout_s, context.deadline - anyio.current_time() - _ROOM_TO_ANSWER_S)
        if limit_s <= 0:
            raise InvalidInput("no time is left in this call to run a command")
        with (
            open_door(root) as door,
            door.folder_for_child(relative_path(root, workdir)) as folder,
        ):
            finished = await run_shell(
                command,
                folder=folder,
                environment=child_environment(self._environment),
                timeout_s=limit_s,
            )
        return self._told(finished, limit_s)

    async def _begin(
        self,
        command: str,
        timeout_s: float | None,
        root: Path,
        workdir: str,
        context: ToolContext,
    ) -> ToolResult:
        if self._background is None:
            raise InvalidInput("nothing can be left running in the background here")
        with (
            open_door(root) as door,
            door.folder_for_child(relative_path(root, workdir)) as folder,
        ):
            one = await self._background.begin(command, folder, context, timeout_s=timeout_s)
        return text_result(
            f"command_id: {one.command_id}\n"
            "It runs. read_command_output shows what it writes and how it ends, stop_command ends "
            "it."
        )

    def _told(self, finished: Finished, limit_s: float) -> ToolResult:
        output = self._output(finished)
        if finished.exit_code is not None:
            return text_result(f"{_headline(finished)}\n{output}".rstrip("\n"))
        if finished.timed_out:
            failure = error_result(
                "timeout",
                f"the command was ended after {limit_s:.0f} s, with all it had started",
                hint="Its output so far follows. Give it more timeout_s, or less to do.",
                retryable=True,
            )
        else:
            failure = error_result(
                "command_lost",
                "the command's guard process was killed, perhaps by the command; it was ended",
                hint="Its output so far follows.",
            )
        return ToolResult(
            content=(*failure.content, TextBlock(text=output)),
            is_error=True,
            error_code=failure.error_code,
        )

    def _output(self, finished: Finished) -> str:
        """Both streams in the room there is; one that is short leaves its share to the other."""
        room = self._bounds.room
        out, err = finished.stdout.text(), finished.stderr.text()
        err_room = max(room // 2, room - len(out))
        err_text = shorten(err, err_room)
        out_text = shorten(out, max(room - len(err_text), room // 2))
        return _section("stdout", finished.stdout, out_text) + _section(
            "stderr", finished.stderr, err_text
        )


def _headline(finished: Finished) -> str:
    parts = [f"exit_code: {finished.exit_code}", f"{finished.duration_s:.2f} s"]
    if finished.exit_code is not None and finished.exit_code < 0:
        parts.append(f"ended by signal {-finished.exit_code}")
    if finished.left:
        parts.append(f"{finished.left} process(es) it left running were ended")
    return ", ".join(parts)


def _section(name: str, capture: Capture, text: str) -> str:
    if not capture.total:
        return ""
    cut = f", truncated from {shown_size(capture.total)}" if len(text) < capture.total else ""
    # Decoding can shorten a text too; only what was really left out is called truncated.
    cut = cut if capture.truncated or "left out ...]" in text else ""
    end = "" if text.endswith("\n") else "\n"
    return f"[{name}{cut}]\n{text}{end}"


def _refuse_impossible(command: str) -> None:
    try:
        size = len(command.encode())
    except UnicodeEncodeError:
        raise InvalidInput("'command' has half a character (a lone surrogate)") from None
    if "\0" in command:
        raise InvalidInput("'command' contains a NUL character")
    if size > MAX_COMMAND_BYTES:
        raise InvalidInput(
            f"'command' is {size} bytes long, over {MAX_COMMAND_BYTES}",
            hint="Put it into a file with write_file and run that.",
        )
