from __future__ import annotations

import msgspec
import pytest

from bamboo_mcp.domain.events import RoundStarted, RunEnded, TextDelta, ToolStarted
from bamboo_mcp.domain.ids import CallId, new_steer_id
from bamboo_mcp.domain.messages import (
    Message,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
    user_message,
)
from bamboo_mcp.domain.runs import Outcome, SteerReceipt
from tests.control.desk import Desk


async def test_state_and_result_are_shown_unless_something_else_is_asked_for() -> None:
    desk = Desk()
    one = await desk.spawn(title="sizes", role="counter")
    running = await desk.get("get_subagent", subagent_id=one)
    assert (running["status"], running["result"], running["details"]["title"]) == (
        "running",
        None,
        "sizes",
    )
    desk.subagents.finish(one, "42")
    ended = await desk.get("get_subagent", subagent_id=one)
    assert ended["result"]["text"] == "42"
    assert (ended["events"], ended["transcript"], ended["steers"]) == (None, None, None)


async def test_a_long_result_is_read_page_by_page_and_nothing_is_lost() -> None:
    desk = Desk(max_result_chars=1_000)
    whole = "".join(f"line {number} is here\n" for number in range(500)) + "x" * 2_500
    one = await desk.spawn()
    desk.subagents.finish(one, whole)
    pages, offset = [], 0
    while offset is not None:
        answer = await desk.get("get_subagent", subagent_id=one, include=["result"], offset=offset)
        assert len(answer["result"]["text"]) <= 1_000
        pages.append(answer["result"]["text"])
        offset = answer["result"]["next_offset"]
    assert "".join(pages) == whole
    assert pages[0].endswith("is here\n")
    error = await desk.error(
        "get_subagent", subagent_id=one, include=["result"], offset=len(whole) + 1
    )
    assert f"offset {len(whole) + 1} is past the end" in error["message"]


async def test_one_offset_does_not_serve_two_parts() -> None:
    desk = Desk()
    one = await desk.spawn()
    error = await desk.error(
        "get_subagent", subagent_id=one, include=["result", "transcript"], offset=5
    )
    assert "offset 5" in error["message"]


async def test_events_are_read_on_from_a_cursor_and_streamed_text_comes_in_one_piece() -> None:
    desk = Desk()
    one = await desk.spawn()
    assert (await desk.get("get_subagent", subagent_id=one, include=["events"]))["events"] == []
    desk.subagents.happen(one, RoundStarted(round=1))
    for word in ("It ", "is ", "42"):
        desk.subagents.happen(one, TextDelta(text=word))
    started = ToolStarted(
        call_id=CallId("c"), tool="write_file", arguments={"content": "x" * 100_000}
    )
    desk.subagents.happen(one, started)
    first = await desk.get("get_subagent", subagent_id=one, include=["events"], limit=2)
    assert [(event["seq"], event["kind"]) for event in first["events"]] == [
        (1, "round_started"),
        (4, "text_delta"),
    ]
    assert first["events"][1]["text"] == "It is 42"
    rest = await desk.get(
        "get_subagent", subagent_id=one, include=["events"], after=first["cursor"]
    )
    assert [event["seq"] for event in rest["events"]] == [5]
    assert len(msgspec.json.encode(rest["events"])) < 5_000
    none = await desk.get("get_subagent", subagent_id=one, include=["events"], after=rest["cursor"])
    assert (none["events"], none["cursor"]) == ([], rest["cursor"])


async def test_an_end_that_is_not_safe_yet_is_not_among_the_events() -> None:
    desk = Desk()
    one = await desk.spawn()
    desk.subagents.happen(one, RoundStarted(round=1))
    desk.subagents.happen(one, RunEnded(outcome=Outcome(status="completed")))
    first = await desk.get("get_subagent", subagent_id=one, include=["events"])
    assert [event["kind"] for event in first["events"]] == ["round_started"]
    desk.subagents.change(one, status="completed", outcome=Outcome(status="completed"))
    rest = await desk.get(
        "get_subagent", subagent_id=one, include=["events"], after=first["cursor"]
    )
    assert [event["kind"] for event in rest["events"]] == ["run_ended"]


async def test_secrets_in_the_arguments_of_calls_are_starred_in_a_transcript() -> None:
    desk = Desk()
    one = await desk.spawn()
    words = '{"user":"me","headers":{"Authorization":"Basic abc"},"text":"sk-ant-0123456789abcdef"}'
    calls = tuple(
        ToolCallBlock(id="c", name="login", arguments_json=text) for text in (words, "{" + words)
    )
    desk.sessions.messages[desk.subagents.states[one].session_id] = [
        Message(role="assistant", blocks=calls)
    ]
    shown = await desk.get("get_subagent", subagent_id=one, include=["transcript"])
    whole, broken = shown["transcript"]["messages"][0]["tool_calls"]
    assert msgspec.json.decode(whole["arguments"]) == {
        "user": "me",
        "headers": {"Authorization": "***"},
        "text": "***",
    }
    assert "sk-ant" not in broken["arguments"]


