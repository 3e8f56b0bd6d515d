from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import anyio
import anyio.lowlevel
import pytest
from msgspec import Meta

from bamboo_mcp.domain.events import (
    LimitNear,
    ModelAnswered,
    RoundStarted,
    RunEnded,
    RunQueued,
    RunStarted,
    TextDelta,
    ToolFinished,
    ToolStarted,
)
from bamboo_mcp.domain.ids import LOCAL, SubagentId
from bamboo_mcp.domain.messages import Message, ToolCallBlock, ToolResultBlock
from bamboo_mcp.domain.models import ModelCaps, ModelRequest
from bamboo_mcp.domain.provider_errors import BadToolJson
from bamboo_mcp.domain.runs import Limits
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.ports import ToolContext
from bamboo_mcp.testing.harness import Harness, open_harness
from bamboo_mcp.testing.scripted import Call, Fault, ScriptedProvider, Step, Tokens
from bamboo_mcp.tools.function import FunctionExecutor, tool, tools_of


class Lab:
    """Tools whose timing the test holds in its hands."""

    def __init__(self) -> None:
        self.started = anyio.Event()
        self.release = anyio.Event()
        self.order: list[str] = []
        self.together = 0
        self.most_together = 0
        self.calls = 0

    @tool(title="A test tool", effect="read")
    async def look(
        self, context: ToolContext, *, what: Annotated[str, Meta(description="What.")] = ""
    ) -> str:
        """Look at something and say it back."""
        self.calls += 1
        return f"saw {what}"

    @tool(title="A test tool", effect="read")
    async def hold(self, context: ToolContext) -> str:
        """Wait until the test lets go."""
        self.started.set()
        await self.release.wait()
        return "held"

    @tool(title="A test tool", effect="read")
    async def fail(self, context: ToolContext) -> str:
        """Fail with words of its own."""
        self.calls += 1
        raise ValueError("the secret inside")

    @tool(title="A test tool", effect="read")
    async def overlap(
        self, context: ToolContext, *, name: Annotated[str, Meta(description="Who.")]
    ) -> str:
        """Note how many run side by side."""
        return await self._overlap(name)

    async def _overlap(self, name: str) -> str:
        self.together += 1
        self.most_together = max(self.most_together, self.together)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        self.together -= 1
        self.order.append(name)
        return name

    @tool(title="A test tool", effect="read", sequential=True)
    async def alone(
        self, context: ToolContext, *, name: Annotated[str, Meta(description="Who.")]
    ) -> str:
        """Like overlap, but one at a time."""
        return await self._overlap(name)


def calls(*made: tuple[str, dict[str, str]]) -> Step:
    return Step(calls=tuple(Call(name=name, args=args) for name, args in made))


async def history(harness: Harness, subagent_id: SubagentId) -> Sequence[Message]:
    one = await harness.subagents.get(subagent_id, caller=LOCAL)
    return (await harness.sessions.load(one.session_id)).messages


def assert_every_call_is_answered(messages: Sequence[Message]) -> None:
    for message, following in zip(messages, [*messages[1:], None], strict=True):
        made = [b.id for b in message.blocks if isinstance(b, ToolCallBlock)]
        if made:
            assert following is not None, "a tool call is the last word"
            answered = [b.call_id for b in following.blocks if isinstance(b, ToolResultBlock)]
            assert answered == made


async def test_a_run_without_tools_is_one_round_and_its_text_the_answer() -> None:
    provider = ScriptedProvider(Step(text="hello", usage=Tokens(input=10, output=2)))
    async with open_harness(provider) as harness:
        child = await harness.spawn("say hello")
        outcome = await harness.ended(child.subagent_id)
        events = await harness.events(child.subagent_id)
    assert (outcome.status, outcome.text, outcome.rounds) == ("completed", "hello", 1)
    assert outcome.usage.total == 12
    kinds = [type(event) for event in events]
    assert kinds == [RunQueued, RunStarted, RoundStarted, TextDelta, ModelAnswered, RunEnded]


async def test_tool_results_come_back_in_call_order_whoever_ends_first() -> None:
    lab = Lab()
    provider = ScriptedProvider(
        calls(("hold", {}), ("look", {"what": "b"})), lambda request: Step(text="done")
    )
    async with open_harness(provider, tools=FunctionExecutor(tools_of(lab))) as harness:
        child = await harness.spawn("look twice")
        await harness.until(
            child.subagent_id, lambda e: isinstance(e, ToolFinished) and e.tool == "look"
        )
        lab.release.set()
        await harness.ended(child.subagent_id)
        messages = await history(harness, child.subagent_id)
    results = [b for m in messages for b in m.blocks if isinstance(b, ToolResultBlock)]
    assert [r.name for r in results] == ["hold", "look"]
    assert_every_call_is_answered(messages)


