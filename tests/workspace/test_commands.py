from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

from bamboo_mcp.domain.tools import ToolResult
from bamboo_mcp.workspace.capture import Capture, shorten
from bamboo_mcp.workspace.tools import workspace_tools
from tests.workspace.harness import Workspace, until

if sys.platform == "win32":
    pytest.skip("commands of a POSIX shell", allow_module_level=True)

# A child, one in a session of its own, one that daemonised (its parent has gone), and one that
# does not care for SIGTERM: each notes its process id.
FAMILY = """
note() { echo $BASHPID >> pids; exec sleep 300; }
(note) &
setsid bash -c 'echo $$ >> pids; exec sleep 300' &
(setsid bash -c '(echo $BASHPID >> pids; exec sleep 300) & exit' &)
bash -c 'trap "" TERM; echo $$ >> pids; while :; do sleep 300; done' &
"""
FAMILY_SIZE = 4


def pids(root: Path) -> list[int]:
    try:
        return [int(line) for line in (root / "pids").read_text(encoding="utf-8").split()]
    except FileNotFoundError:
        return []


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def family_is_complete(root: Path) -> bool:
    return len(pids(root)) == FAMILY_SIZE


def family_is_gone(root: Path) -> bool:
    assert family_is_complete(root)
    return not any(is_there(pid) for pid in pids(root))


