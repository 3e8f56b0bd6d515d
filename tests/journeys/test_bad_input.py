"""Bad input gets a clear error, and nothing is lost."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.harness import Place, client, raw, run

BAD_CALLS: list[tuple[str, dict[str, Any], str, str]] = [
    ("no_such_tool", {}, "unknown_tool", "no_such_tool"),
    ("spawn_subagents", {"task": "x"}, "unknown_tool", "spawn_subagent"),
    ("get_subagent", {"subagent_id": "sub_nobody"}, "unknown_id", "sub_nobody"),
    ("await_subagents", {"subagent_ids": ["sub_nobody"]}, "unknown_id", "sub_nobody"),
    ("steer_subagent", {"subagent_id": "sub_nobody", "message": "x"}, "unknown_id", "sub_nobody"),
    ("cancel_subagent", {"subagent_id": "sub_nobody"}, "unknown_id", "sub_nobody"),
    ("spawn_subagent", {"task": 7}, "invalid_input", "task"),
    ("spawn_subagent", {}, "invalid_input", "task"),
    ("spawn_subagent", {"task": "x", "colour": "red"}, "invalid_input", "colour"),
    ("spawn_subagent", {"task": ""}, "invalid_input", "task"),
    ("spawn_subagent", {"task": "x" * 5_000_000}, "invalid_input", "5,000,000"),
    ("spawn_subagent", {"task": "x", "model": "nobody:none"}, "unknown_model", "nobody:none"),
    ("spawn_subagent", {"task": "x", "workspace": "../.."}, "workspace_error", "../.."),
    ("spawn_subagent", {"task": "x", "isolation": "moon"}, "invalid_input", "moon"),
    ("await_subagents", {"cursor": "garbage"}, "invalid_input", "cursor"),
    ("read_file", {"path": "../secret"}, "workspace_error", "../secret"),
    ("read_file", {"path": "/etc/passwd"}, "workspace_error", "/etc/passwd"),
    ("read_file", {"path": "missing.txt"}, "workspace_error", "missing.txt"),
    ("read_file", {"path": "hello.py", "offset": -1}, "invalid_input", "offset"),
]


async def test_every_bad_call_names_what_is_wrong_and_the_server_goes_on(tmp_path: Path) -> None:
    async with client(Place(tmp_path)) as agent:
        for tool, arguments, code, named in BAD_CALLS:
            said = await agent.error(tool, **arguments)
            assert said["code"] == code, (tool, arguments, said)
            assert named in said["message"] + said["hint"], (tool, said)
            assert "Traceback" not in str(said)
        assert await agent.awaited(await agent.spawn("still there?"))


async def test_a_missing_key_is_said_with_the_name_of_the_variable(tmp_path: Path) -> None:
    pytest.importorskip("anthropic")
    async with client(Place(tmp_path)) as agent:
        said = await agent.error("spawn_subagent", task="x", model="anthropic:claude-sonnet-5-5")
    assert said["code"] == "authentication_failed"
    assert "ANTHROPIC_API_KEY" in said["message"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[models\nprimary = 1", "config.toml:1:8"),
        ("[models]\nprimry = 'x'", "primary"),
        ("[limits]\nmax_rounds = 'many'", "max_rounds"),
        ("[permissions]\nmax_mode = 'root'", "accept_edits"),
        ("[providers.anthropic]\napi_key = 'sk-ant-12345678'", "env:"),
    ],
)
def test_a_bad_settings_file_is_refused_by_file_key_and_what_is_allowed(
    tmp_path: Path, text: str, named: str
) -> None:
    place = Place(tmp_path)
    place.config.write_text(text, encoding="utf-8")
    done = run(place, ["serve", "--workspace", str(place.workspace)])
    assert done.returncode == 2
    assert done.stdout == ""
    assert "config.toml" in done.stderr
    assert named in done.stderr
    assert "sk-ant" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("workspace", ["/", "/no/such/folder"])
def test_a_workspace_that_cannot_be_one_is_refused_at_start(tmp_path: Path, workspace: str) -> None:
    done = run(Place(tmp_path), ["serve", "--workspace", workspace])
    assert done.returncode != 0
    assert workspace in done.stderr
    assert "Traceback" not in done.stderr


async def test_without_a_workspace_file_tools_say_which_flag_to_add(tmp_path: Path) -> None:
    place = Place(tmp_path)
    command = [sys.executable, "-m", "bamboo_mcp", "serve"]
    place.command = lambda *arguments: command  # type: ignore[method-assign]
    place.workspace = Path("/")
    async with client(place) as agent:
        said = await agent.error("read_file", path="hello.py")
    assert said["code"] == "workspace_not_set"
    assert "--workspace" in said["hint"]


async def test_a_corrupt_session_line_costs_that_line_and_nothing_else(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with client(place) as agent:
        damaged = await agent.spawn("hello")
        await agent.awaited(damaged)
        other = await agent.spawn("hello again")
        await agent.awaited(other)
    folder = place.home / "sessions" / damaged.replace("sub_", "ses_")
    lines = (folder / "messages.jsonl").read_bytes().split(b"\n")
    lines[1] = lines[1].replace(b"hello", b"jello")
    (folder / "messages.jsonl").write_bytes(b"\n".join(lines))
    async with client(place) as agent:
        listed = await agent.call("list_subagents")
        assert {one["subagent_id"] for one in listed["subagents"]} == {damaged, other}
        assert (await agent.awaited(damaged))["status"] == "completed"
        assert (await agent.awaited(other))["status"] == "completed"
        shown = await agent.call("get_subagent", subagent_id=damaged, include=["transcript"])
        assert [m["role"] for m in shown["transcript"]["messages"]] == ["assistant"]


@pytest.mark.skipif(sys.platform == "win32", reason="a file size limit of POSIX")
async def test_a_full_disk_is_an_error_by_name_and_loses_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with client(place) as agent:
        kept = await agent.spawn("before the disk was full")
        await agent.awaited(kept)
    limited = place.command()
    place.command = lambda *arguments: [  # type: ignore[method-assign]
        "/bin/sh",
        "-c",
        'trap "" XFSZ; ulimit -f 8; exec "$@"',
        "sh",
        *limited,
    ]
    async with raw(place) as server:
        answer = await server.answer(
            await server.begin("spawn_subagent", task="x" * 50_000, model="offline:offline")
        )
        assert answer["result"]["isError"]
        assert "storage_full" in str(answer["result"]["content"])
        shown = await server.call("await_subagents", subagent_ids=[kept], timeout_s=5)
        assert shown["subagents"][0]["status"] == "completed"
    place.command = lambda *arguments: limited  # type: ignore[method-assign]
    async with client(place) as agent:
        assert (await agent.awaited(kept))["status"] == "completed"
        assert (await agent.awaited(await agent.spawn("room again")))["status"] == "completed"


async def test_garbage_on_stdin_is_survived(tmp_path: Path) -> None:
    async with raw(Place(tmp_path)) as server:
        assert server.process.stdin is not None
        await server.process.stdin.send(b"not json\n\xff\xfe\n{}\n[1,2]\n" + os.urandom(64) + b"\n")
        assert (await server.call("health"))["version"]


async def test_a_default_model_that_cannot_work_is_said_at_the_start(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with client(place, "--model", "nobody:none") as agent:
        assert (await agent.error("spawn_subagent", task="x"))["code"] == "unknown_model"
        assert await agent.awaited(await agent.spawn("with another one"))
    assert "nobody:none" in place.errors.read_text(encoding="utf-8")
