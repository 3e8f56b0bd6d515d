"""Every fault of the service, through the real SDK over HTTP."""

from __future__ import annotations

import logging
import traceback

import anyio
import pytest

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.errors import SettingsError
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.provider_errors import (
    AuthenticationFailed,
    BadRequest,
    BadToolJson,
    ContextOverflow,
    Overloaded,
    ProviderFailure,
    QuotaExhausted,
    RateLimited,
    ServerFailed,
    TransportFailed,
    Truncated,
)
from bamboo_mcp.domain.secrets import Secret
from bamboo_mcp.domain.stream import BlockDone, Chunk, Stop, TextChunk
from bamboo_mcp.providers.anthropic.provider import make
from bamboo_mcp.testing.contracts.provider import simple_request
from bamboo_mcp.testing.fake_llm.server import FakeCall, FakeError, FakeReply
from tests.providers.anthropic.at import KEY, MODEL, anthropic_and_fake, ask

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

ASK = simple_request(model=MODEL)


async def _failure(
    reply: FakeReply, request: ModelRequest = ASK, **options: object
) -> tuple[ProviderFailure, list[Chunk]]:
    seen: list[Chunk] = []
    async with anthropic_and_fake(**options) as (provider, server):
        server.reply(reply)
        with pytest.raises(ProviderFailure) as caught, anyio.fail_after(5):
            async with provider.stream(request) as chunks:
                async for chunk in chunks:
                    seen.append(chunk)
        assert len(server.requests) == 1, "the provider must not retry by itself"
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert KEY not in repr(caught.value) + str(vars(caught.value))
    return caught.value, seen


async def test_a_clean_end_without_message_stop_is_truncated() -> None:
    failure, seen = await _failure(FakeReply(text="half an answer", fault="eof", after=5))
    assert type(failure) is Truncated
    assert failure.started
    assert any(isinstance(chunk, TextChunk) for chunk in seen)


async def test_a_stream_that_ends_before_anything_was_said_may_be_retried() -> None:
    failure, seen = await _failure(FakeReply(text="never", fault="eof", after=1))
    assert type(failure) is Truncated
    assert not failure.started
    assert not seen


async def test_a_block_left_open_at_message_stop_is_truncated() -> None:
    open_block = {
        "type": "content_block_start",
        "index": 7,
        "content_block": {"type": "text", "text": ""},
    }
    failure, _ = await _failure(FakeReply(text="x", extra_events=(open_block,)))
    assert type(failure) is Truncated


async def test_a_cut_connection_is_a_transport_failure_that_knows_it_had_started() -> None:
    failure, seen = await _failure(FakeReply(text="half an answer", fault="cut", after=6))
    assert type(failure) is TransportFailed
    assert failure.started
    assert seen


async def test_a_connection_cut_before_the_first_chunk_has_not_started() -> None:
    failure, _ = await _failure(FakeReply(text="half an answer", fault="cut", after=1))
    assert type(failure) is TransportFailed
    assert not failure.started
    assert failure.retryable


async def test_an_error_inside_a_stream_is_told_by_its_type_not_by_its_status_of_200() -> None:
    error = FakeError(type="overloaded_error", message="Overloaded")
    failure, _ = await _failure(FakeReply(text="half", fault="error_event", after=1, error=error))
    assert type(failure) is Overloaded
    assert failure.status == 200
    assert not failure.started
    failure, _ = await _failure(
        FakeReply(text="half an answer", fault="error_event", after=6, error=error)
    )
    assert failure.started


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FakeError(status=401, type="authentication_error"), AuthenticationFailed),
        (FakeError(status=403, type="permission_error"), AuthenticationFailed),
        (FakeError(status=402, type="billing_error"), QuotaExhausted),
        (
            FakeError(status=429, type="rate_limit_error", code="contract_spend_limit_reached"),
            QuotaExhausted,
        ),
        (FakeError(status=429, type="rate_limit_error"), RateLimited),
        (FakeError(status=529, type="overloaded_error"), Overloaded),
        (FakeError(status=500, type="api_error"), ServerFailed),
        (FakeError(status=504, type="timeout_error"), ServerFailed),
        (FakeError(status=404, type="not_found_error", message="model: x"), BadRequest),
        (FakeError(status=400, type="invalid_request_error"), BadRequest),
        (
            FakeError(
                status=400,
                type="invalid_request_error",
                message="prompt is too long: 1000001 tokens > 1000000 maximum",
            ),
            ContextOverflow,
        ),
        (FakeError(status=418, type="a_type_of_the_future"), BadRequest),
    ],
)
async def test_a_refusal_is_told_by_type_and_code_before_status(
    error: FakeError, kind: type[ProviderFailure]
) -> None:
    failure, _ = await _failure(FakeReply(error=error))
    assert type(failure) is kind
    assert failure.status == error.status
    assert failure.request_id == "req_fake"
    assert failure.provider == "anthropic"
    assert not failure.started


async def test_retry_after_is_passed_on_in_seconds() -> None:
    for headers, expected in (
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ):
        error = FakeError(status=429, type="rate_limit_error", headers=headers)
        failure, _ = await _failure(FakeReply(error=error))
        assert failure.retry_after_s == expected


@pytest.mark.parametrize("raw", ['{"path": "a', "[1]", '"text"', "{'a': 1}", "null"])
async def test_arguments_that_are_no_json_object_never_become_an_empty_call(raw: str) -> None:
    call = FakeCall(id="call_1", name="look", raw_json=raw)
    failure, seen = await _failure(FakeReply(calls=(call,)))
    assert type(failure) is BadToolJson
    assert "look" in failure.message
    assert not any(isinstance(chunk, BlockDone) for chunk in seen)