async def test_the_tools_of_a_round_run_side_by_side_unless_one_is_sequential() -> None:
    lab = Lab()
    provider = ScriptedProvider(
        calls(*[("overlap", {"name": n}) for n in "abc"]),
        calls(*[("alone", {"name": n}) for n in "def"]),
        "done",
    )
    async with open_harness(provider, tools=FunctionExecutor(tools_of(lab))) as harness:
        child = await harness.spawn("go")
        await harness.until(
            child.subagent_id, lambda e: isinstance(e, RoundStarted) and e.round == 2
        )
        assert lab.most_together == 3
        lab.most_together = 0
        await harness.ended(child.subagent_id)
    assert lab.most_together == 1
    assert lab.order[3:] == ["d", "e", "f"]


async def test_a_tool_that_raises_is_an_error_result_without_its_words() -> None:
    provider = ScriptedProvider(calls(("fail", {})), "went on")
    lab = Lab()
    async with open_harness(provider, tools=FunctionExecutor(tools_of(lab))) as harness:
        child = await harness.spawn("go")
        outcome = await harness.ended(child.subagent_id)
        messages = await history(harness, child.subagent_id)
    assert outcome.text == "went on"
    [result] = [b for m in messages for b in m.blocks if isinstance(b, ToolResultBlock)]
    assert result.is_error
    assert "secret" not in repr(result)


async def test_a_tool_that_fails_three_times_in_a_row_is_not_run_a_fourth_time() -> None:
    lab = Lab()
    provider = ScriptedProvider()
    provider.respond(lambda request: calls(("fail", {})))
    limits = Limits(max_rounds=4, max_identical_calls=99)
    async with open_harness(provider, tools=FunctionExecutor(tools_of(lab))) as harness:
        child = await harness.spawn("go", limits=limits)
        await harness.ended(child.subagent_id)
        events = await harness.events(child.subagent_id)
    finished = [e for e in events if isinstance(e, ToolFinished)]
    assert lab.calls == 3
    assert "failed 3 times in a row" in finished[3].preview


async def test_the_same_call_is_refused_after_three_times_in_a_row() -> None:
    lab = Lab()
    provider = ScriptedProvider()
    provider.respond(lambda request: calls(("look", {"what": "x"})))
    async with open_harness(provider, tools=FunctionExecutor(tools_of(lab))) as harness:
        child = await harness.spawn("go", limits=Limits(max_rounds=4))
        await harness.ended(child.subagent_id)
        events = await harness.events(child.subagent_id)
    assert lab.calls == 3
    refused = [e for e in events if isinstance(e, ToolFinished)][3]
    assert refused.is_error
    assert "exactly these arguments" in refused.preview


async def test_at_the_round_limit_one_round_without_tools_still_gives_an_answer() -> None:
    provider = ScriptedProvider()
    provider.respond(
        lambda request: (
            calls(("look", {"what": str(len(request.messages))}))
            if request.tool_choice == "auto"
            else Step(text="what I have")
        )
    )
    lab = Lab()
    async with open_harness(provider, tools=FunctionExecutor(tools_of(lab))) as harness:
        child = await harness.spawn("go", limits=Limits(max_rounds=5))
        outcome = await harness.ended(child.subagent_id)
        events = await harness.events(child.subagent_id)
    assert (outcome.status, outcome.error_code) == ("error", "limit_reached")
    assert outcome.text == "what I have"
    assert "spawn another one" in outcome.error
    assert outcome.rounds == 6
    first, last = provider.requests[0], provider.requests[-1]
    assert last.tools == first.tools, "prompt caches and signed thoughts are bound to them"
    assert last.tool_choice == "none"
    near = [e for e in events if isinstance(e, LimitNear)]
    assert [(e.limit, e.final) for e in near] == [("max_rounds", False), ("max_rounds", True)]


async def test_a_limit_of_zero_allows_not_one_model_call() -> None:
    provider = ScriptedProvider("never said")
    async with open_harness(provider) as harness:
        outcome = await harness.run("go", limits=Limits(max_tokens=0))
    assert (outcome.status, outcome.error_code) == ("error", "limit_reached")
    assert provider.requests == []


async def test_tokens_spent_beyond_the_limit_end_the_run_with_an_answer() -> None:
    provider = ScriptedProvider()
    provider.respond(
        lambda request: (
            Step(
                calls=(Call(name="look", args={"what": str(len(request.messages))}),),
                usage=Tokens(input=100, output=10),
            )
            if request.tool_choice == "auto"
            else Step(text="short answer", usage=Tokens(input=100, output=5))
        )
    )
    async with open_harness(provider, tools=FunctionExecutor(tools_of(Lab()))) as harness:
        outcome = await harness.run("go", limits=Limits(max_tokens=200))
    assert outcome.error_code == "limit_reached"
    assert outcome.text == "short answer"
    assert outcome.rounds == 3


