"""How large a run takes its next prompt to be, round by round, and what its models learn of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from bamboo_mcp.domain.events import ModelReplaced
from bamboo_mcp.domain.messages import Message, user_message
from bamboo_mcp.domain.models import ModelCaps, ModelEntry, ModelRequest
from bamboo_mcp.domain.stream import Chunk
from bamboo_mcp.domain.tokens import Ruler, Sizing
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.ports import Notify, Provider, ToolContext
from bamboo_mcp.testing.scripted import Call, ScriptedProvider, Step, Tokens
from bamboo_mcp.tools.function import FunctionExecutor, tool
from tests.agent.bare_run import BareRun


class Sized:
    """Implements `Models`: one provider; to each model every character is a token."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self.sizings: dict[str, Sizing] = {}
        self.given: list[str] = []

    async def resolve(self, name: str) -> tuple[Provider, str]:
        return self._provider, "test"

    async def menu(self, *, ask: bool = False) -> Sequence[ModelEntry]:
        return ()

    def goes_on(self, name: str) -> bool:
        return False

    def sizing(self, provider: str, model: str) -> Sizing:
        return self.sizings.setdefault(f"{provider}:{model}", Sizing(Ruler(self._count)))

    def cost(self, provider: str, model: str, usage: Usage) -> float | None:
        return None

    async def load_prices(self, provider: str = "", model: str = "") -> None:
        return

    def _count(self, text: str) -> int:
        self.given.append(text)
        return len(text)


class Looker:
    """A `Compactor` that notes the size it is told, and sends `instead` if it has any."""

    def __init__(self, instead: Sequence[Message] | None = None) -> None:
        self.sizes: list[int] = []
        self._instead = instead

    async def fit(
        self, history: Sequence[Message], *, tokens: int, caps: ModelCaps
    ) -> Sequence[Message] | None:
        self.sizes.append(tokens)
        return self._instead


class Replaced:
    """A provider whose first answer comes from another model than was asked."""

    def __init__(self, provider: ScriptedProvider) -> None:
        self._provider = provider
        self._replaced = False

    @property
    def name(self) -> str:
        return "backup" if self._replaced else "scripted"

    def caps(self, model: str) -> ModelCaps:
        return self._provider.caps(model)

    def stream(
        self, request: ModelRequest, *, notify: Notify | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        return self._stream(request, notify)

    @asynccontextmanager
    async def _stream(
        self, request: ModelRequest, notify: Notify | None
    ) -> AsyncIterator[AsyncIterator[Chunk]]:
        if not self._replaced and notify is not None:
            self._replaced = True
            notify(ModelReplaced(failed="scripted:test", model="backup:spare", reason="down"))
        async with self._provider.stream(request) as chunks:
            yield chunks

    async def count(self, request: ModelRequest) -> int | None:
        return None

    async def models(self) -> Sequence[ModelEntry]:
        return ()


@tool(title="A long answer", effect="read")
async def recite(context: ToolContext, length: int) -> str:
    """Recite something."""
    return "z" * length


def reciting(length: int, usage: Tokens | None = None) -> Step:
    call = Call(name="recite", args={"length": length})
    return Step(calls=(call,), usage=usage or Tokens())


async def sizes_of(
    models: Sized, *, looker: Looker | None = None, history: Sequence[Message] = ()
) -> list[int]:
    looker = looker or Looker()
    run = BareRun(models, tools=FunctionExecutor([recite]), compactor=looker)
    run.messages = [*history, user_message("go")]
    outcome = await run.play()
    assert outcome.status == "completed", outcome
    return looker.sizes


async def test_after_an_answer_the_size_is_what_was_reported_and_what_came_since() -> None:
    # So much more than was sent that it is no matter of tokenizers: nothing is learned from it.
    provider = ScriptedProvider(
        reciting(500, Tokens(input=40_000, output=40)),
        reciting(300, Tokens(input=90_000, output=40)),
        "done",
    )
    first, second, third = await sizes_of(Sized(provider))
    assert 100 < first < 5_000
    assert 40_040 + 500 < second < 40_040 + 600
    assert 90_040 + 300 < third < 90_040 + 400


async def test_an_answer_that_was_reported_is_not_estimated_as_well() -> None:
    long = "y" * 20_000
    call = Call(name="recite", args={"length": 10})
    step = Step(text=long, calls=(call,), usage=Tokens(input=1_000, output=50))
    models = Sized(ScriptedProvider(step, "done"))
    _, second = await sizes_of(models)
    assert 1_050 < second < 1_150
    assert not any(long in text for text in models.given)


async def test_a_server_that_reports_no_usage_is_estimated_to_the_end() -> None:
    models = Sized(ScriptedProvider(reciting(500), reciting(300), "done"))
    first, second, third = await sizes_of(models)
    assert first + 500 < second < first + 620
    assert second + 300 < third < second + 420
    assert models.sizings["scripted:test"].factor == 1.0


async def test_no_part_of_a_history_is_counted_in_two_rounds() -> None:
    steps = [reciting(10, Tokens(input=30_000, output=10)) for _ in range(5)]
    history = [user_message(f"{n} " + "h" * 1_000) for n in range(20)]
    models = Sized(ScriptedProvider(*steps, "done"))
    await sizes_of(models, history=history)
    assert sum("h" * 1_000 in text for text in models.given) == 1
    assert sum(map(len, models.given)) < 30_000


async def test_the_next_run_knows_what_the_first_one_learned() -> None:
    history = [user_message("h" * 10_000)]
    models = Sized(ScriptedProvider(Step(text="done", usage=Tokens(input=5_000, output=5))))
    (before,) = await sizes_of(models, history=history)
    (after,) = await sizes_of(models, history=history)
    factor = models.sizings["scripted:test"].factor
    assert 0.4 < factor < 0.65
    assert after < before * 0.65


async def test_tools_and_system_prompt_are_counted_once_for_all_runs() -> None:
    provider = ScriptedProvider(Step(text="done", usage=Tokens(input=500, output=5)))
    models = Sized(provider)
    executor = FunctionExecutor([recite])
    for _ in range(3):
        run = BareRun(models, tools=executor, compactor=Looker())
        assert (await run.play()).status == "completed"
    assert sum("recite" in text for text in models.given) == 1
    assert sum("You are an agent" in text for text in models.given) == 1


async def test_an_answer_to_a_shortened_history_does_not_teach() -> None:
    usage = Tokens(input=2_000, output=5)
    models = Sized(ScriptedProvider(Step(text="done", usage=usage)))
    looker = Looker(instead=[user_message("in short: go")])
    await sizes_of(models, looker=looker, history=[user_message("h" * 5_000)])
    assert models.sizings["scripted:test"].factor == 1.0


async def test_a_model_that_takes_over_is_sized_as_itself_and_teaches_nobody_at_first() -> None:
    provider = ScriptedProvider(
        reciting(8_000, Tokens(input=9_000, output=100)),
        Step(text="done", usage=Tokens(input=9_100 + 16_000, output=5)),
    )
    models = Sized(Replaced(provider))
    _, second = await sizes_of(models, history=[user_message("h" * 5_000)])
    assert 9_100 + 8_000 < second < 9_100 + 8_100
    assert models.sizings["scripted:test"].factor == 1.0
    assert models.sizings["backup:spare"].factor == pytest.approx(1.9, abs=0.1)