async def test_exit_code_and_both_streams_are_told(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    result = await workspace.call("run_command", command="echo out; echo err >&2; exit 3")
    assert not result.is_error
    head, *rest = result.text.split("\n")
    assert head.startswith("exit_code: 3, ")
    assert rest == ["[stdout]", "out", "[stderr]", "err"]
    silent = await workspace.text("run_command", command="true", description="nothing")
    assert silent.startswith("exit_code: 0, ")
    assert "\n" not in silent


async def test_a_signal_and_an_unknown_command_are_normal_answers(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert "ended by signal 9" in await workspace.text("run_command", command="kill -9 $$")
    text = await workspace.text("run_command", command="no-such-program-anywhere")
    assert text.startswith("exit_code: 127")


async def test_it_runs_in_the_folder_asked_for(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    (workspace.root / "sub dir").mkdir()
    text = await workspace.text("run_command", command="pwd", workdir="sub dir")
    assert str(workspace.root / "sub dir") in text
    assert "does not exist" in await workspace.failure("run_command", command="pwd", workdir="no")


async def test_there_is_no_input_to_wait_for(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with anyio.fail_after(10):
        text = await workspace.text("run_command", command="cat; read x || echo none")
    assert text.endswith("none")


async def test_a_command_sees_no_secret_of_ours_and_what_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "planted-secret")
    monkeypatch.setenv("LD_PLANTED", "planted-secret")
    monkeypatch.setenv("LC_ALL", "C")
    workspace = Workspace(tmp_path, workspace_tools(environment={"GIVEN": "yes"}))
    text = await workspace.text(
        "run_command", command="env; tr '\\0' '\\n' < /proc/$PPID/environ 2>&1; ls /proc/self/fd"
    )
    assert "planted-secret" not in text
    assert "GIVEN=yes" in text
    assert "LC_ALL=C" in text
    assert "PATH=" in text


async def test_what_cannot_be_a_command_is_refused(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert "NUL" in await workspace.failure("run_command", command="a\0b")
    assert "half a character" in await workspace.failure("run_command", command="\ud800")
    assert "write_file" in await workspace.failure("run_command", command="x" * 100_001)
    assert "600" in await workspace.failure("run_command", command="true", timeout_s=601)


async def test_what_a_command_leaves_running_is_ended_and_said(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    wait = f"until [ $(wc -l < pids) = {FAMILY_SIZE} ]; do sleep 0.01; done"
    with anyio.fail_after(10):
        text = await workspace.text("run_command", command=f"touch pids; {FAMILY}{wait}; echo done")
    assert "it left running were ended" in text
    assert "done" in text
    assert family_is_gone(workspace.root)


async def test_at_the_time_limit_the_whole_family_is_ended_and_the_output_kept(
    tmp_path: Path,
) -> None:
    workspace = Workspace(tmp_path)
    with anyio.fail_after(10):
        result = await workspace.call(
            "run_command", command=f"echo begun; {FAMILY} sleep 300", timeout_s=2
        )
    assert result.is_error
    assert result.error_code == "timeout"
    assert "begun" in result.text
    assert family_is_gone(workspace.root)


async def test_the_deadline_of_the_call_counts_too(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.context = replace(workspace.context, deadline=anyio.current_time() + 1.3)
    with anyio.fail_after(5):
        result = await workspace.call("run_command", command="sleep 300")
    assert result.error_code == "timeout"


async def test_a_cancelled_call_ends_the_whole_family_before_it_returns(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:

            async def run() -> None:
                await workspace.call("run_command", command=f"{FAMILY} sleep 300")

            group.start_soon(run)
            await until(lambda: family_is_complete(workspace.root))
            group.cancel_scope.cancel()
    assert family_is_gone(workspace.root)


HOST = """
import sys, anyio
from pathlib import Path
from tests.workspace.harness import Workspace

async def main():
    workspace = Workspace(Path(sys.argv[1]))
    await workspace.call("run_command", command=sys.argv[2])

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
        await until(lambda: family_is_complete(root), timeout_s=10)
        host.send_signal(how)
        await until(lambda: family_is_gone(root))


async def test_a_command_that_kills_its_guard_is_still_ended(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with anyio.fail_after(10):
        result = await workspace.call(
            "run_command", command="echo $$ > pid; kill -9 $PPID; sleep 300"
        )
        assert result.error_code == "command_lost"
        pid = int((workspace.root / "pid").read_text(encoding="utf-8"))
        await until(lambda: not is_running(pid))


def is_running(pid: int) -> bool:
    """Not gone, and not a zombie that nobody here can take leave of."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return is_there(pid) and sys.platform != "linux"
    return line.rpartition(")")[2].split()[0] != "Z"


async def test_a_command_that_closes_its_output_is_waited_for(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with anyio.fail_after(10):
        text = await workspace.text(
            "run_command", command="exec >&- 2>&-; sleep 0.2; touch late; exit 5"
        )
    assert text.startswith("exit_code: 5")
    assert (workspace.root / "late").exists()


async def test_a_hundred_megabytes_of_output_cost_no_memory(tmp_path: Path) -> None:
    import resource

    workspace = Workspace(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with anyio.fail_after(20):
        text = await workspace.text(
            "run_command", command="echo first; head -c 100000000 /dev/zero | tr '\\0' x; echo last"
        )
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * (1 if sys.platform == "darwin" else 1024) < 32 * 1024 * 1024
    assert len(text) <= 40_000
    assert "[stdout, truncated from 95.4 MiB]\nfirst" in text
    assert text.endswith("xlast")


async def test_both_streams_share_the_room_of_an_answer(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, workspace_tools(max_result_chars=4000))
    text = await workspace.text("run_command", command="seq 5000; seq 5000 >&2")
    assert len(text) <= 4000
    assert text.count("left out") == 2
    text = await workspace.text("run_command", command="seq 5000; echo short >&2")
    assert len(text) <= 4000
    assert "5000\n[stderr]\nshort" in text


async def test_many_commands_at_once_do_not_mix(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    results: dict[int, ToolResult] = {}

    async def run(number: int) -> None:
        results[number] = await workspace.call(
            "run_command", command=f"echo {number}; exit {number}"
        )

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for number in range(12):
                group.start_soon(run, number)
    for number, result in results.items():
        assert result.text.startswith(f"exit_code: {number}, ")
        assert result.text.endswith(f"\n{number}")


def test_a_capture_keeps_both_ends_and_counts_the_rest() -> None:
    capture = Capture(limit=10)
    for chunk in (b"abc", b"defghi", b"", b"jklmnopqrstuvwxyz"):
        capture.add(chunk)
    assert capture.total == 26
    assert capture.left_out == 16
    assert capture.text() == "abcde\n[... 16 bytes not kept ...]\nvwxyz"
    whole = Capture(limit=10)
    whole.add(b"0123456789")
    assert not whole.truncated
    assert whole.text() == "0123456789"


@pytest.mark.parametrize("text", ["x" * 1000, "line\n" * 200, "\n" * 1000, "a\n" + "b" * 998])
def test_a_shortened_text_keeps_both_ends_and_says_what_is_missing(text: str) -> None:
    short = shorten(text, 100)
    assert len(short) < 200
    assert "left out" in short
    assert shorten(text, 1000) == text