async def test_a_call_cut_off_by_the_token_limit_is_dropped_and_the_limit_told() -> None:
    async with anthropic_and_fake() as (provider, server):
        call = FakeCall(id="call_1", name="look", raw_json='{"path": "a')
        server.reply(FakeReply(text="Looking.", calls=(call,), stop="max_tokens"))
        stop = await ask(provider, ASK)
    assert stop.reason == "max_tokens"
    assert stop.message.text == "Looking."
    assert not stop.message.tool_calls


async def test_a_stalled_stream_fails_after_the_stall_timeout() -> None:
    reply = FakeReply(text="half an answer", fault="stall", after=6)
    failure, _ = await _failure(reply, stall_timeout_s=0.05)
    assert type(failure) is TransportFailed
    assert failure.started
    assert "in time" in failure.message


async def test_cancelling_in_the_middle_closes_the_connection_at_once() -> None:
    async with anthropic_and_fake() as (provider, server):
        server.reply(FakeReply(text="half an answer", fault="stall", after=6))

        async def read(scope: anyio.CancelScope) -> None:
            with scope:
                async with provider.stream(ASK) as chunks:
                    async for _ in chunks:
                        pass

        scope = anyio.CancelScope()
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(read, scope)
                await server.stalled.wait()
                scope.cancel()
                await server.disconnected.wait()
        assert scope.cancelled_caught


async def test_breaking_out_of_the_stream_closes_the_connection_at_once() -> None:
    async with anthropic_and_fake() as (provider, server):
        server.reply(FakeReply(text="half an answer", fault="stall", after=6))
        with anyio.fail_after(5):
            async with provider.stream(ASK) as chunks:
                async for _ in chunks:
                    break
            await server.disconnected.wait()


async def test_an_error_in_the_reader_closes_the_connection_and_stays_itself() -> None:
    async with anthropic_and_fake() as (provider, server):
        server.reply(FakeReply(text="half an answer", fault="stall", after=6))
        with anyio.fail_after(5):
            with pytest.raises(LookupError):
                async with provider.stream(ASK) as chunks:
                    async for _ in chunks:
                        raise LookupError("a bug of the reader")
            await server.disconnected.wait()


async def test_a_server_that_is_not_there_is_a_transport_failure() -> None:
    async with anthropic_and_fake() as (provider, _):
        pass
    config = ProviderConfig(
        name="gone", type="anthropic", base_url="http://127.0.0.1:9", api_key=Secret(KEY)
    )
    provider = make(config)
    with pytest.raises(TransportFailed) as caught, anyio.fail_after(5):
        async with provider.stream(ASK):
            pass
    await provider.aclose()
    assert "gone" in caught.value.message
    assert not caught.value.started


async def test_a_key_that_the_service_quotes_does_not_come_back() -> None:
    error = FakeError(status=401, type="authentication_error", message=f"bad key {KEY} there")
    failure, _ = await _failure(FakeReply(error=error))
    assert "***" in failure.message


async def test_a_stream_that_is_not_the_api_is_a_transport_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    odd = {"type": "content_block_start", "index": 0, "content_block": None}
    with caplog.at_level(logging.ERROR):
        failure, _ = await _failure(FakeReply(extra_events=(odd,)))
    assert type(failure) is TransportFailed
    assert KEY not in caplog.text


def test_without_a_key_it_says_what_to_set_before_any_request() -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        make(ProviderConfig(name="work", type="anthropic"))
    assert "ANTHROPIC_API_KEY" in caught.value.message
    assert "providers.work.api_key" in caught.value.message


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"cache_tll": "5m"}, "cache_tll"),
        ({"cache_ttl": "1d"}, "cache_ttl"),
        ({"stall_timeout_s": "long"}, "stall_timeout_s"),
        ({"stall_timeout_s": True}, "stall_timeout_s"),
        ({"headers": ["a"]}, "headers"),
    ],
)
def test_a_wrong_option_is_named_with_its_place(options: dict[str, object], word: str) -> None:
    config = ProviderConfig(name="work", type="anthropic", api_key=Secret(KEY), options=options)
    with pytest.raises(SettingsError) as caught:
        make(config)
    assert f"providers.work.options.{word}" in caught.value.message
    assert KEY not in caught.value.message


async def test_the_key_shows_in_no_repr() -> None:
    async with anthropic_and_fake() as (provider, _):
        assert KEY not in repr(provider) + repr(vars(vars(provider)["_faults"]))


async def test_the_answer_counts_although_the_connection_breaks_after_it() -> None:
    async with anthropic_and_fake() as (provider, server):
        # pings and blocks: start, ping, block start, one delta, block stop, delta, stop = 7 events
        server.reply(FakeReply(text="whole", fault="cut", after=7))
        stop = await ask(provider, ASK)
    assert isinstance(stop, Stop)
    assert stop.message.text == "whole"


async def test_broken_characters_in_the_history_are_a_bad_request_that_shows_the_place() -> None:
    async with anthropic_and_fake() as (provider, server):
        with pytest.raises(BadRequest) as caught:
            await ask(provider, simple_request("name: \ud800 end", model=MODEL))
        assert not server.requests
    assert "name: " in caught.value.message
    assert KEY not in str(caught.value)
