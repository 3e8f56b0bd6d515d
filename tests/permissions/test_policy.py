from __future__ import annotations

from itertools import product

import pytest
from msgspec.structs import replace

from bamboo_mcp.domain.ids import RunId, SessionId, SubagentId
from bamboo_mcp.domain.questions import MODES, Answer, PermissionMode, Question
from bamboo_mcp.domain.tools import Effect, ToolCall, ToolSpec
from bamboo_mcp.permissions.grants import MAX_GRANTS, Grant, SessionGrants
from bamboo_mcp.permissions.policy import MAX_SHOWN_COMMAND, DirectPolicy, ModePolicy
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.testing.contracts.tool_executor import quiet_context

ALLOW_SESSION = Answer(decision="allow_session")


def tool(effect: Effect, name: str = "tool") -> ToolSpec:
    return ToolSpec(name=name, description="d", effect=effect)


def call(**arguments: object) -> ToolCall:
    return ToolCall(id="1", name="tool", arguments=arguments)


def in_run(mode: PermissionMode, session: str = "ses_1") -> ToolContext:
    return replace(
        quiet_context(),
        mode=mode,
        run_id=RunId("run_1"),
        session_id=SessionId(session),
        subagent_id=SubagentId("sub_1"),
    )


def verdict(policy: ModePolicy, effect: Effect, mode: PermissionMode) -> str:
    match policy.decide(tool(effect), call(command="ls"), in_run(mode)):
        case None:
            return "free"
        case Answer(decision="deny"):
            return "deny"
        case Question():
            return "ask"
        case other:
            raise AssertionError(other)


TABLE: dict[PermissionMode, str] = {
    #               read control write execute network
    "plan": "free free deny deny deny",
    "default": "free free ask ask ask",
    "accept_edits": "free free free ask ask",
    "bypass": "free free free free free",
}
EFFECTS: tuple[Effect, ...] = ("read", "control", "write", "execute", "network")


@pytest.mark.parametrize(("mode", "effect"), list(product(MODES, EFFECTS)))
def test_each_mode_decides_by_what_a_tool_can_do(mode: PermissionMode, effect: Effect) -> None:
    expected = TABLE[mode].split()[EFFECTS.index(effect)]
    assert verdict(ModePolicy(), effect, mode) == expected


def test_no_mode_is_freer_than_the_one_after_it() -> None:
    freedom = ["deny", "ask", "free"]
    for effect in EFFECTS:
        grades = [freedom.index(verdict(ModePolicy(), effect, mode)) for mode in MODES]
        assert grades == sorted(grades), effect


def test_annotations_do_not_change_what_a_tool_may_do() -> None:
    from bamboo_mcp.domain.tools import ToolAnnotations

    harmless = ToolSpec(
        name="t", description="d", effect="execute", annotations=ToolAnnotations(read_only=True)
    )
    assert isinstance(ModePolicy().decide(harmless, call(), in_run("default")), Question)


def test_an_unknown_mode_or_effect_is_never_free() -> None:
    odd_mode: PermissionMode = "yolo"  # type: ignore[assignment]
    odd_effect: Effect = "teleport"  # type: ignore[assignment]
    assert verdict(ModePolicy(), "read", odd_mode) == "deny"
    assert verdict(ModePolicy(), odd_effect, "plan") == "deny"
    assert verdict(ModePolicy(), odd_effect, "default") == "ask"
    assert verdict(ModePolicy(), odd_effect, "bypass") == "ask"


def test_a_refusal_in_plan_mode_tells_the_model_what_to_do_instead() -> None:
    answer = ModePolicy().decide(tool("write", "write_file"), call(), in_run("plan"))
    assert isinstance(answer, Answer)
    assert "'plan'" in answer.reason
    assert "'write_file'" in answer.reason
    assert "describe" in answer.reason


def ask(
    policy: ModePolicy | DirectPolicy, spec: ToolSpec, asked: ToolCall, context: ToolContext
) -> Question:
    question = policy.decide(spec, asked, context)
    assert isinstance(question, Question)
    return question


