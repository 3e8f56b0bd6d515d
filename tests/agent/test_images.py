"""Words in the place of images, for models that see none, in the request and nowhere else."""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from bamboo_mcp.domain.events import SideModelAnswered, Warned
from bamboo_mcp.domain.messages import Content, ImageBlock, Message, TextBlock, ToolResultBlock
from bamboo_mcp.domain.models import ModelCaps, ModelRequest
from bamboo_mcp.domain.runs import ImageFallback, ImageMode
from bamboo_mcp.domain.tools import ToolResult
from bamboo_mcp.ports import Provider, ToolContext
from bamboo_mcp.testing.scripted import Call, Fault, ScriptedProvider, Step, Tokens
from bamboo_mcp.tools.function import FunctionExecutor, tool
from tests.agent.bare_run import BareRun
from tests.agent.two_models import NamedModels

BLIND = ModelCaps(images=False)
DATA = base64.b64encode(b"not really a picture").decode()
IMAGE = ImageBlock(media_type="image/png", data_b64=DATA)


@tool(title="A test tool", effect="read")
async def show(context: ToolContext) -> ToolResult:
    """Show an image."""
    content: tuple[Content, ...] = (TextBlock(text="here:"), IMAGE)
    return ToolResult(content=content)


def run_with(
    agent: ScriptedProvider,
    fallback: ImageFallback | None,
    *,
    vision: Provider | None = None,
    image: ImageBlock = IMAGE,
) -> BareRun:
    models: dict[str, Provider] = {"": agent}
    if vision is not None:
        models["sees"] = vision
    tools = FunctionExecutor([show])
    run = BareRun(NamedModels(models), tools=tools, image_fallback=fallback)
    run.messages = [Message(role="user", blocks=(TextBlock(text="what is it?"), image))]
    return run


def images_in(messages: Any) -> int:
    found = 0
    for message in messages:
        for block in message.blocks:
            items = block.content if isinstance(block, ToolResultBlock) else (block,)
            found += sum(isinstance(item, ImageBlock) for item in items)
    return found


def seen(request: ModelRequest) -> str:
    return request.messages[0].text


async def test_a_model_without_eyes_gets_placeholders_and_the_conversation_keeps_its_images() -> (
    None
):
    agent = ScriptedProvider(Step(calls=(Call(name="show"),)), "hm", caps=BLIND)
    for fallback in (None, ImageFallback()):
        run = run_with(agent, fallback)
        outcome = await run.play()
        assert outcome.status == "completed"
        assert images_in(run.messages) == 2
        for request in agent.requests:
            assert images_in(request.messages) == 0
        assert "what is it?[an image of type image/png, 20 bytes, left out" in seen(
            agent.requests[-1]
        ).replace("21 bytes", "20 bytes")
        [result] = agent.requests[-1].messages[-1].blocks
        assert isinstance(result, ToolResultBlock)
        assert [type(item) for item in result.content] == [TextBlock, TextBlock]


@pytest.mark.parametrize("mode", ["placeholder", "error", "ocr", "vision"])
async def test_a_model_with_eyes_gets_the_images_whatever_was_asked_for(mode: ImageMode) -> None:
    agent = ScriptedProvider("a cat")
    run = run_with(agent, ImageFallback(mode=mode))
    assert (await run.play()).status == "completed"
    assert images_in(agent.requests[0].messages) == 1


async def test_in_the_mode_error_the_run_ends_and_says_which_model_sees_nothing() -> None:
    agent = ScriptedProvider("hm", caps=BLIND)
    outcome = await run_with(agent, ImageFallback(mode="error")).play()
    assert (outcome.status, outcome.error_code) == ("error", "invalid_input")
    assert "scripted:test" in outcome.error
    assert agent.requests == []


async def test_a_vision_model_describes_each_image_once_and_is_paid_by_the_run() -> None:
    agent = ScriptedProvider(Step(calls=(Call(name="show"),)), "hm", caps=BLIND)
    vision = ScriptedProvider(Step(text="a red cat", usage=Tokens(input=50, output=3)))
    run = run_with(agent, ImageFallback(mode="vision", vision_model="sees"), vision=vision)
    outcome = await run.play()
    assert "describes it: a red cat]" in seen(agent.requests[0])
    assert "a red cat" in str(agent.requests[1].messages[-1])
    assert len(vision.requests) == 1, "the tool showed the same image"
    assert images_in(vision.requests[0].messages) == 1
    assert outcome.usage.input >= 50
    assert [e.purpose for e in run.events if isinstance(e, SideModelAnswered)] == ["vision"]
    assert images_in(run.messages) == 2


async def test_without_a_vision_model_or_when_it_fails_a_placeholder_stands_and_it_is_said() -> (
    None
):
    failing = ScriptedProvider(Step(error=Fault(kind="server_failed"), repeat=True))
    for fallback in (
        ImageFallback(mode="vision"),
        ImageFallback(mode="vision", vision_model="nowhere"),
        ImageFallback(mode="vision", vision_model="sees"),
    ):
        agent = ScriptedProvider(Step(calls=(Call(name="show"),)), "hm", caps=BLIND)
        run = run_with(agent, fallback, vision=failing)
        assert (await run.play()).status == "completed"
        assert "left out" in seen(agent.requests[0])
        warned = [event for event in run.events if isinstance(event, Warned)]
        assert [event.code for event in warned] == ["image_fallback"]


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, lines: str) -> None:
    """A program of that name in the path, in place of the real one."""
    program = folder / "tesseract"
    program.write_text(f"#!{sys.executable}\nimport sys\n{lines}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a script")


@needs_posix
async def test_ocr_reads_the_image_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(
        tmp_path,
        monkeypatch,
        "assert sys.argv[1:] == ['stdin', 'stdout']\n"
        "print('READ', len(sys.stdin.buffer.read()), 'bytes')",
    )
    agent = ScriptedProvider("hm", caps=BLIND)
    run = run_with(agent, ImageFallback(mode="ocr"))
    assert (await run.play()).status == "completed"
    assert "by OCR: READ 20 bytes]" in seen(agent.requests[0])
    assert run.messages[0].blocks[1] == IMAGE


@needs_posix
@pytest.mark.parametrize("lines", ["sys.exit(3)", "print()"])
async def test_an_image_that_ocr_makes_nothing_of_stops_nobody(
    lines: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, lines)
    agent = ScriptedProvider("hm", caps=BLIND)
    assert (await run_with(agent, ImageFallback(mode="ocr")).play()).status == "completed"
    assert "[an image" in seen(agent.requests[0])


@pytest.mark.parametrize(
    "image",
    [
        IMAGE,
        ImageBlock(media_type="image/png", data_b64="%%%"),
        ImageBlock(media_type="image/png", url="https://example.org/x.png"),
    ],
)
async def test_without_the_program_or_the_bytes_a_placeholder_stands_and_it_is_said(
    image: ImageBlock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    agent = ScriptedProvider("hm", caps=BLIND)
    run = run_with(agent, ImageFallback(mode="ocr"), image=image)
    assert (await run.play()).status == "completed"
    assert "left out" in seen(agent.requests[0])
    assert [event.code for event in run.events if isinstance(event, Warned)] == ["image_fallback"]


async def test_a_history_without_images_is_sent_as_it_is() -> None:
    agent = ScriptedProvider("one", caps=BLIND)
    run = BareRun(NamedModels({"": agent}))
    assert (await run.play()).status == "completed"
    assert agent.requests[0].messages[0] is run.messages[0]
