from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from bamboo_mcp.domain.ids import RunId, SubagentId
from bamboo_mcp.workspace.background import BackgroundCommand, BackgroundCommands
from bamboo_mcp.workspace.tools import workspace_tools
from tests.workspace.harness import Workspace, until
from tests.workspace.test_commands import (
    FAMILY,
    family_is_complete,
    family_is_gone,
    is_running,
    is_there,
    pids,
)

if sys.platform == "win32":
    pytest.skip("commands of a POSIX shell", allow_module_level=True)


class Yard(Workspace):
    """A workspace whose commands may run on, and which ended."""

    commands: BackgroundCommands
    ended: list[BackgroundCommand]
    stop_server: Callable[[], None]

    async def begin(self, command: str, **more: Any) -> str:
        text = await self.text("run_command", command=command, background=True, **more)
        found = re.match(r"command_id: (cmd_[0-9a-f]{32})\n", text)
        assert found, text
        return found[1]

    async def read(self, command_id: str, **more: Any) -> str:
        return await self.text("read_command_output", command_id=command_id, **more)

    async def all_of(self, command_id: str) -> str:
        """The last answer, once it has ended."""
        while "running" in (text := await self.read(command_id, offset=-2000, wait_s=10)):
            pass
        return text

    def as_caller(self, subagent: str, run: str | None = None) -> Yard:
        other = Yard(self.root.parent, self.executor)
        other.commands, other.ended = self.commands, self.ended
        other.context = replace(
            self.context, subagent_id=SubagentId(subagent), run_id=RunId(run) if run else None
        )
        return other


@asynccontextmanager
async def yard(tmp_path: Path, **settings: Any) -> AsyncIterator[Yard]:
    """Leaving it is what the end of a server is."""
    ended: list[BackgroundCommand] = []
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            commands = BackgroundCommands(group.start, on_end=ended.append, **settings)
            tools = workspace_tools(ripgrep=None, background=commands)
            made = Yard(tmp_path, tools)
            made.commands, made.ended = commands, ended
            made.stop_server = group.cancel_scope.cancel
            try:
                yield made
            finally:
                group.cancel_scope.cancel()


async def test_it_is_read_while_it_runs_and_after_it_ended(tmp_path: Path) -> None:
    async with yard(tmp_path) as place:
        one = await place.begin("echo first; until [ -e go ]; do sleep 0.01; done; echo last >&2")
        text = await place.read(one, wait_s=10)
        assert re.fullmatch(
            one + r": running for [\d.]+ s\noutput: bytes 0 to 6 of 6, next_offset: 6\nfirst\n",
            text,
        )
        assert (await place.read(one, offset=6)).endswith("next_offset: 6")
        (place.root / "go").touch()
        text = await place.read(one, offset=6, wait_s=10)
        assert text.endswith("\nlast\n")
        text = await place.all_of(one)
        assert re.match(one + r": exit_code: 0, ended after [\d.]+ s\n", text)
        assert text.endswith("first\nlast\n")
        assert [ended.cause for ended in place.ended] == ["itself"]


async def test_an_exit_code_and_a_signal_are_told(tmp_path: Path) -> None:
    async with yard(tmp_path) as place:
        assert "exit_code: 7," in await place.all_of(await place.begin("exit 7"))
        assert "by signal 9" in await place.all_of(await place.begin("kill -9 $$"))


async def test_a_time_limit_counts_in_the_background_too(tmp_path: Path) -> None:
    async with yard(tmp_path) as place:
        text = await place.all_of(await place.begin(f"{FAMILY} sleep 300", timeout_s=2))
        assert "it ran out of its timeout_s" in text
        assert family_is_gone(place.root)


async def test_stopping_ends_the_whole_family_also_who_ignores_sigterm(tmp_path: Path) -> None:
    async with yard(tmp_path) as place:
        one = await place.begin(f"{FAMILY} sleep 300")
        await until(lambda: family_is_complete(place.root))
        text = await place.text("stop_command", command_id=one, force=True)
        assert "stopped by stop_command" in text
        assert "other process(es)" in text
        assert family_is_gone(place.root)
        again = await place.text("stop_command", command_id=one)
        assert again.startswith("It had ended already. ")
        assert place.ended[0].cause == "stopped"


