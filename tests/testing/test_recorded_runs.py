"""A run of the real agent against the fake, recorded, and played again without any service."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
import pytest

from tests.testing.fake_process import fake_llm_process

RUN = r"""
conversations:
  - when: {last_user: "Compare the notes"}
    steps:
      - reasoning: Both at once, and one for somebody else.
        text: I look at both.
        calls:
          - {name: find_files, args: {pattern: "*.txt"}}
          - {name: read_file, args: {path: a.txt}}
          - {name: spawn_subagent, args: {task: "Read b.txt and say what it holds"}}
          - {name: spawn_subagent, args: {task: "Read a.txt and say what it holds"}}
        usage: {input: 100, output: 20}
      - when: {tool_result: spawn_subagent}
        calls:
          - name: steer_subagent
            args:
              subagent_id: "{{results.spawn_subagent.0 | /sub_\\w+/}}"
              message: "Say it loudly"
      - when: {tool_result: steer_subagent}
        calls:
          - name: await_subagents
            args:
              subagent_ids:
                - "{{results.spawn_subagent.0 | /sub_\\w+/}}"
                - "{{results.spawn_subagent.1 | /sub_\\w+/}}"
              timeout_s: 20
      - when: {tool_result: await_subagents, contains: "2 of 2 ended"}
        text: "Both were read.\n\n{ a: {{\"{{\"}} b }"
        usage: {input: 200, output: 10}
  - when: {last_user: '/Read (?P<file>\w.txt)|loudly/'}
    steps:
      - calls: [{name: read_file, args: {path: "{{file}}"}}]
        delay_ms: 200
      - text: "{{file}} holds {{result}}"
"""


async def _run(folder: Path, *options: str, url: str = "") -> tuple[int, str, str]:
    environ = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    environ |= {"BAMBOO_HOME": str(folder / "home"), "ANTHROPIC_BASE_URL": url}
    if url:
        environ["ANTHROPIC_API_KEY"] = "sk-secret-of-mine"
    command = [sys.executable, "-m", "bamboo_mcp", "run", "Compare the notes"]
    with anyio.fail_after(25):
        done = await anyio.run_process(
            [*command, "--workspace", str(folder / "workspace"), *options],
            env=environ,
            check=False,
        )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.timeout(60)
async def test_a_run_with_subagents_and_steering_plays_to_the_same_answer(tmp_path: Path) -> None:
    (tmp_path / "workspace").mkdir()
    for name in "ab":
        (tmp_path / "workspace" / f"{name}.txt").write_text(f"note {name}\n", encoding="utf-8")
    script, file = tmp_path / "script.yaml", tmp_path / "run.yaml"
    script.write_text(RUN, encoding="utf-8")
    async with fake_llm_process(script) as fake:
        live = await _run(
            tmp_path,
            *("--model", "anthropic:claude-opus-5-5", "--record", str(file)),
            url=fake.url,
        )
    assert live[:2] == (0, "Both were read.\n\n{ a: {{ b }\n"), live
    text = file.read_text(encoding="utf-8")
    assert "sk-secret" not in text
    assert "fake-signature" not in text
    for _ in range(2):
        played = await _run(tmp_path, "--model", f"scripted:{file}")
        assert played[:2] == live[:2], played
    async with fake_llm_process(file) as fake:
        served = await _run(tmp_path, "--model", "anthropic:claude-opus-5-5", url=fake.url)
        assert served[:2] == live[:2], served
