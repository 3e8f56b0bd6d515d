"""A key goes to its service and nowhere else, whatever the service does with it.

A real server process is given a key in each of the ways there are, and a service that quotes the
key wherever it can. Afterwards every file, log, event, tool answer and command line is searched for
it, whole and in halves: a text that is cut must not show the rest.

Not promised, and not tested: a key that the service sends back encoded (base64, per cent signs) or
as the words of the model's answer; and what the owner of the machine can see anyway, such as the
environment of a process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import pytest

from bamboo_mcp.app.opening import App, open_app
from bamboo_mcp.cli.logs import configure_logging
from bamboo_mcp.contributions import ProviderConfig, ProviderContribution
from bamboo_mcp.domain.errors import BambooError
from bamboo_mcp.domain.ids import LOCAL
from bamboo_mcp.domain.models import ModelCaps, ModelEntry, ModelRequest
from bamboo_mcp.domain.stream import Chunk, TextChunk
from bamboo_mcp.domain.subagents import SubagentSpec
from bamboo_mcp.plugin_host.hookspecs import hookimpl
from bamboo_mcp.plugin_host.sources import ObjectSource
from bamboo_mcp.ports import Notify, Provider
from bamboo_mcp.settings import Settings
from bamboo_mcp.testing.fake_llm.anthropic import AnthropicDialect
from bamboo_mcp.testing.fake_llm.server import FakeCall, FakeError, FakeReply, fake_llm
from tests.journeys.canary import FORMS, KEY, MODEL, Everything, Planted
from tests.journeys.harness import Place, client, run

pytest.importorskip("anthropic")

QUOTING: Mapping[str, str] = {
    "x-echo": KEY,
    "request-id": f"req_{KEY}",
    "retry-after": KEY,
    "retry-after-ms": "1",
    "www-authenticate": f'Bearer error="{KEY}"',
}


def refusal(status: int, error_type: str, message: str = "") -> FakeReply:
    said = message or f"who are you, {KEY}? In: Authorization: Bearer {KEY}"
    return FakeReply(
        error=FakeError(
            status=status, type=error_type, message=said, code=f"code {KEY}", headers=QUOTING
        )
    )


Fault: TypeAlias = tuple[str, str, tuple[FakeReply, ...]]
"""What the service does to a run: how we call it, how the run ends, and an answer a try."""


def faults() -> Iterator[Fault]:
    """What is answered at once."""
    for status, error_type in ((401, "authentication_error"), (401, KEY), (403, "permission")):
        yield f"{status} {error_type[:6]}", "error", (refusal(status, error_type),)
    said = FakeError(type="overloaded_error", message=f"too much, {KEY}")
    reply = FakeReply(text="half an answer", fault="error_event", after=5, error=said)
    yield "an error inside the stream", "error", (reply,)
    for status, error_type in ((400, "invalid_request_error"), (413, "too_large"), (404, "none")):
        yield f"{status}", "error", (refusal(status, error_type),)
    yield "no credit", "error", (refusal(429, "billing_error"),)
    for before in (463, 470, 480, 484, 499, 500):
        long = "x" * before + KEY + "x" * 500
        yield "a key where a long text is cut", "error", (refusal(400, "long", long),)
    yield "a broken connection", "error", (FakeReply(text="half", fault="cut", after=5),)
    unknown: tuple[Mapping[str, Any], ...] = (
        {"type": KEY, "data": KEY},
        {"type": "content_block_delta", "index": 99, "delta": {"type": KEY, KEY: KEY}},
    )
    for event in unknown:
        yield "an unknown event", "completed", (FakeReply(text="half", extra_events=(event,)),)


def retried_faults() -> Iterator[Fault]:
    """What is tried three times: slow, and the same for every form of a key."""
    yield "500 again and again", "error", (refusal(500, "api_error"),) * 3
    said = FakeError(type="api_error", message=f"too much, {KEY}")
    reply = FakeReply(fault="error_event", after=1, error=said)
    yield "an error before anything is said", "error", (reply,) * 3
    page = FakeReply(document=f"<html><title>{KEY}</title></html>")
    yield "a page of a proxy", "error", (page,) * 3
    call = FakeCall(id="c1", name="read_file", raw_json='{"path": tru')
    yield "arguments that are no JSON", "error", (FakeReply(calls=(call,)),) * 3


@pytest.mark.parametrize("form", FORMS)
async def test_a_key_shows_nowhere_whatever_goes_wrong(tmp_path: Path, form: str) -> None:
    place, planted = Place(tmp_path), Planted(tmp_path, form)
    everything = Everything(place)
    async with fake_llm(AnthropicDialect()) as service:
        planted.configure(place, service.base_url)
        async with client(place, env=planted.env) as agent:
            everything.hear(agent)
            await agent.call("list_models")
            await agent.call("health")
            # Once it is read, a key is a key: one form goes through everything, the others a part.
            wrong = list(faults())
            wrong = [*wrong, *retried_faults()] if form == "cmd" else wrong[:5]
            for name, ending, answers in wrong:
                service.reply(*answers)
                child = await agent.spawn(f"work: {name}", model=MODEL)
                assert (name, (await agent.awaited(child))["status"]) == (name, ending)
                service.assert_complete()
                await agent.call(
                    "get_subagent", subagent_id=child, include=["events", "transcript"]
                )
                everything.see_processes()
            service.reply(FakeReply(text="well done"))
            done = await agent.awaited(await agent.spawn("work", model=MODEL))
            assert done["result"]["text"] == "well done"
            await agent.result("run_command", command="env; set")
            await agent.call("list_models")
            await agent.call("health")
            await agent.call("list_subagents")
        assert service.requests, "the key went to its service"
        assert all(seen.headers["x-api-key"] == KEY for seen in service.requests)
    everything.assert_clean()


async def test_a_key_shows_in_no_output_of_the_commands(tmp_path: Path) -> None:
    place, planted = Place(tmp_path), Planted(tmp_path, "cmd")
    everything = Everything(place)
    place.errors.touch()
    planted.configure(place, "http://127.0.0.1:9")  # nobody is there
    for command in (
        ["config", "show"],
        ["models", "--json"],
        ["-v", "run", "--model", MODEL, "hello"],
        ["run", "--json", "--model", MODEL, "hello"],
    ):
        done = run(place, command, env=planted.env)
        everything.said += [done.stdout, done.stderr]
    assert planted.reference.partition(":")[0] in everything.said[0], "where the key is, is shown"
    everything.assert_clean()


async def test_a_command_that_fails_is_told_to_the_client_without_what_it_wrote(
    tmp_path: Path,
) -> None:
    place, planted = Place(tmp_path), Planted(tmp_path, "cmd")
    everything = Everything(place)
    program = tmp_path / "own" / "give_key.py"
    planted.configure(place, "http://127.0.0.1:9")
    async with client(place, env=planted.env) as agent:
        everything.hear(agent)
        for text, words in (
            (f"print({KEY!r}); raise SystemExit(4)", "ended with exit code 4"),
            (f"print('the key is {KEY}')", "is not a key"),
            (f"print({KEY!r}); print({KEY!r})", "wrote several lines"),
        ):
            program.write_text(text, encoding="utf-8")
            said = await agent.error("spawn_subagent", task="x", model=MODEL)
            assert said["code"] == "authentication_failed"
            assert "providers.work.api_key" in said["message"]
            assert words in said["message"]
            assert said["hint"] or words == "is not a key"
    everything.assert_clean()


class Crashing:
    """A plugin whose provider quotes its key in what it raises, of no kind that we know."""

    def __init__(self, config: ProviderConfig) -> None:
        self._config = config

    @property
    def name(self) -> str:
        return self._config.name

    def caps(self, model: str) -> ModelCaps:
        return ModelCaps()

    @asynccontextmanager
    async def stream(
        self, request: ModelRequest, *, notify: Notify | None = None
    ) -> AsyncIterator[AsyncIterator[Chunk]]:
        if request.model == "begins":
            yield self._half()
        else:
            raise self._crash()

    async def _half(self) -> AsyncIterator[Chunk]:
        yield TextChunk(index=0, text="half")
        raise self._crash()

    async def count(self, request: ModelRequest) -> int | None:
        raise self._crash()

    async def models(self) -> Sequence[ModelEntry]:
        raise self._crash()

    def _crash(self) -> Exception:
        return ValueError(f"illegal header value: Bearer {self._config.api_key.reveal()}")


class Brings:
    @hookimpl
    def contribute_providers(self) -> Sequence[ProviderContribution]:
        return [
            ProviderContribution(type="crashes", load=Crashing, api_key_env="WORK_KEY"),
            ProviderContribution(type="never-loads", load=_no_load, api_key_env="WORK_KEY"),
            ProviderContribution(
                type="never-ready", load=Crashing, missing=_no_word, api_key_env="WORK_KEY"
            ),
        ]


def _no_load(config: ProviderConfig) -> Provider:
    raise ValueError(f"not a key: {config.api_key.reveal()}")


def _no_word(config: ProviderConfig) -> str:
    raise ValueError(f"not a key: {config.api_key.reveal()}")


async def test_a_crash_that_quotes_the_key_shows_it_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORK_KEY", KEY)
    place = Place(tmp_path)
    place.errors.touch()
    everything = Everything(place)
    settings = Settings.model_validate(
        {
            "home": place.home,
            "workspace": {"root": str(place.workspace)},
            "logging": {"level": "debug"},
        }
    )
    sources = [ObjectSource({"brings": Brings()})]
    with configure_logging(settings, verbose=True), anyio.fail_after(20):
        async with open_app(settings, sources=sources) as app:
            for model in ("crashes:at once", "crashes:begins", "never-loads:x", "never-ready:x"):
                everything.said.append(await _crashed(app, model))
            everything.said.append(repr(await app.models.menu()))
            everything.said.append(repr(await app.models.menu(ask=True)))
    shown = capsys.readouterr()
    everything.said += [shown.out, shown.err]
    assert "illegal header value: Bearer ***" in shown.err, "the operator is told what happened"
    everything.assert_clean()


async def _crashed(app: App, model: str) -> str:
    """All that its caller gets to see."""
    try:
        one = await app.subagents.spawn(SubagentSpec(task="work", model=model))
    except BambooError as error:
        return f"{error!r} {error.message} {error.hint}"
    return repr(await app.subagents.wait([one.subagent_id], caller=LOCAL, timeout_s=10))
