"""What a client sees of the whole server, over a real pipe, in both protocol eras."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from tests.journeys.harness import ERAS, Place, client

every_era = pytest.mark.parametrize("era", ERAS)

CONTROL = [
    "answer_subagent",
    "await_subagents",
    "cancel_subagent",
    "delete_session",
    "get_session",
    "get_subagent",
    "health",
    "list_models",
    "list_sessions",
    "list_subagents",
    "resume_subagent",
    "spawn_subagent",
    "steer_subagent",
    "update_session",
]
WORKSPACE = [
    "edit_file",
    "find_files",
    "list_directory",
    "read_command_output",
    "read_file",
    "read_notes",
    "run_command",
    "search_files",
    "stop_command",
    "update_plan",
    "write_file",
    "write_note",
]

STEERED = """
steps:
  - calls: [{name: find_files, args: {pattern: "*.py"}}]
  - text: "thinking"
    calls: [{name: read_file, args: {path: hello.py}}]
    delay_ms: 700
  - when: {last_user: also}
    text: "I found {{results.find_files}} and was told: also count"
    usage: {input: 100, output: 10}
"""

ASKING = """
steps:
  - calls: [{name: write_file, args: {path: new.txt, content: "from the subagent"}}]
  - text: "write_file said: {{result}}"
"""

ENDLESS = """
steps:
  - text: "never ends"
    delay_ms: 600000
