"""A thousand subagents at once, whose model answers after 50 ms, against a bare asyncio loop."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias, cast

import anyio
import msgspec

from bamboo_mcp.cli.collector import settle
from bamboo_mcp.domain.ids import LOCAL
from bamboo_mcp.domain.subagents import SubagentSpec
from tests.benchmarks.doubles import BenchModel, open_bench
from tests.benchmarks.pairing import Row, row, take_turns

CHILDREN = 1000
DELAY_S = 0.05
KB_TARGET = 25.0
WRITES = 4
"""Appends to a journal in the short life of such a child, about."""

Keep: TypeAlias = Literal["memory", "process", "turn"]


def bare() -> float:
    """Seconds that as many asyncio tasks take which only wait for their answer."""

    async def child(task: str) -> list[str]:
        history = [task]
        await asyncio.sleep(DELAY_S)
        history.append("done")
        return history

    async def parent() -> float:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            children = [group.create_task(child(f"task {n}")) for n in range(CHILDREN)]
        assert all(task.result()[-1] == "done" for task in children)
        return time.perf_counter() - began

    return asyncio.run(parent())


def bare_files(room: str) -> float:
    """Seconds that the disk takes for the least a crowd on disk needs: two folders and two files a
    child, a few small writes each; added to a bare crowd. Tells a slow disk from slow code.
    """
    home = tempfile.mkdtemp(dir=room)
    took = bare()
    began = time.perf_counter()
    for kind in ("sessions", "runs"):
        for n in range(CHILDREN):
            folder = f"{home}/{kind}-{n}"
            os.mkdir(folder, 0o700)  # noqa: PTH102 (the floor pays for no pathlib)
            fd = os.open(f"{folder}/journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            for _ in range(WRITES):
                os.write(fd, b"x" * 200)
            os.close(fd)
    return took + time.perf_counter() - began


@dataclass(frozen=True, slots=True, kw_only=True)
class OurCrowd:
    """Seconds from the first spawn until all have been awaited. A new process a measurement."""

    keep: Keep
    room: str

    def __call__(self) -> float:
        return self.measured()["seconds"]

    def measured(self) -> dict[str, float]:
        home = tempfile.mkdtemp(dir=self.room)
        command = (sys.executable, "-m", "tests.benchmarks.crowd", self.keep, home)
        done = subprocess.run(command, capture_output=True, check=False, timeout=300)
        if done.returncode:
            raise RuntimeError(done.stderr.decode(errors="replace"))
        return msgspec.json.decode(done.stdout, type=dict[str, float])


async def spawn_and_wait(keep: Keep, home: Path) -> dict[str, float]:
    model = BenchModel(delay_s=DELAY_S)
    durability = None if keep == "memory" else keep
    async with open_bench(model, home, durability=durability, concurrent=CHILDREN) as (app, _):
        # One before the others: what is loaded and compiled once is not a thousandth of a child.
        first = await app.subagents.spawn(SubagentSpec(task="warm up"))
        await app.subagents.wait([first.subagent_id], caller=LOCAL)
        settle()  # as every server and run of ours does when it is ready
        before = peak_kb()
        began = time.perf_counter()
        children = [
            await app.subagents.spawn(SubagentSpec(task=f"task {n}")) for n in range(CHILDREN)
        ]
        spawned = time.perf_counter() - began
        result = await app.subagents.wait([one.subagent_id for one in children], caller=LOCAL)
        took = time.perf_counter() - began
        assert result.done
        assert all(one.status == "completed" for one in result.subagents)
        kb_each = (peak_kb() - before) / CHILDREN
    return {"seconds": took, "spawned": spawned, "kb_each": kb_each}


def peak_kb() -> float:
    """The largest this process has been, in KB."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1024 if sys.platform == "darwin" else float(peak)
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def measure(rounds: int) -> list[Row]:
    """What a crowd leaves on the disk stays until all is measured: for minutes after a file is
    deleted ext4 steps over its inode one by one, and a new file costs fifty times as much.
    """
    with tempfile.TemporaryDirectory() as room:
        return rows_of(room, rounds)


def rows_of(room: str, rounds: int) -> list[Row]:
    figures = take_turns(
        {
            "bare": bare,
            "files": partial(bare_files, room),
            "memory": OurCrowd(keep="memory", room=room),
            "process": OurCrowd(keep="process", room=room),
            "turn": OurCrowd(keep="turn", room=room),
        },
        rounds,
    )
    kb_each = OurCrowd(keep="memory", room=room).measured()["kb_each"]
    claim = f"{CHILDREN} subagents against bare asyncio"
    targets: dict[Keep, float | None] = {"memory": 1.5, "process": 4.0, "turn": None}
    rows = [
        row(
            f"{claim}, {keep}",
            figures[keep],
            figures["bare"],
            unit="ms",
            scale=1e3,
            target=target,
            note="reported, without a target" if target is None else "",
        )
        for keep, target in targets.items()
    ]
    return [
        *rows,
        row(
            f"{CHILDREN} subagents against bare asyncio with as many files, process",
            figures["process"],
            figures["files"],
            unit="ms",
            scale=1e3,
            note="reported, without a target: what is left when the disk is taken out",
        ),
        Row(claim="memory a subagent, memory", unit="KB", ours=kb_each, target=KB_TARGET),
    ]


def main(keep: Keep, home: str) -> None:
    figures = anyio.run(spawn_and_wait, keep, Path(home))
    sys.stdout.write(msgspec.json.encode(figures).decode())


if __name__ == "__main__":
    main(cast(Keep, sys.argv[1]), sys.argv[2])