async def test_one_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    async with yard(tmp_path) as place:
        one = await place.begin("trap 'echo no' TERM; echo ready; while :; do sleep 0.05; done")
        await place.read(one, wait_s=10)
        place.context = replace(place.context, deadline=anyio.current_time() + 3)
        text = await place.text("stop_command", command_id=one)
        assert "exit_code: -9" in text
        assert "\nno\n" in await place.read(one)


async def test_one_that_needs_a_moment_to_end_gets_it(tmp_path: Path) -> None:
    async with yard(tmp_path) as place:
        one = await place.begin(
            "trap 'sleep 0.8; echo saved; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
        )
        await place.read(one, wait_s=10)
        text = await place.text("stop_command", command_id=one)
        assert "exit_code: 3" in text
        assert "saved" in await place.read(one)


async def test_force_shortens_a_stop_that_is_under_way(tmp_path: Path) -> None:
    async with yard(tmp_path) as place:
        one = await place.begin("trap 'echo no' TERM; echo ready; while :; do sleep 0.05; done")
        await place.read(one, wait_s=10)
        with anyio.fail_after(4):
            async with anyio.create_task_group() as group:

                async def gently() -> None:
                    await place.text("stop_command", command_id=one)

                group.start_soon(gently)
                while "\nno\n" not in await place.read(one, wait_s=1):
                    pass
                assert "exit_code: -9" in await place.text(
                    "stop_command", command_id=one, force=True
                )


async def test_a_hundred_megabytes_keep_both_ends_and_cost_no_memory(tmp_path: Path) -> None:
    import resource

    async with yard(tmp_path) as place:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        one = await place.begin(
            "echo begin; head -c 100000000 /dev/zero | tr '\\0' 'x' | fold -w 80; echo; echo end"
        )
        text = await place.all_of(one)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown * (1 if sys.platform == "darwin" else 1024) < 32 * 1024 * 1024
        assert text.endswith("x\nend\n")
        assert (await place.read(one)).count("begin\nxxx") == 1
        missing = await place.read(one, offset=1_000_000, limit=1000)
        assert re.search(r"\[\d{8} bytes before that were not kept\]\nx", missing)


async def test_twenty_at_once_do_not_mix_and_one_more_is_refused(tmp_path: Path) -> None:
    async with yard(tmp_path, max_running=20) as place:
        wait = "until [ -e go ]; do sleep 0.05; done"
        ids = [await place.begin(f"echo {n}; {wait}; exit {n}") for n in range(20)]
        assert len(set(ids)) == 20
        refused = await place.failure("run_command", command="true", background=True)
        assert "20 background commands of yours run" in refused
        assert "stop_command" in refused
        assert ids[0] in refused
        elsewhere = place.as_caller("sub_other")
        await elsewhere.begin("true")  # each has its own share
        (place.root / "go").touch()
        for number, one in enumerate(ids):
            text = await place.all_of(one)
            assert f": exit_code: {number}," in text
            assert text.endswith(f"\n{number}\n")


async def test_calls_side_by_side_do_not_get_past_the_bound(tmp_path: Path) -> None:
    async with yard(tmp_path, max_running=3) as place:
        refused: list[bool] = []

        async def begin() -> None:
            result = await place.call("run_command", command="sleep 300", background=True)
            refused.append(result.error_code == "limit_reached")

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(begin)
        assert sorted(refused) == [False] * 3 + [True] * 5


async def test_with_a_bound_of_none_none_is_left_running(tmp_path: Path) -> None:
    async with yard(tmp_path, max_running=0) as place:
        assert "no more may" in await place.failure("run_command", command="ls", background=True)
    alone = Workspace(tmp_path)
    assert "background" in await alone.failure("run_command", command="ls", background=True)
    names = [spec.name for spec in await alone.executor.list_tools()]
    assert "stop_command" not in names


async def test_nobody_sees_or_stops_what_another_started(tmp_path: Path) -> None:
    async with yard(tmp_path) as place:
        one = await place.begin("sleep 300")
        for stranger in (place.as_caller("sub_a"), place.in_session("ses_two")):
            for tool in ("read_command_output", "stop_command"):
                said = await stranger.failure(tool, command_id=one)
                assert "You have started none" in said
        said = await place.failure("stop_command", command_id="cmd_none")
        assert f"Yours: {one} 'sleep 300'" in said
        assert "running" in await place.read(one)