def test_a_question_knows_its_run_and_its_time() -> None:
    policy = ModePolicy(question_timeout_s=12, now=lambda: 99.0)
    question = ask(policy, tool("write"), call(path="a"), in_run("default"))
    assert (question.topic, question.tool) == ("permission", "tool")
    assert (question.run_id, question.subagent_id) == ("run_1", "sub_1")
    assert (question.asked_at, question.expires_in_s) == (99.0, 12)
    assert question.options == ("allow_once", "allow_session", "deny")


def test_a_write_tool_allowed_for_a_session_is_not_asked_again_there() -> None:
    policy = ModePolicy()
    write, context = tool("write"), in_run("default")
    policy.remember(ask(policy, write, call(path="a"), context), ALLOW_SESSION)
    assert policy.decide(write, call(path="b"), context) is None
    ask(policy, tool("write", "other"), call(path="b"), context)
    ask(policy, write, call(path="a"), in_run("default", session="ses_2"))
    ask(policy, tool("execute"), call(command="ls"), context)


def test_allowed_once_is_asked_again() -> None:
    policy = ModePolicy()
    question = ask(policy, tool("write"), call(path="a"), in_run("default"))
    policy.remember(question, Answer(decision="allow_once"))
    ask(policy, tool("write"), call(path="a"), in_run("default"))


def test_a_denial_is_not_remembered_as_an_allowance() -> None:
    policy = ModePolicy()
    question = ask(policy, tool("write"), call(path="a"), in_run("default"))
    policy.remember(question, Answer(decision="deny"))
    policy.remember(question, ALLOW_SESSION)
    ask(policy, tool("write"), call(path="a"), in_run("default"))


@pytest.mark.parametrize(
    "other",
    [
        call(command="pytest -q; rm -rf /"),
        call(command="pytest  -q"),
        call(command="PYTEST -q"),
        call(command="pytest -q", workdir="elsewhere"),
        call(command="pytest -q", env={"PATH": "/tmp"}),
    ],
)
def test_an_allowed_command_covers_exactly_that_command(other: ToolCall) -> None:
    policy, run = ModePolicy(), tool("execute", "run_command")
    policy.remember(ask(policy, run, call(command="pytest -q"), in_run("default")), ALLOW_SESSION)
    assert policy.decide(run, call(command="pytest -q"), in_run("default")) is None
    assert policy.decide(run, call(command="pytest -q", timeout_s=9), in_run("default")) is None
    ask(policy, run, other, in_run("default"))


def test_an_allowed_address_covers_its_host_and_scheme_only() -> None:
    policy, fetch, context = ModePolicy(), tool("network", "fetch_url"), in_run("default")
    first = ask(policy, fetch, call(url="https://example.org/a"), context)
    policy.remember(first, ALLOW_SESSION)
    assert policy.decide(fetch, call(url="https://example.org/b"), context) is None
    for url in (
        "http://example.org/a",
        "https://example.org:8443/a",
        "https://example.org@evil.test/",
        "https://evil.test/example.org",
        "https://[bad",
    ):
        ask(policy, fetch, call(url=url), context)


def test_a_network_tool_without_an_address_is_covered_by_its_exact_arguments() -> None:
    policy, search, context = ModePolicy(), tool("network", "web_search"), in_run("default")
    policy.remember(ask(policy, search, call(q="a"), context), ALLOW_SESSION)
    assert policy.decide(search, call(q="a"), context) is None
    ask(policy, search, call(q="b"), context)


def test_a_grant_does_not_reach_into_plan_mode() -> None:
    policy = ModePolicy()
    policy.remember(ask(policy, tool("write"), call(), in_run("default")), ALLOW_SESSION)
    assert isinstance(policy.decide(tool("write"), call(), in_run("plan")), Answer)


def test_without_a_session_nothing_is_granted_for_one() -> None:
    policy = ModePolicy()
    context = replace(in_run("default"), session_id=None)
    policy.remember(ask(policy, tool("write"), call(), context), ALLOW_SESSION)
    ask(policy, tool("write"), call(), context)


