from __future__ import annotations

from bamboo_mcp.domain.tools import Effect, ToolCall, ToolSpec
from bamboo_mcp.permissions.wording import describe_call, shown_arguments


def words(effect: Effect, **arguments: object) -> str:
    spec = ToolSpec(name="tool", description="d", effect=effect)
    return describe_call(spec, ToolCall(id="1", name="tool", arguments=arguments))


def test_a_write_shows_its_path_and_its_first_lines() -> None:
    content = "\n".join(f"line {i}" for i in range(500))
    text = words("write", path="src/a.py", content=content)
    assert "path: src/a.py" in text
    assert "    line 0\n" in text
    assert "line 20" not in text
    assert f"… 489 more lines, {len(content)} characters in all" in text


def test_five_megabytes_on_one_line_are_shown_as_a_little() -> None:
    assert len(words("write", path="a", content="x" * 5_000_000)) < 2000


def test_a_command_is_shown_whole_to_its_last_letter() -> None:
    command = "echo start\n" + "true\n" * 500 + "rm -rf ~"
    text = words("execute", command=command)
    assert text.endswith("rm -rf ~")
    assert text.count("true") == 500


def test_letters_that_would_hide_something_are_written_out() -> None:
    text = words("execute", command="rm -rf ~ \x1b[2K\rls \u202e\u200b")
    assert "\\x1b[2K\\rls \\u202e\\u200b" in text
    assert "\x1b" not in text


def test_known_shapes_of_secrets_are_starred() -> None:
    text = words(
        "execute",
        command="curl -H 'Authorization: Bearer abcdefghijklmnop' "
        "https://me:hunter22@example.org sk-abcdefghijklmnopqrstu ghp_abcdefghijklmnopqrstuv",
    )
    for secret in ("abcdefghijklmnop", "hunter22"):
        assert secret not in text
    assert "@example.org" in text


def test_a_redaction_cannot_hide_a_command() -> None:
    text = words("execute", command="curl https://me:$(rm -rf ~)@x sk-$(evil) 'Bearer ;rm -rf ~ab'")
    assert "$(rm -rf ~)" in text
    assert "$(evil)" in text
    assert ";rm -rf ~ab" in text


def test_arguments_named_like_secrets_are_starred_and_others_are_not() -> None:
    text = words("network", api_key="k-123", password="p-123", max_tokens=7, monkey="fine")
    assert "k-123" not in text
    assert "p-123" not in text
    assert "max_tokens: 7" in text
    assert "monkey: fine" in text


def test_a_value_cannot_pass_for_another_argument() -> None:
    text = words("write", path="a", content="x\n  path: b")
    assert "\n      path: b" in text


def test_names_that_look_alike_do_not_hide_each_other() -> None:
    spec = ToolSpec(name="tool", description="d", effect="write")
    arguments = {"a" * 100 + "1": "one", "a" * 100 + "2": "two"}
    shown = shown_arguments(spec, ToolCall(id="1", name="tool", arguments=arguments))
    assert list(shown.values()) == ["one", "two"]


def test_many_arguments_are_counted_not_listed() -> None:
    text = words("write", **{f"a{i}": i for i in range(1000)})
    assert "970 more arguments" in text


def test_nested_arguments_and_no_arguments_are_shown() -> None:
    assert 'edits: [{"old":"a","new":"b"}]' in words("write", edits=[{"old": "a", "new": "b"}])
    assert "(no arguments)" in words("write")


def test_what_is_no_json_is_shown_all_the_same() -> None:
    assert "object object" in words("write", odd=object())
    assert words("write", odd="\ud800")
