"""Tools for commands in the background: read_command_output, stop_command."""

from __future__ import annotations

from typing import Annotated

import anyio
from msgspec import Meta

from bamboo_mcp.ports import ToolContext
from bamboo_mcp.tools.function import tool
from bamboo_mcp.workspace.background import STOP_GRACE_S, BackgroundCommand, BackgroundCommands
from bamboo_mcp.workspace.bounds import Bounds

DEFAULT_PAGE_BYTES = 16_000
_ROOM_TO_ANSWER_S = 1.0
_AGENT_WAIT_S = 240.0
"""An agent's calls may take longer than a client's, and it may not repeat one many times."""

CommandIdArgument = Annotated[str, Meta(description="cmd_…, from run_command.", min_length=1)]


class CommandTools:
    """What can be done with a command after the call that started it."""

    def __init__(
        self, bounds: Bounds, background: BackgroundCommands, max_wait_s: float = 45.0
    ) -> None:
        self._bounds = bounds
        self._background = background
        self._max_wait_s = max_wait_s

    @tool(
        title="Read command output",
        group="workspace",
        effect="read",
        timeout_s=_AGENT_WAIT_S + 10,
    )
    async def read_command_output(
        self,
        context: ToolContext,
        *,
        command_id: CommandIdArgument,
        offset: Annotated[
            int, Meta(description="Byte to read from, negative from the end; see next_offset.")
        ] = 0,
        limit: Annotated[
            int, Meta(description="At most so many bytes.", ge=100, le=10_000_000)
        ] = DEFAULT_PAGE_BYTES,
        wait_s: Annotated[
            float, Meta(description="Wait so long for something new.", ge=0, le=_AGENT_WAIT_S)
        ] = 0,
    ) -> str:
        """Read what a background command has written, and whether it still runs.

        Give the next_offset of the answer before as offset to read only what is new; with wait_s it
        waits until there is something and it pauses, or until the command ends, instead of asking
        again and again. A negative offset shows the end: -2000 the last 2000 bytes. Both streams
        come in the order they were written. Of a very long output the middle is not kept, which is
        said where it is missing. Returns the exit code once it has ended.
        Example: {"command_id": "cmd_1f…", "offset": 512, "wait_s": 20}
        """
        one = self._background.find(command_id, context)
        limit = min(limit, self._bounds.room)
        most = self._max_wait_s if context.run_id is None else _AGENT_WAIT_S
        longest = min(most, context.deadline - anyio.current_time()) - _ROOM_TO_ANSWER_S
        if wait_s > 0 and longest > 0:
            await one.output.news(offset, limit, min(wait_s, longest))
        return _page_text(one, offset, limit)

    @tool(
        title="Stop command", group="workspace", effect="control", destructive=True, idempotent=True
    )
    async def stop_command(
        self,
        context: ToolContext,
        *,
        command_id: CommandIdArgument,
        force: Annotated[bool, Meta(description="Kill at once, without asking first.")] = False,
    ) -> str:
        """End a background command of yours, with every process it started.

        They are asked to end (SIGTERM) and killed after 5 seconds; with force they are killed right
        away. What it wrote can still be read. Returns how it ended; one that had ended already is
        no error.
        Example: {"command_id": "cmd_1f…"}
        """
        one = self._background.find(command_id, context)
        room_s = context.deadline - anyio.current_time() - 2 * _ROOM_TO_ANSWER_S
        grace_s = 0.0 if force else max(0.0, min(STOP_GRACE_S, room_s))
        was_running = one.running
        await self._background.stop(one, grace_s=grace_s)
        head = "" if was_running else "It had ended already. "
        return f"{head}{one.command_id}: {one.state()}\n{one.output.total} bytes of output"


def _page_text(one: BackgroundCommand, offset: int, limit: int) -> str:
    page = one.output.page(offset, limit)
    lines = [
        f"{one.command_id}: {one.state()}",
        f"output: bytes {page.start} to {page.end} of {page.total}, next_offset: {page.end}",
    ]
    if page.skipped:
        lines.append(f"[{page.skipped} bytes before that were not kept]")
    return "\n".join(lines) + f"\n{page.text}" if page.text else "\n".join(lines)
