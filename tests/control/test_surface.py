from __future__ import annotations

import jsonschema_rs
import pytest

from tests.control.desk import Desk
from tests.control.doubles import PERMISSION


async def test_descriptions_are_short_and_have_an_example_and_names_are_plain() -> None:
    specs = await Desk().tools.list_tools()
    assert [spec.name for spec in specs] == [
        "spawn_subagent",
        "resume_subagent",
        "await_subagents",
        "steer_subagent",
        "answer_subagent",
        "cancel_subagent",
        "get_subagent",
        "list_subagents",
    ]
    for spec in specs:
        assert len(spec.description.split()) < 120, spec.name
        assert "Example: {" in spec.description, spec.name
        assert "Returns" in spec.description, spec.name
        assert spec.input_schema["type"] == "object"
        assert spec.output_schema is not None
        assert spec.output_schema["type"] == "object"


async def test_only_what_reads_says_so() -> None:
    hints = {spec.name: spec.annotations for spec in await Desk().tools.list_tools()}
    reading = {name for name, hint in hints.items() if hint.read_only}
    assert reading == {"await_subagents", "get_subagent", "list_subagents"}
    assert hints["cancel_subagent"].destructive
    assert hints["cancel_subagent"].idempotent
    assert not hints["spawn_subagent"].idempotent


async def test_every_answer_fits_its_schema() -> None:
    desk = Desk()
    one = await desk.spawn(title="sizes")
    desk.subagents.ask(one, PERMISSION)
    answers = [
        ("await_subagents", await desk.get("await_subagents")),
        ("get_subagent", await desk.get("get_subagent", subagent_id=one, include=["status"])),
        ("steer_subagent", await desk.get("steer_subagent", subagent_id=one, message="m")),
        (
            "answer_subagent",
            await desk.get(
                "answer_subagent", subagent_id=one, question_id="q_permission", decision="deny"
            ),
        ),
        ("cancel_subagent", await desk.get("cancel_subagent", subagent_id=one)),
        ("spawn_subagent", await desk.get("spawn_subagent", task="t", wait_s=0.01)),
        (
            "get_subagent",
            await desk.get(
                "get_subagent",
                subagent_id=one,
                include=["status", "events", "result", "transcript", "steers", "evidence"],
            ),
        ),
        ("list_subagents", await desk.get("list_subagents")),
        ("resume_subagent", await desk.get("resume_subagent", subagent_id=one, message="m")),
    ]
    schemas = {spec.name: spec.output_schema for spec in await desk.tools.list_tools()}
    for name, answer in answers:
        jsonschema_rs.validate(dict(schemas[name] or {}), answer)


@pytest.mark.parametrize(
    ("tool", "arguments", "named"),
    [
        ("spawn_subagent", {}, "task"),
        ("spawn_subagent", {"task": "t", "context": "copy"}, "context"),
        ("spawn_subagent", {"task": "t", "context": "fork"}, "parent_id"),
        ("spawn_subagent", {"task": "t", "fork_messages": 0}, "fork_messages"),
        ("spawn_subagent", {"task": "t", "idempotency_key": "k" * 201}, "idempotency_key"),
        ("spawn_subagent", {"task": "t", "output_schema": []}, "output_schema"),
        ("spawn_subagent", {"task": "t", "output_schema": {"type": 7}}, "output_schema"),
        (
            "spawn_subagent",
            {"task": "t", "output_schema": {"$ref": "file:///etc/passwd"}},
            "output_schema",
        ),
        ("resume_subagent", {"subagent_id": "sub_x"}, "message"),
        ("resume_subagent", {"subagent_id": "sub_x", "message": " "}, "message"),
        ("spawn_subagent", {"task": "t", "wait_s": -1}, "wait_s"),
        ("spawn_subagent", {"task": "t", "wait_s": "1"}, "wait_s"),
        ("spawn_subagent", {"task": 7}, "task"),
        ("spawn_subagent", {"task": "t", "limits": {"max_rounds": 0}}, "max_rounds"),
        ("spawn_subagent", {"task": "t", "limits": {"max_rounds": 18}}, "limits.max_rounds 18"),
        ("spawn_subagent", {"task": "t", "limits": {"rounds": 1}}, "limits"),
        ("spawn_subagent", {"task": "t", "permission_mode": "root"}, "permission_mode"),
        ("await_subagents", {"mode": "first"}, "mode"),
        ("await_subagents", {"stall_s": 0}, "stall_s"),
        ("await_subagents", {"subagent_ids": []}, "subagent_ids"),
        ("await_subagents", {"cursor": "12"}, "cursor"),
        ("steer_subagent", {"subagent_id": "sub_x"}, "message"),
        ("steer_subagent", {"subagent_id": "sub_x", "message": " "}, "message"),
        ("steer_subagent", {"subagent_id": "sub_x", "message": "m", "delivery": "now"}, "delivery"),
        ("get_subagent", {"subagent_id": "sub_x", "include": ["proof"]}, "include"),
        ("get_subagent", {"subagent_id": "sub_x", "run_id": ""}, "run_id"),
        ("get_subagent", {"subagent_id": "sub_x", "offset": -1}, "offset"),
        ("list_subagents", {"status": "asleep"}, "status"),
        ("list_subagents", {"limit": 101}, "limit"),
        ("list_subagents", {"page": "2"}, "page"),
    ],
)
async def test_a_bad_argument_is_named_before_anything_happens(
    tool: str, arguments: dict[str, object], named: str
) -> None:
    desk = Desk()
    error = await desk.error(tool, **arguments)
    assert error["code"] == "invalid_input"
    assert named in error["message"]
    assert not desk.subagents.states


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("await_subagents", {"subagent_ids": ["sub_none"]}),
        ("steer_subagent", {"subagent_id": "sub_none", "message": "m"}),
        ("answer_subagent", {"subagent_id": "sub_none", "question_id": "q", "answer": "a"}),
        ("cancel_subagent", {"subagent_id": "sub_none"}),
        ("get_subagent", {"subagent_id": "sub_none"}),
        ("resume_subagent", {"subagent_id": "sub_none", "message": "m"}),
        ("spawn_subagent", {"task": "t", "parent_id": "sub_none"}),
    ],
)
async def test_an_unknown_subagent_is_an_error_that_names_it(
    tool: str, arguments: dict[str, object]
) -> None:
    error = await Desk().error(tool, **arguments)
    assert error["code"] == "unknown_id"
    assert "sub_none" in error["message"]