async def test_more_calls_than_a_round_may_have_are_answered_without_running() -> None:
    lab = Lab()
    many = calls(*[("look", {"what": str(n)}) for n in range(5)])
    provider = ScriptedProvider(many, "done")
    async with open_harness(provider, tools=FunctionExecutor(tools_of(lab))) as harness:
        child = await harness.spawn("go", limits=Limits(max_calls_per_round=3))
        await harness.ended(child.subagent_id)
        messages = await history(harness, child.subagent_id)
    assert lab.calls == 3
    assert_every_call_is_answered(messages)


async def test_a_batch_that_takes_too_long_is_cut_and_every_call_answered() -> None:
    lab = Lab()
    provider = ScriptedProvider(calls(("hold", {}), ("look", {"what": "a"})), "done")
    async with open_harness(provider, tools=FunctionExecutor(tools_of(lab))) as harness:
        child = await harness.spawn("go", limits=Limits(batch_timeout_s=0.05))
        outcome = await harness.ended(child.subagent_id)
        messages = await history(harness, child.subagent_id)
    assert outcome.text == "done"
    results = [b for m in messages for b in m.blocks if isinstance(b, ToolResultBlock)]
    assert [r.is_error for r in results] == [True, False]


async def test_a_provider_failure_ends_the_run_with_its_code_and_the_text_so_far() -> None:
    provider = ScriptedProvider(Step(text="half an ans", chunk=4, cut_after=2))
    async with open_harness(provider) as harness:
        child = await harness.spawn("go")
        outcome = await harness.ended(child.subagent_id)
        events = await harness.events(child.subagent_id)
    assert (outcome.status, outcome.error_code) == ("error", "transport_failed")
    assert outcome.text == "half an "
    assert sum(isinstance(e, RunEnded) for e in events) == 1


async def test_a_stream_without_its_end_is_a_failure_not_an_answer() -> None:
    provider = ScriptedProvider(Step(text="looks whole", truncate=True))
    async with open_harness(provider) as harness:
        outcome = await harness.run("go")
    assert (outcome.status, outcome.error_code) == ("error", "truncated")


async def test_broken_tool_arguments_are_told_to_the_model_twice_and_then_fail() -> None:
    broken = Step(error=Fault(kind="bad_tool_json", message="not an object"))
    provider = ScriptedProvider(broken, broken, "now it is right")
    async with open_harness(provider) as harness:
        assert (await harness.run("go")).text == "now it is right"
    provider = ScriptedProvider(broken, broken, broken)
    async with open_harness(provider) as harness:
        assert (await harness.run("go")).error_code == "bad_tool_json"


async def test_a_conversation_that_does_not_fit_stops_with_context_full() -> None:
    provider = ScriptedProvider("never", caps=ModelCaps(context_window=1000, max_output=100))
    async with open_harness(provider) as harness:
        outcome = await harness.run("word " * 2000)
    assert (outcome.status, outcome.error_code) == ("error", "context_full")
    assert provider.requests == []


@pytest.mark.parametrize("delivery", ["next_round", "when_idle"])
async def test_steering_sent_mid_round_is_read_by_the_model(delivery: str) -> None:
    lab = Lab()
    provider = ScriptedProvider(calls(("hold", {})))
    provider.respond(lambda request: Step(text=f"I read: {request.messages[-1].text}"))
    async with open_harness(provider, tools=FunctionExecutor(tools_of(lab))) as harness:
        child = await harness.spawn("go")
        await lab.started.wait()
        receipt = await harness.subagents.steer(
            child.subagent_id,
            "also this",
            caller=LOCAL,
            delivery=delivery,  # type: ignore[arg-type]
        )
        assert receipt.state == "queued"
        lab.release.set()
        outcome = await harness.ended(child.subagent_id)
        after = await harness.subagents.receipt(child.subagent_id, receipt.steer_id, caller=LOCAL)
    assert outcome.text == "I read: also this"
    assert (after.state, after.round) == ("delivered", 2 if delivery == "next_round" else 3)


async def test_an_interrupting_message_cuts_the_tool_and_is_read_at_once() -> None:
    lab = Lab()
    provider = ScriptedProvider(calls(("hold", {})))
    provider.respond(lambda request: Step(text=f"I read: {request.messages[-1].text}"))
    async with open_harness(provider, tools=FunctionExecutor(tools_of(lab))) as harness:
        child = await harness.spawn("go")
        await lab.started.wait()
        await harness.subagents.steer(
            child.subagent_id, "stop that", caller=LOCAL, delivery="interrupt"
        )
        outcome = await harness.ended(child.subagent_id)
        messages = await history(harness, child.subagent_id)
    assert outcome.text == "I read: stop that"
    assert_every_call_is_answered(messages)


