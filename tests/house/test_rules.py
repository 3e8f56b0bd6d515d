"""Each rule of the house can fail: fed what it must refuse, and what looks like it but is fine."""

from __future__ import annotations

import pytest

from tests.house import rules
from tests.house.rules import Rule, Source, parse


def says(rule: Rule, text: str, path: str = "bamboo_mcp/agent/loop.py") -> list[str]:
    return [fault.message for fault in rule(parse(path, text))]


def test_a_file_over_the_limit_is_refused_and_one_at_the_limit_is_not() -> None:
    assert says(rules.file_length, "x = 1\n" * 501)
    assert not says(rules.file_length, "x = 1\n" * 500)


def test_a_function_over_the_limit_is_refused_and_named() -> None:
    long = "async def wander() -> None:\n" + "    x = 1\n" * 80
    assert "'wander' has 81 lines" in says(rules.function_length, long)[0]
    assert not says(rules.function_length, "def walk() -> None:\n" + "    x = 1\n" * 79)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("import anthropic", "bamboo_mcp/agent/loop.py"),
        ("import openai", "bamboo_mcp/providers/anthropic/provider.py"),
        ("from tinydb.storages import Storage", "bamboo_mcp/disk/index.py"),
        ("def late() -> None:\n    from mcp.types import Tool", "bamboo_mcp/control/health.py"),
        ("import importlib\nm = importlib.import_module('mcp')", "bamboo_mcp/tools/x.py"),
        ("if TYPE_CHECKING:\n    import pluggy", "bamboo_mcp/ports.py"),
        ("import pydantic", "bamboo_mcp/domain/ids.py"),
    ],
)
def test_a_library_outside_its_place_is_refused(text: str, path: str) -> None:
    assert says(rules.confinement, text, path)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("import anthropic", "bamboo_mcp/providers/anthropic/provider.py"),
        ("import pydantic", "bamboo_mcp/settings.py"),
        ("import mcp", "bamboo_mcp/server/stdio.py"),
        ("import mcp", "tests/server/test_stdio.py"),
        ("import mcpish", "bamboo_mcp/agent/loop.py"),
        ("from bamboo_mcp.providers import anthropic", "bamboo_mcp/app.py"),
    ],
)
def test_a_library_in_its_place_and_a_namesake_are_fine(text: str, path: str) -> None:
    assert not says(rules.confinement, text, path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x = 1",
        '"""A sentence that goes on over\nthe end of the line."""',
        '"""No full stop here"""',
        '"""Utilities."""',
        '"""This module contains the loop."""',
        '"""The loop of the agent.\nMore without a blank line."""',
    ],
)
def test_a_docstring_that_is_no_line_of_a_table_of_contents_is_refused(text: str) -> None:
    assert says(rules.table_of_contents_line, text)


def test_a_docstring_that_opens_with_one_sentence_is_fine() -> None:
    text = '"""One run of one agent: a loop that reads aloud.\n\nMore of it below."""'
    assert not says(rules.table_of_contents_line, text)


@pytest.mark.parametrize(
    "path",
    [
        "bamboo_mcp/utils.py",
        "bamboo_mcp/helpers/thing.py",
        "bamboo_mcp/agent/common_parts.py",
        "bamboo_mcp/domain/types.py",
        "tests/agent/helpers.py",
        "bamboo_mcp/agent/manager.py",
    ],
)
def test_a_name_that_says_nothing_is_refused(path: str) -> None:
    assert says(rules.names, "", path)


@pytest.mark.parametrize(
    "path",
    ["bamboo_mcp/subagents/manager.py", "bamboo_mcp/disk/baseline.py", "tests/agent/test_loop.py"],
)
def test_a_name_that_says_something_is_fine(path: str) -> None:
    assert not says(rules.names, "", path)


@pytest.mark.parametrize(
    "handler",
    [
        "except Exception:\n    pass",
        "except:\n    log.error('no')",
        "except (ValueError, Exception) as error:\n    return None",
        "except BaseException as error:\n    answer = error",
        "except Exception:  # noqa: BLE001\n    pass",
    ],
)
def test_catching_everything_in_silence_is_refused(handler: str) -> None:
    assert says(rules.broad_excepts, f"try:\n    work()\n{handler}\n")


@pytest.mark.parametrize(
    "handler",
    [
        "except Exception:\n    logger.exception('a plugin failed')",
        "except Exception as error:\n    logger.warning('x', exc_info=error)",
        "except Exception as error:\n    raise PluginError('x') from error",
        "except BaseException:\n    undo()\n    raise",
        "except Exception as error:\n    failure = error\nif failure:\n    raise failure",
        "except ValueError:\n    pass",
    ],
)
def test_catching_everything_and_saying_so_is_fine(handler: str) -> None:
    assert not says(rules.broad_excepts, f"try:\n    work()\n{handler}\n")


@pytest.mark.parametrize("mark", ["TODO", "FIXME", "XXX", "HACK", "WIP"])
def test_an_unfinished_mark_in_a_comment_is_refused(mark: str) -> None:
    assert says(rules.unfinished, f"x = 1  # {mark}: later")


def test_a_mark_in_a_string_is_fine_since_the_demo_looks_for_them() -> None:
    assert not says(rules.unfinished, "pattern = 'TODO'")


def test_a_stub_is_refused_but_a_hookspec_and_a_contract_suite_are_not() -> None:
    stub = "def later() -> None:\n    raise NotImplementedError('soon')\n"
    assert says(rules.unfinished, stub)
    assert not says(rules.unfinished, "@hookspec(firstresult=True)\n" + stub)
    assert not says(rules.unfinished, stub, "bamboo_mcp/testing/contracts/event_log.py")


@pytest.mark.parametrize(
    "text",
    [
        "time.sleep(0.5)",
        "async def t() -> None:\n    await anyio.sleep(1)",
        "async def t() -> None:\n    await asyncio.sleep(delay)",
        "sleep(2)",
        "async def t() -> None:\n    while busy():\n        await anyio.sleep(0.01)",
    ],
)
def test_a_test_that_sleeps_is_refused(text: str) -> None:
    assert says(rules.sleeps, text, "tests/agent/test_loop.py")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("async def t() -> None:\n    await anyio.sleep(0)", "tests/agent/test_loop.py"),
        ("async def t() -> None:\n    await anyio.sleep_forever()", "tests/agent/test_loop.py"),
        ("command = 'import time; time.sleep(60)'", "tests/workspace/test_shell.py"),
        ("time.sleep(1)", "tests/benchmarks/start.py"),
        (
            "while True:  # polls: a server over the wire\n    await anyio.sleep(0.01)",
            "tests/journeys/harness.py",
        ),
        (
            "while not gone():  # noqa: ASYNC110 (another process)\n    await anyio.sleep(0.01)",
            "tests/process/ends.py",
        ),
    ],
)
def test_what_is_no_sleep_of_a_test_is_fine(text: str, path: str) -> None:
    assert not says(rules.sleeps, text, path)


def test_a_fault_names_file_and_line_and_every_rule_is_applied() -> None:
    source: Source = parse("bamboo_mcp/utils.py", "import anthropic  # TODO\n")
    said = [str(fault) for fault in rules.faults(source)]
    assert all(line.startswith("bamboo_mcp/utils.py:1: ") for line in said)
    assert len(said) == 4