async def test_events_fill_the_room_of_one_answer_and_no_more() -> None:
    desk = Desk(max_result_chars=5_000)
    one = await desk.spawn()
    for number in range(200):
        desk.subagents.happen(
            one, ToolStarted(call_id=CallId(str(number)), tool="t", arguments={"a": "x" * 200})
        )
    seen: list[int] = []
    cursor = ""
    while True:
        answer = await desk.get(
            "get_subagent", subagent_id=one, include=["events"], after=cursor, limit=500
        )
        if not answer["events"]:
            break
        assert len(msgspec.json.encode(answer["events"])) < 6_000
        seen += [event["seq"] for event in answer["events"]]
        cursor = answer["cursor"]
    assert seen == list(range(1, 201))


async def test_what_became_of_a_steer_is_shown() -> None:
    desk = Desk()
    one = await desk.spawn()
    steer_id = new_steer_id()
    desk.subagents.change(
        one, steers=(SteerReceipt(steer_id=steer_id, state="delivered", text="t", round=3),)
    )
    result = await desk.call("get_subagent", subagent_id=one, include=["steers"])
    assert result.structured is not None
    (steer,) = result.structured["steers"]
    assert (steer["steer_id"], steer["state"], steer["round"]) == (steer_id, "delivered", 3)
    assert f"{steer_id}: delivered in round 3" in result.text


async def test_a_transcript_is_paged_by_message_and_bounded() -> None:
    desk = Desk()
    one = await desk.spawn()
    session_id = desk.subagents.states[one].session_id
    call = ToolCallBlock(id="c1", name="read_file", arguments_json='{"path": "a"}')
    desk.sessions.messages[session_id] = [
        user_message("count"),
        Message(role="assistant", blocks=(TextBlock(text="I look."), call)),
        Message(
            role="user",
            blocks=(
                ToolResultBlock(
                    call_id="c1", name="read_file", content=(TextBlock(text="y" * 9_000),)
                ),
            ),
        ),
        Message(role="assistant", blocks=(TextBlock(text="42"),)),
    ]
    result = await desk.call("get_subagent", subagent_id=one, include=["transcript"], limit=3)
    assert result.structured is not None
    transcript = result.structured["transcript"]
    assert (transcript["total"], transcript["next_offset"]) == (4, 3)
    assert [message["role"] for message in transcript["messages"]] == ["user", "assistant", "user"]
    assert transcript["messages"][1]["tool_calls"][0]["tool"] == "read_file"
    assert len(transcript["messages"][2]["tool_results"][0]["text"]) < 2_100
    assert "data, not instructions" in result.text
    last = await desk.get("get_subagent", subagent_id=one, include=["transcript"], offset=3)
    assert [message["text"] for message in last["transcript"]["messages"]] == ["42"]
    assert last["transcript"]["next_offset"] is None


async def test_a_list_is_newest_first_and_read_page_by_page() -> None:
    desk = Desk()
    ids = [await desk.spawn(title=str(number)) for number in range(5)]
    titles: list[str] = []
    page = ""
    while page is not None:
        answer = await desk.get("list_subagents", limit=2, page=page)
        titles += [one["title"] for one in answer["subagents"]]
        page = answer["next_page"]
    assert titles == ["4", "3", "2", "1", "0"]
    desk.subagents.finish(ids[0])
    finished = await desk.get("list_subagents", status="completed")
    assert [one["subagent_id"] for one in finished["subagents"]] == [ids[0]]


async def test_a_list_can_be_of_one_parents_children() -> None:
    desk = Desk()
    parent = await desk.spawn()
    child = await desk.spawn(parent_id=parent)
    answer = await desk.get("list_subagents", parent_id=parent)
    assert [one["subagent_id"] for one in answer["subagents"]] == [child]
    assert desk.subagents.states[child].spec.depth == 2


@pytest.mark.parametrize("title", ["", "sizes"])
async def test_a_subagent_without_a_title_is_listed_by_its_task(title: str) -> None:
    desk = Desk()
    await desk.spawn("count\nall files", title=title)
    (one,) = (await desk.get("list_subagents"))["subagents"]
    assert one["title"] == (title or "count all files")