def test_a_grant_ends_by_itself() -> None:
    now = 0.0
    policy = ModePolicy(grants=SessionGrants(lifetime_s=1800, clock=lambda: now))
    policy.remember(ask(policy, tool("write"), call(), in_run("default")), ALLOW_SESSION)
    now = 1799.0
    assert policy.decide(tool("write"), call(), in_run("default")) is None
    now = 1800.0
    ask(policy, tool("write"), call(), in_run("default"))


def test_grants_of_a_session_can_be_taken_back_and_do_not_pile_up() -> None:
    grants = SessionGrants()
    for count in range(MAX_GRANTS + 5):
        grants.add(Grant(session_id=SessionId(f"ses_{count}"), tool="t"))
    assert not grants.covers(Grant(session_id=SessionId("ses_0"), tool="t"))
    last = Grant(session_id=SessionId(f"ses_{MAX_GRANTS}"), tool="t")
    assert grants.covers(last)
    grants.forget(last.session_id)
    assert not grants.covers(last)


def test_a_command_too_long_to_be_read_is_refused_not_cut() -> None:
    run = tool("execute", "run_command")
    command = "echo " + "x" * MAX_SHOWN_COMMAND
    answer = ModePolicy().decide(run, call(command=command), in_run("default"))
    assert isinstance(answer, Answer)
    assert "file" in answer.reason


# --- direct calls ------------------------------------------------------------------------------


def direct(
    effect: Effect, *, mode: PermissionMode = "accept_edits", allow_commands: bool = False
) -> Answer | None:
    policy = DirectPolicy(ModePolicy(), mode=mode, allow_commands=allow_commands)
    # The context claims the freest mode: a direct call goes by the setting all the same.
    decided = policy.decide(tool(effect), call(), replace(quiet_context(), mode="bypass"))
    assert not isinstance(decided, Question)
    return decided


def test_a_direct_call_may_read_and_edit_by_default() -> None:
    assert [direct(effect) for effect in ("read", "control", "write")] == [None, None, None]


def test_a_direct_command_is_refused_with_the_exact_setting_and_flag() -> None:
    for mode in ("default", "accept_edits", "bypass"):
        answer = direct("execute", mode=mode)
        assert answer is not None
        assert "--allow-commands" in answer.reason
        assert "permissions.allow_commands" in answer.reason


def test_a_direct_command_runs_when_the_setting_allows_it_but_not_in_plan_mode() -> None:
    assert direct("execute", allow_commands=True) is None
    assert direct("execute", mode="default", allow_commands=True) is None
    answer = direct("execute", mode="plan", allow_commands=True)
    assert answer is not None
    assert "permissions.direct_mode" in answer.reason


def test_what_would_ask_is_refused_with_the_setting_that_would_let_it() -> None:
    answer = direct("write", mode="default")
    assert answer is not None
    assert 'permissions.direct_mode = "accept_edits"' in answer.reason
    answer = direct("network")
    assert answer is not None
    assert 'permissions.direct_mode = "bypass"' in answer.reason
    assert direct("network", mode="bypass") is None


def test_a_direct_call_in_plan_mode_only_reads() -> None:
    assert direct("read", mode="plan") is None
    assert direct("write", mode="plan") is not None


@pytest.mark.parametrize("field", ["run_id", "subagent_id"])
def test_a_call_inside_a_run_is_never_direct(field: str) -> None:
    policy = DirectPolicy(ModePolicy(), mode="bypass", allow_commands=True)
    inside = RunId("run_1") if field == "run_id" else SubagentId("sub_1")
    context = replace(quiet_context(), mode="plan", **{field: inside})
    assert isinstance(policy.decide(tool("write"), call(), context), Answer)


def test_a_grant_of_a_run_is_remembered_through_the_direct_policy() -> None:
    policy = DirectPolicy(ModePolicy())
    question = ask(policy, tool("write"), call(), in_run("default"))
    policy.remember(question, ALLOW_SESSION)
    assert policy.decide(tool("write"), call(), in_run("default")) is None
