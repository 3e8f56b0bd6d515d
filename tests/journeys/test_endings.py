"""The plug pulled: clients that vanish, servers that die, two servers on one home."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import anyio
import pytest

from tests.journeys.harness import (
    Place,
    a_process_with,
    client,
    no_process_with,
    raw,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

ENDLESS = """
steps:
  - text: "never ends"
    delay_ms: 600000
"""


def shell_script(marker: str) -> str:
    """A model that runs a command which leaves a grandchild in a session of its own."""
    return f"""
steps:
  - calls:
      - name: run_command
        args: {{command: "setsid sleep {marker} & sleep {marker}", timeout_s: 500}}
  - text: "done"
"""


async def working_shell(server: object, place: Place, marker: str) -> str:
    """Start a subagent whose command runs; its id."""
    from tests.journeys.harness import Raw

    assert isinstance(server, Raw)
    answer = await server.call(
        "spawn_subagent",
        task="run it",
        model=place.script(shell_script(marker)),
        permission_mode="bypass",
    )
    await a_process_with(marker)
    return str(answer["subagent_id"])


FREE = {"BAMBOO_PERMISSIONS__MAX_MODE": "bypass"}


class FreePlace(Place):
    def environ(self, more: object = None) -> dict[str, str]:
        return {**super().environ(), **FREE}


async def test_after_kill_9_results_are_there_and_what_ran_is_lost_by_name(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path)
    async with raw(place) as server:
        done = await server.call("spawn_subagent", task="quick", model="offline:offline")
        waited = await server.call(
            "await_subagents", subagent_ids=[done["subagent_id"]], timeout_s=10
        )
        before = waited["subagents"][0]["result"]["text"]
        running = await server.call("spawn_subagent", task="slow", model=place.script(ENDLESS))
        server.kill()
        await server.gone()
    async with client(place) as agent:
        again = await agent.awaited(done["subagent_id"])
        assert (again["status"], again["result"]["text"]) == ("completed", before)
        lost = await agent.awaited(running["subagent_id"])
        assert lost["status"] == "lost"
        listed = await agent.call("list_subagents")
        assert {one["status"] for one in listed["subagents"]} == {"completed", "lost"}


@pytest.mark.parametrize("ending", ["hang up", "SIGTERM", "SIGINT"])
async def test_it_goes_at_once_and_leaves_no_process(tmp_path: Path, ending: str) -> None:
    place = FreePlace(tmp_path)
    marker = f"31{len(ending):04d}1"
    async with raw(place) as server:
        await working_shell(server, place, marker)
        await server.begin("await_subagents", timeout_s=40)
        with anyio.fail_after(2):
            if ending == "hang up":
                await server.hang_up()
            else:
                server.kill(getattr(signal, ending))
            assert await server.gone() == 0
            await no_process_with(marker)


async def test_killed_with_9_it_still_leaves_no_process(tmp_path: Path) -> None:
    place = FreePlace(tmp_path)
    marker = "3177777"
    async with raw(place) as server:
        await working_shell(server, place, marker)
        server.kill()
        await server.gone()
        with anyio.fail_after(5):
            await no_process_with(marker)


async def test_cancelling_a_subagent_ends_its_command_and_all_that_it_started(
    tmp_path: Path,
) -> None:
    place = FreePlace(tmp_path)
    marker = "3188888"
    async with raw(place) as server:
        child = await working_shell(server, place, marker)
        with anyio.fail_after(2):
            answer = await server.call("cancel_subagent", subagent_id=child)
            await no_process_with(marker)
        assert answer["stopped"][0]["status"] == "cancelled"


async def test_two_servers_share_a_home_and_neither_meddles_with_the_others_runs(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path)
    async with raw(place) as first:
        running = await first.call("spawn_subagent", task="slow", model=place.script(ENDLESS))
        done = await first.call("spawn_subagent", task="quick", model="offline:offline")
        await first.call("await_subagents", subagent_ids=[done["subagent_id"]], timeout_s=10)
        async with client(place) as second:
            seen = await second.call("get_subagent", subagent_id=running["subagent_id"])
            assert seen["status"] == "running"
            assert (await second.awaited(done["subagent_id"]))["status"] == "completed"
            said = await second.error(
                "steer_subagent", subagent_id=running["subagent_id"], message="hello"
            )
            assert said["code"] == "not_owner"
            said = await second.error("cancel_subagent", subagent_id=running["subagent_id"])
            assert said["code"] == "not_owner"
            mine = await second.spawn("mine")
            assert (await second.awaited(mine))["status"] == "completed"
            await first.call("cancel_subagent", subagent_id=running["subagent_id"])
            assert (await second.awaited(running["subagent_id"]))["status"] == "cancelled"


SLOW = """
steps:
  - text: "here at last"
    delay_ms: 1500
"""


async def test_one_server_wakes_when_a_subagent_of_the_other_ends(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with raw(place) as first, client(place) as second:
        running = await first.call("spawn_subagent", task="slow", model=place.script(SLOW))
        one = await second.awaited(running["subagent_id"], timeout_s=20)
        assert (one["status"], one["result"]["text"]) == ("completed", "here at last")


async def test_one_server_is_told_when_the_other_dies_with_its_subagent(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with raw(place) as first, client(place) as second:
        running = await first.call("spawn_subagent", task="slow", model=place.script(ENDLESS))
        first.kill()
        await first.gone()
        one = await second.awaited(running["subagent_id"], timeout_s=20)
        assert one["status"] == "lost"