"""


@every_era
async def test_both_eras_see_the_same_tools_in_the_same_order(tmp_path: Path, era: str) -> None:
    async with client(Place(tmp_path), era=era) as agent:
        listed = await agent.client.list_tools()
        assert [tool.name for tool in listed.tools] == CONTROL + WORKSPACE
        assert "spawn_subagent" in (agent.client.instructions or "")


@every_era
async def test_a_subagent_uses_a_real_tool_and_its_result_is_read_in_pages(
    tmp_path: Path, era: str
) -> None:
    async with client(Place(tmp_path), era=era) as agent:
        child = await agent.spawn('/tool read_file {"path": "hello.py"}')
        one = await agent.awaited(child)
        assert one["status"] == "completed"
        assert "print('hello')" in one["result"]["text"]
        text, offset = "", 0
        while offset is not None:
            page = await agent.call(
                "get_subagent", subagent_id=child, include=["result"], offset=offset, limit=20
            )
            text += page["result"]["text"]
            offset = page["result"]["next_offset"]
        assert text == one["result"]["text"]


@every_era
async def test_steering_sent_while_it_works_is_delivered_and_says_in_which_round(
    tmp_path: Path, era: str
) -> None:
    place = Place(tmp_path)
    async with client(place, era=era) as agent:
        child = await agent.spawn("count", place.script(STEERED))
        await agent.until(child, "tool_finished")
        sent = await agent.call("steer_subagent", subagent_id=child, message="also count")
        assert sent["state"] == "queued"
        one = await agent.awaited(child)
        assert one["result"]["text"] == "I found hello.py and was told: also count"
        seen = await agent.call("get_subagent", subagent_id=child, include=["steers"])
        assert [(s["steer_id"], s["state"], s["round"]) for s in seen["steers"]] == [
            (sent["steer_id"], "delivered", 3)
        ]
        late = await agent.call("steer_subagent", subagent_id=child, message="more")
        assert late["state"] == "refused"


async def test_a_model_may_not_answer_a_permission_question_unless_settings_let_it(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path)
    model = place.script(ASKING)
    async with client(place) as agent:
        child = await agent.spawn("write", model)
        one = await agent.awaited(child)
        assert one["status"] == "waiting"
        assert one["question"]["tool"] == "write_file"
        said = await agent.error(
            "answer_subagent",
            subagent_id=child,
            question_id=one["question"]["question_id"],
            decision="allow_once",
        )
        assert said["code"] == "permission_denied"
        assert "allow_model_approvals" in said["hint"]
        assert not (place.workspace / "new.txt").exists()
    async with client(place, env={"BAMBOO_PERMISSIONS__ALLOW_MODEL_APPROVALS": "true"}) as agent:
        child = await agent.spawn("write", model)
        question = (await agent.awaited(child))["question"]
        await agent.call(
            "answer_subagent",
            subagent_id=child,
            question_id=question["question_id"],
            decision="allow_once",
        )
        assert (await agent.awaited(child))["status"] == "completed"
    assert (place.workspace / "new.txt").read_text(encoding="utf-8") == "from the subagent"


async def test_a_question_nobody_answers_is_a_no_in_time(tmp_path: Path) -> None:
    place = Place(tmp_path)
    env = {"BAMBOO_PERMISSIONS__QUESTION_TIMEOUT_S": "0.2"}
    async with client(place, env=env) as agent:
        child = await agent.spawn("write", place.script(ASKING))
        one = await agent.awaited(child)
        while one["status"] != "completed":
            one = await agent.awaited(child)
        assert "permission_denied" in one["result"]["text"]
    assert not (place.workspace / "new.txt").exists()


async def test_direct_calls_may_edit_but_run_commands_only_when_allowed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with client(place) as agent:
        await agent.text("write_file", path="made.txt", content="by hand\n")
        said = await agent.error("run_command", command="echo hi")
        assert said["code"] == "permission_denied"
        assert "--allow-commands" in said["message"] + said["hint"]
    async with client(place, "--allow-commands") as agent:
        assert "hi" in await agent.text("run_command", command="echo hi")
        assert "by hand" in await agent.text("read_file", path="made.txt")


@every_era
async def test_cancelling_ends_it_within_a_second_also_in_mid_stream(
    tmp_path: Path, era: str
) -> None:
    place = Place(tmp_path)
    async with client(place, era=era) as agent:
        child = await agent.spawn("never", place.script(ENDLESS))
        await agent.until(child, "round_started")
        with anyio.fail_after(1):
            answer = await agent.call("cancel_subagent", subagent_id=child, reason="enough")
        assert [one["status"] for one in answer["stopped"]] == ["cancelled"]
        again = await agent.call("cancel_subagent", subagent_id=child)
        assert [one["status"] for one in again["stopped"]] == ["cancelled"]


async def test_waiting_reports_progress_and_is_bounded(tmp_path: Path) -> None:
    place = Place(tmp_path)
    heard: list[str] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(message or "")

    async with client(place) as agent:
        child = await agent.spawn("never", place.script(ENDLESS), title="watcher")
        result = await agent.client.call_tool(
            "await_subagents",
            {"subagent_ids": [child], "timeout_s": 2.5},
            progress_callback=hear,
        )
        assert not result.is_error
        assert (result.structured_content or {})["done"] is False
        assert any("0 of 1" in line for line in heard)


async def test_a_cancelled_wait_leaves_the_subagent_running(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with client(place) as agent:
        child = await agent.spawn("never", place.script(ENDLESS))
        with anyio.move_on_after(0.3):
            await agent.call("await_subagents", subagent_ids=[child], timeout_s=20)
        assert (await agent.call("get_subagent", subagent_id=child))["status"] == "running"


async def test_what_changed_is_told_with_the_next_answer(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with client(place) as agent:
        child = await agent.spawn("hello", title="greeter")
        with anyio.fail_after(5):
            notices: list[str] = []
            while not notices:
                notices = (await agent.call("list_models"))["notices"]
        assert any("greeter" in line and "finished" in line for line in notices)
        assert child in " ".join(notices)


async def test_health_says_what_is_wrong_and_what_is_missing(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with client(place) as agent:
        health = await agent.call("health")
    assert health["workspace"] == str(place.workspace)
    assert "offline:offline" in health["models"]["ready"]
    assert "ANTHROPIC_API_KEY" in str(health["models"]["missing"]) or "pip install" in str(
        health["models"]["missing"]
    )
    assert [plugin["fault"] for plugin in health["plugins"]] == [""] * len(health["plugins"])


NESTED = """
strict: false
conversations:
  - name: parent
    when: {last_user: "delegate"}
    steps:
      - calls: [{name: spawn_subagent, args: {task: "be a child", model: "%s"}}]
      - when: {tool_result: spawn_subagent}
        calls: [{name: await_subagents, args: {timeout_s: 10}}]
      - when: {tool_result: await_subagents, contains: "child speaking"}
        text: "my child said its piece"
  - name: child
    when: {last_user: "be a child"}
    steps:
      - text: "child speaking"
"""


async def test_a_subagent_that_may_spawn_delegates_and_one_that_may_not_has_no_such_tool(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path)
    model = place.script(NESTED % f"scripted:{tmp_path / 'model.yaml'}")
    async with client(place) as agent:
        parent = await agent.spawn(
            "delegate this", model, allow_tools=["spawn_subagent", "await_subagents"]
        )
        one = await agent.awaited(parent)
        assert one["result"]["text"] == "my child said its piece"
        listed = (await agent.call("list_subagents"))["subagents"]
        assert [one["parent_id"] for one in listed] == [parent, None]
        barred = await agent.spawn("delegate this", model)
        transcript = await agent.call(
            "get_subagent",
            subagent_id=(await agent.awaited(barred))["subagent_id"],
            include=["transcript"],
        )
        assert "not among the tools" in str(transcript["transcript"])
