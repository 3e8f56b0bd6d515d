"""What every `Provider` promises, as tests: subclass, override `case`, run pytest."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import anyio
import msgspec

from bamboo_mcp.domain.messages import TextBlock, ToolCallBlock, user_message
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.provider_errors import ProviderFailure
from bamboo_mcp.domain.stream import BlockDone, Chunk, Stop, TextChunk, ToolCallChunk
from bamboo_mcp.ports import Provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A provider and what to ask it.

    `says` is answered with some text; `calls` with a call of one of its tools, None when the
    provider makes no calls; `fails` with a failure, None when it never fails.
    """

    provider: Provider
    says: ModelRequest
    calls: ModelRequest | None = None
    fails: ModelRequest | None = None


async def read(provider: Provider, request: ModelRequest) -> list[Chunk]:
    """All chunks of one call, within five seconds."""
    with anyio.fail_after(5):
        async with provider.stream(request) as chunks:
            return [chunk async for chunk in chunks]


def simple_request(text: str = "hello", *, model: str = "test") -> ModelRequest:
    return ModelRequest(model=model, messages=[user_message(text)], conversation="c1")


class ProviderContract:
    """Override `case`; each test enters it anew and makes one kind of call."""

    def case(self) -> AbstractAsyncContextManager[Case]:
        raise NotImplementedError("override case()")

    async def test_a_stream_has_exactly_one_stop_and_it_comes_last(self) -> None:
        async with self.case() as case:
            chunks = await read(case.provider, case.says)
        assert [isinstance(chunk, Stop) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]

    async def test_the_text_deltas_add_up_to_the_text_of_the_message(self) -> None:
        async with self.case() as case:
            chunks = await read(case.provider, case.says)
        stop = chunks[-1]
        assert isinstance(stop, Stop)
        assert stop.message.text
        assert stop.message.text == "".join(c.text for c in chunks if isinstance(c, TextChunk))

    async def test_the_finished_blocks_are_those_of_the_message(self) -> None:
        async with self.case() as case:
            chunks = await read(case.provider, case.says)
        stop = chunks[-1]
        assert isinstance(stop, Stop)
        assert stop.message.blocks == tuple(c.block for c in chunks if isinstance(c, BlockDone))
        assert all(b.text for b in stop.message.blocks if isinstance(b, TextBlock))

    async def test_the_message_says_where_it_comes_from(self) -> None:
        async with self.case() as case:
            stop = (await read(case.provider, case.says))[-1]
            assert isinstance(stop, Stop)
            assert stop.message.role == "assistant"
            assert stop.message.origin == f"{case.provider.name}:{case.says.model}"

    async def test_a_tool_call_has_an_id_a_name_and_an_object_of_arguments(self) -> None:
        async with self.case() as case:
            if case.calls is None:
                return
            chunks = await read(case.provider, case.calls)
        stop = chunks[-1]
        assert isinstance(stop, Stop)
        assert stop.reason == "tool_use"
        for block in stop.message.tool_calls:
            assert block.id
            assert block.name
            assert isinstance(msgspec.json.decode(block.arguments_json), dict)
            pieces = [c for c in chunks if isinstance(c, ToolCallChunk)]
            assert block.id in {piece.id for piece in pieces}

    async def test_the_deltas_of_a_call_add_up_to_its_arguments(self) -> None:
        async with self.case() as case:
            if case.calls is None:
                return
            chunks = await read(case.provider, case.calls)
        for done in chunks:
            if isinstance(done, BlockDone) and isinstance(done.block, ToolCallBlock):
                pieces = [c for c in chunks if isinstance(c, ToolCallChunk)]
                text = "".join(c.arguments_json for c in pieces if c.index == done.index)
                assert msgspec.json.decode(text or "{}") == msgspec.json.decode(
                    done.block.arguments_json
                )

    async def test_a_failure_is_of_our_own_kind_and_no_stop_comes(self) -> None:
        async with self.case() as case:
            if case.fails is None:
                return
            seen: list[Chunk] = []
            failure: ProviderFailure | None = None
            try:
                with anyio.fail_after(5):
                    async with case.provider.stream(case.fails) as chunks:
                        async for chunk in chunks:
                            seen.append(chunk)
            except ProviderFailure as error:
                failure = error
        assert failure is not None
        assert failure.started == bool(seen)
        assert not any(isinstance(chunk, Stop) for chunk in seen)

    async def test_leaving_in_the_middle_is_allowed(self) -> None:
        async with self.case() as case:
            with anyio.fail_after(5):
                async with case.provider.stream(case.says) as chunks:
                    await anext(chunks)

    async def test_the_history_is_neither_changed_nor_kept_growing(self) -> None:
        async with self.case() as case:
            before = list(case.says.messages)
            await read(case.provider, case.says)
            assert list(case.says.messages) == before

    async def test_what_it_can_do_is_known_without_asking(self) -> None:
        async with self.case() as case:
            caps = case.provider.caps(case.says.model)
        assert caps.context_window > 0
        assert caps.max_output > 0

    async def test_its_models_bear_its_name(self) -> None:
        async with self.case() as case:
            with anyio.fail_after(5):
                entries = await case.provider.models()
            assert {entry.provider for entry in entries} <= {case.provider.name}

    async def test_counting_gives_a_number_or_says_that_it_cannot(self) -> None:
        async with self.case() as case:
            with anyio.fail_after(5):
                count = await case.provider.count(case.says)
        assert count is None or count > 0
