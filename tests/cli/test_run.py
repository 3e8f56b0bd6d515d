from __future__ import annotations

import signal
import sys
from pathlib import Path

import msgspec
import pytest

from bamboo_mcp.domain.events import EventRecord, RunEnded
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.testing.scripted import Call, Fault, ScriptedProvider, Step, Tokens
from bamboo_mcp.tools.function import FunctionExecutor, tool, tools_of
from tests.cli.small_app import Desk, command

WRITES = Step(text="Let me see.", calls=(Call(name="write", args={"text": "x"}),))


def test_standard_output_holds_the_answer_and_nothing_else() -> None:
    model = ScriptedProvider(
        Step(text="I look first.", calls=(Call(name="choose"),)), "The answer.", strict=False
    )
    result = command("run", "do it", provider=model, tools=Desk().tools)
    assert (result.exit_code, result.stdout) == (0, "The answer.\n")
    assert "→ choose" in result.stderr
    assert "✗ choose" in result.stderr
    assert "2 rounds" in result.stderr


def test_the_last_line_tells_what_it_cost() -> None:
    step = Step(text="Done.", usage=Tokens(input=12_000, output=34, cache_read=10_000))
    result = command("run", "do it", provider=ScriptedProvider(step))
    last = result.stderr.splitlines()[-1]
    assert "1 round · 12,000 tokens in (10,000 cached), 34 out" in last


def test_the_task_comes_from_standard_input() -> None:
    model = ScriptedProvider("Done.")
    result = command("run", "-", provider=model, typed="long task é\nof two lines")
    assert result.exit_code == 0
    assert model.requests[0].messages[0].text == "long task é\nof two lines"


def test_options_reach_the_run() -> None:
    model = ScriptedProvider(Step(text="again", calls=(Call(name="choose"),), repeat=True))
    result = command(
        *("run", "do it", "--max-rounds", "2", "--timeout", "50", "--system", "Be a cat."),
        provider=model,
        tools=Desk().tools,
    )
    assert "Be a cat." in model.requests[0].system
    assert len(model.requests) <= 3
    assert result.exit_code in (0, 1)


def test_json_gives_one_event_a_line_and_nothing_else() -> None:
    model = ScriptedProvider(Step(text="", calls=(Call(name="choose"),)), "Füße\n2 lines")
    result = command("run", "do it", "--json", provider=model, tools=Desk().tools)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout_bytes.splitlines()
    records = [msgspec.json.decode(line, type=EventRecord) for line in lines]
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    ended = records[-1].event
    assert isinstance(ended, RunEnded)
    assert ended.outcome.text == "Füße\n2 lines"


def test_without_a_terminal_a_question_is_denied_with_the_reason() -> None:
    desk = Desk()
    model = ScriptedProvider(WRITES, "Then not.")
    result = command("run", "write", provider=model, tools=desk.tools)
    assert (result.exit_code, result.stdout) == (0, "Then not.\n")
    assert desk.written == []
    assert "standard input is not a terminal" in result.stderr
    assert any("not a terminal" in str(m) for m in model.requests[1].messages)


def test_a_mode_on_the_command_line_is_granted_by_who_typed_it() -> None:
    desk = Desk()
    model = ScriptedProvider(WRITES, "Written.")
    result = command("run", "write", "--mode", "accept_edits", provider=model, tools=desk.tools)
    assert (result.exit_code, desk.written) == (0, ["x"])


def test_a_run_that_fails_ends_with_1_and_says_why() -> None:
    model = ScriptedProvider(Step(error=Fault(kind="bad_request", message="no such thing")))
    result = command("run", "do it", provider=model)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "error: bad_request" in result.stderr
    assert "no such thing" in result.stderr


@pytest.mark.parametrize("task", ["", "  \n"])
def test_an_empty_task_is_a_misuse(task: str) -> None:
    for arguments, typed in [((task,), ""), (("-",), task)]:
        result = command("run", *arguments, typed=typed)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "the task is empty" in result.stderr


def test_a_task_of_5_mb_is_a_misuse_that_says_what_to_do() -> None:
    result = command("run", "-", typed="x" * 5_000_000)
    assert result.exit_code == 2
    assert "longer than 4,000,000 bytes" in result.stderr
    assert "write the material to a file" in result.stderr


def test_a_task_that_is_not_text_is_a_misuse() -> None:
    for arguments, typed in [(("-",), b"ab\xff"), (("ab\udcff",), b"")]:
        result = command("run", *arguments, typed=typed)
        assert result.exit_code == 2
        assert "not UTF-8 text (byte 2)" in result.stderr


def test_no_task_is_a_misuse() -> None:
    assert command("run").exit_code == 2


def test_a_bad_setting_ends_before_the_agent_is_opened(tmp_path: Path) -> None:
    result = command("run", "do it", "--max-rounds", "0")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--max-rounds: limits.max_rounds = 0 must be at least 1" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="raises a POSIX signal in this process")
def test_ctrl_c_cancels_the_run_keeps_what_was_written_and_ends_with_130() -> None:
    class Keyboard:
        @tool(title="Press", effect="read")
        async def press(self, context: ToolContext) -> str:
            """Press Ctrl-C, then go on for ever."""
            import anyio

            signal.raise_signal(signal.SIGINT)
            await anyio.sleep_forever()
            return "never"

    model = ScriptedProvider(Step(text="So far.", calls=(Call(name="press"),)))
    tools = FunctionExecutor(tools_of(Keyboard()))
    result = command("run", "do it", provider=model, tools=tools)
    assert result.exit_code == 130
    assert "cancelled: cancelled at the terminal" in result.stderr
    assert result.stdout in ("So far.\n", "")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