async def test_a_command_ends_with_its_run_and_no_other_does(tmp_path: Path) -> None:
    async with yard(tmp_path) as place:
        mine, others = place.as_caller("sub_a", "run_a"), place.as_caller("sub_b", "run_b")
        one = await mine.begin(f"echo out; {FAMILY} sleep 300")
        two = await others.begin("sleep 300")
        direct = await place.begin("sleep 300")
        await until(lambda: family_is_complete(place.root))
        (line,) = await place.commands.end_run(RunId("run_a"))
        assert line.startswith(f"background command {one} 'echo out; ")
        assert line.endswith("was stopped: the run ended")
        assert family_is_gone(place.root)
        assert "stopped because its run ended" in await mine.read(one)
        assert [ended.cause for ended in place.ended] == ["run_ended"]
        assert "running" in await others.read(two)
        assert "running" in await place.read(direct)
        assert await place.commands.end_run(RunId("run_a")) == []


async def test_the_end_of_the_server_ends_them_all(tmp_path: Path) -> None:
    async with yard(tmp_path) as place:
        await place.begin(f"{FAMILY} sleep 300")
        await place.begin("sleep 300")
        await until(lambda: family_is_complete(place.root))
    assert family_is_gone(place.root)
    assert [ended.cause for ended in place.ended] == ["server_stopped"] * 2


async def test_a_cancelled_start_is_finished_and_ended_with_its_run(tmp_path: Path) -> None:
    async with yard(tmp_path) as place:
        mine = place.as_caller("sub_a", "run_a")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await mine.begin("sleep 300")
        lines = await place.commands.end_run(RunId("run_a"))
        assert len(lines) <= 1
        assert all(ended.cause == "run_ended" for ended in place.ended)


async def test_one_begun_while_the_server_stops_is_ended_like_the_others(tmp_path: Path) -> None:
    async with yard(tmp_path) as place:
        place.stop_server()
        with anyio.CancelScope(shield=True):
            await place.begin(f"{FAMILY} sleep 300")
    assert [ended.cause for ended in place.ended] == ["server_stopped"]
    assert not any(is_there(pid) for pid in pids(place.root))


async def test_one_that_kills_its_guard_is_ended_and_said_to_be_lost(tmp_path: Path) -> None:
    async with yard(tmp_path) as place:
        one = await place.begin("echo $$ > pid; kill -9 $PPID; sleep 300")
        assert "its guard process was killed" in await place.all_of(one)
        pid = int((place.root / "pid").read_text(encoding="utf-8"))
        await until(lambda: not is_running(pid))


async def test_output_of_the_last_ones_is_kept_and_the_oldest_goes_first(tmp_path: Path) -> None:
    from bamboo_mcp.workspace import background

    async with yard(tmp_path) as place:
        first = await place.begin("echo first")
        await place.all_of(first)
        for _ in range(background._KEPT):
            last = await place.begin("echo x")
            await place.all_of(last)
        assert "not kept any more" in await place.failure("read_command_output", command_id=first)
        assert (await place.read(last)).endswith("x\n")


async def test_what_cannot_be_run_is_refused_and_takes_no_place(tmp_path: Path) -> None:
    async with yard(tmp_path, max_running=1) as place:
        said = await place.failure("run_command", command="ls", workdir="no", background=True)
        assert "does not exist" in said
        said = await place.failure("run_command", command="ls", timeout_s=601)
        assert "600" in said
        assert "background" in said
        await place.begin("sleep 300", timeout_s=3600)


HOST = """
import sys, anyio
from pathlib import Path
from tests.workspace.test_background import yard

async def main():
    async with yard(Path(sys.argv[1])) as place:
        await place.begin(sys.argv[2])
        await anyio.sleep_forever()

anyio.run(main)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_when_the_server_is_killed_the_whole_family_goes_with_it(
    tmp_path: Path, how: signal.Signals
) -> None:
    root = tmp_path / "root"
    repository = Path(__file__).parents[2]
    async with await anyio.open_process(
        [sys.executable, "-c", HOST, str(tmp_path), f"{FAMILY} sleep 300"],
        env={**os.environ, "PYTHONPATH": str(repository)},
        cwd=repository,
        stdin=subprocess.DEVNULL,
    ) as host:
        await until(lambda: family_is_complete(root), timeout_s=15)
        host.send_signal(how)
        await until(lambda: family_is_gone(root))