async def test_cancel_in_the_middle_of_a_tool_answers_the_open_call() -> None:
    lab = Lab()
    provider = ScriptedProvider(calls(("hold", {}), ("look", {"what": "a"})))
    async with open_harness(provider, tools=FunctionExecutor(tools_of(lab))) as harness:
        child = await harness.spawn("go")
        await lab.started.wait()
        with anyio.fail_after(1):
            [stopped] = await harness.subagents.cancel(
                child.subagent_id, caller=LOCAL, reason="enough"
            )
        messages = await history(harness, child.subagent_id)
        events = await harness.events(child.subagent_id)
    assert stopped.status == "cancelled"
    assert stopped.outcome is not None
    assert stopped.outcome.error == "enough"
    assert_every_call_is_answered(messages)
    results = [b for m in messages for b in m.blocks if isinstance(b, ToolResultBlock)]
    assert "cancelled by user" in repr(results[0])
    assert not results[1].is_error
    assert isinstance(events[-1], RunEnded)
    open_calls = {e.call_id for e in events if isinstance(e, ToolStarted)}
    assert open_calls == {e.call_id for e in events if isinstance(e, ToolFinished)}


async def test_cancel_in_mid_stream_keeps_the_text_that_was_shown() -> None:
    provider = ScriptedProvider(Step(text="one two three", chunk=4, chunk_delay_ms=60_000))
    async with open_harness(provider) as harness:
        child = await harness.spawn("go")
        await harness.until(child.subagent_id, lambda e: isinstance(e, TextDelta))
        with anyio.fail_after(1):
            await harness.subagents.cancel(child.subagent_id, caller=LOCAL)
        outcome = await harness.ended(child.subagent_id)
        messages = await history(harness, child.subagent_id)
    assert (outcome.status, outcome.text) == ("cancelled", "one ")
    assert messages[-1].text == "one "


@pytest.mark.parametrize(
    ("timeout_s", "first"), [(0.000001, "never asked"), (0.05, Step(text="slow", delay_ms=60_000))]
)
async def test_time_that_is_up_ends_the_run_with_one_last_answer(
    timeout_s: float, first: Step | str
) -> None:
    provider = ScriptedProvider(first, "short answer")
    async with open_harness(provider) as harness:
        outcome = await harness.run("go", limits=Limits(timeout_s=timeout_s))
    assert (outcome.status, outcome.error_code) == ("error", "limit_reached")
    assert "timeout_s" in outcome.error


async def test_time_that_is_up_in_a_tool_ends_the_run_with_one_last_answer() -> None:
    lab = Lab()
    provider = ScriptedProvider(calls(("hold", {})), "what I have")
    async with open_harness(provider, tools=FunctionExecutor(tools_of(lab))) as harness:
        child = await harness.spawn("go", limits=Limits(timeout_s=0.2))
        outcome = await harness.ended(child.subagent_id)
        messages = await history(harness, child.subagent_id)
    assert (outcome.error_code, outcome.text) == ("limit_reached", "what I have")
    assert_every_call_is_answered(messages)


async def test_the_calls_of_an_answer_that_was_refused_are_answered_unrun() -> None:
    lab = Lab()
    provider = ScriptedProvider(
        Step(text="I will not", calls=(Call(name="look", args={"what": "x"}),), stop="refusal")
    )
    async with open_harness(provider, tools=FunctionExecutor(tools_of(lab))) as harness:
        child = await harness.spawn("go")
        outcome = await harness.ended(child.subagent_id)
        messages = await history(harness, child.subagent_id)
    assert (outcome.status, outcome.error_code) == ("error", "refused")
    (answer,) = messages[-1].blocks
    assert isinstance(answer, ToolResultBlock)
    assert answer.is_error


async def test_what_an_answer_with_a_broken_call_cost_is_counted() -> None:
    broken = BadToolJson("x:y wrote half a call", provider="x")
    broken.usage = Usage(input=1_000, output=500)

    class Breaks(ScriptedProvider):
        def stream(self, request: ModelRequest, **more: Any) -> Any:
            if len(request.messages) == 1:
                raise broken
            return super().stream(request, **more)

    async with open_harness(Breaks(Step(text="fine", usage=Tokens(input=10, output=2)))) as harness:
        outcome = await harness.run("go")
    assert (outcome.status, outcome.text) == ("completed", "fine")
    assert (outcome.usage.input, outcome.usage.output) == (1_010, 502)
