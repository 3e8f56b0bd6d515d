"""`bamboo-mcp fake-llm`: a language model service to test agents against, without a key."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click
import msgspec

from bamboo_mcp.cli.collector import settle
from bamboo_mcp.cli.plain_text import printable, short
from bamboo_mcp.cli.signals import interrupts
from bamboo_mcp.domain.errors import InvalidInput

if TYPE_CHECKING:
    from bamboo_mcp.testing.fake_llm.scripted import Exchange, ScriptedReplies
    from bamboo_mcp.testing.fake_llm.server import Dialect

_ASKED_WIDTH = 60
_ANSWER_WIDTH = 80
_MOST_UNUSED = 20
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where a client on this machine finds a server that listens everywhere."""


@click.command(name="fake-llm")
@click.argument("script", required=False, type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=0, show_default=True, type=click.IntRange(0, 65_535), help="0: a free one."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
@click.option(
    "--in-order", is_flag=True, help="Play the steps in the order of requests, whoever asks."
)
@click.option("--lenient", is_flag=True, help="Answer also what the real service would refuse.")
def fake_llm(
    script: Path | None, host: str, port: int, as_json: bool, in_order: bool, lenient: bool
) -> None:
    """Serve a fake language model that plays SCRIPT, until Ctrl-C.

    It speaks the Anthropic Messages, OpenAI Responses and OpenAI Chat Completions APIs. The first
    line of output says where it listens and which variables lead a client there; then each request
    has a line: what was asked, and which step of the script answered it, or why none did. Without
    SCRIPT it repeats what it is told.

    A request goes on with the conversation whose history it continues, and each conversation walks
    the steps from the first. One that repeats a request whose answer failed gets the next step.
    """
    from bamboo_mcp.providers.scripted.file import read_script
    from bamboo_mcp.testing.fake_llm.scripted import ScriptedReplies, engine_of

    played = read_script(script) if script is not None else None
    if not _is_loopback(host):
        warning = f"warning: {host} is not loopback: whoever reaches this machine can ask"
        click.secho(warning, fg="yellow", err=True)
    engine = engine_of(played)
    dialects = _dialects(lenient)
    replies = ScriptedReplies(engine, _json_line if as_json else _line, in_order=in_order)
    model = (played.model if played is not None else "") or "fake"
    anyio.run(_serve, dialects, replies, host, port, model, _json_begin if as_json else _begin)
    if played is not None:
        _tell_unused(engine.unused())


def _tell_unused(steps: list[str]) -> None:
    for step in steps[:_MOST_UNUSED]:
        click.secho(printable(f"never played: {step}"), dim=True, err=True)
    if (more := len(steps) - _MOST_UNUSED) > 0:
        click.secho(f"and {more} more were never played", dim=True, err=True)


def _dialects(lenient: bool) -> list[Dialect]:
    from bamboo_mcp.testing.fake_llm.anthropic import AnthropicDialect
    from bamboo_mcp.testing.fake_llm.chat import ChatDialect
    from bamboo_mcp.testing.fake_llm.responses import ResponsesDialect
    from bamboo_mcp.testing.fake_llm.tolerance import Tolerant
    from bamboo_mcp.testing.fake_llm.vendors import ANTHROPIC, CHAT, RESPONSES

    return [
        Tolerant(AnthropicDialect(), ANTHROPIC, anything=lenient),
        Tolerant(ResponsesDialect(), RESPONSES, anything=lenient),
        Tolerant(ChatDialect(), CHAT, anything=lenient),
    ]


async def _serve(
    dialects: list[Dialect],
    replies: ScriptedReplies,
    host: str,
    port: int,
    model: str,
    begin: Callable[[str], None],
) -> None:
    from bamboo_mcp.testing.fake_llm.server import fake_llm as running

    async with AsyncExitStack() as stack:
        # Before the address is told: whoever reads it may stop us at once.
        stopping = stack.enter_context(interrupts())
        try:
            server = await stack.enter_async_context(
                running(*dialects, host=host, port=port, replies=replies)
            )
        except OSError as error:
            raise InvalidInput(
                f"{host} port {port} cannot be listened on: {error.strerror or error}",
                hint="--port 0 takes a free one.",
            ) from error
        server.model_ids = [model]
        settle()
        begin(_url(host, server.port))
        await anext(stopping)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _url(host: str, port: int) -> str:
    host = _ANY_ADDRESS.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _variables(url: str) -> dict[str, str]:
    return {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "fake",
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": "fake",
    }


def _begin(url: str) -> None:
    variables = " ".join(f"{name}={value}" for name, value in _variables(url).items())
    click.echo(f"fake-llm listens on {url}; set {variables}")


def _json_begin(url: str) -> None:
    _write_json({"listening": url, "environment": _variables(url)})


def _line(exchange: Exchange) -> None:
    asked = short(exchange.asked, _ASKED_WIDTH)
    line = f"{datetime.now():%H:%M:%S} {exchange.api} {printable(exchange.model)} {asked!r}"
    status = f" [{exchange.status}]" if exchange.status != 200 else ""
    if exchange.problem:
        problem = printable(exchange.problem).replace("\n", "\n    ")
        click.secho(f"{line} ->{status} {problem}", fg="red")
        return
    step = f" {exchange.step}:" if exchange.step else ""
    click.echo(f"{line} ->{status}{step} {short(exchange.answer, _ANSWER_WIDTH) or 'answered'}")


def _json_line(exchange: Exchange) -> None:
    at = datetime.now().astimezone().isoformat(timespec="milliseconds")
    _write_json({"at": at, **msgspec.structs.asdict(exchange)})


def _write_json(value: object) -> None:
    click.echo(msgspec.json.encode(value).decode())
