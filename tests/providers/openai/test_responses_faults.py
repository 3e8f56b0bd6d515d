"""Every fault of the service, through the real SDK over HTTP."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import anyio
import pytest

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.provider_errors import (
    AuthenticationFailed,
    BadRequest,
    ContextOverflow,
    Overloaded,
    ProviderFailure,
    QuotaExhausted,
    RateLimited,
    Refused,
    ServerFailed,
    TransportFailed,
    Truncated,
)
from bamboo_mcp.domain.secrets import Secret
from bamboo_mcp.domain.stream import Chunk, TextChunk
from bamboo_mcp.providers.openai.responses import make
from bamboo_mcp.testing.contracts.provider import simple_request
from bamboo_mcp.testing.fake_llm.server import FakeError, FakeReply
from tests.providers.openai.responses_at import KEY, MODEL, a_request, ask, openai_and_fake

ASK = a_request([user_message("hello")])
# The events of a text are: created, in_progress, item added, part added, deltas, text done,
# part done, item done, completed.
FIRST_DELTA = 5


async def _failure(
    reply: FakeReply, request: ModelRequest = ASK, **options: object
) -> tuple[ProviderFailure, list[Chunk]]:
    seen: list[Chunk] = []
    async with openai_and_fake(**options) as (provider, server):
        server.reply(reply)
        with pytest.raises(ProviderFailure) as caught, anyio.fail_after(5):
            async with provider.stream(request) as chunks:
                async for chunk in chunks:
                    seen.append(chunk)
        assert len(server.requests) == 1, "the provider must not retry by itself"
    failure = caught.value
    assert KEY not in "".join(traceback.format_exception(failure))
    assert KEY not in repr(failure) + str(vars(failure))
    assert failure.started == bool(seen)
    assert failure.provider == "openai"
    return failure, seen


@pytest.mark.parametrize("after", [5, 7, 8, 9])
async def test_a_clean_end_without_a_terminal_event_is_truncated(after: int) -> None:
    failure, seen = await _failure(FakeReply(text="half answer", fault="eof", after=after))
    assert type(failure) is Truncated
    assert failure.started
    assert any(isinstance(chunk, TextChunk) for chunk in seen)


async def test_a_stream_that_ends_before_anything_was_said_may_be_retried() -> None:
    for after in (0, 2, 4):
        failure, seen = await _failure(FakeReply(text="never", fault="eof", after=after))
        assert type(failure) is Truncated
        assert not failure.started
        assert failure.retryable
        assert not seen


async def test_an_item_left_open_at_the_end_is_truncated() -> None:
    begun = {"id": "msg_7", "type": "message", "role": "assistant", "content": []}
    event = {"type": "response.output_item.added", "output_index": 7, "item": begun}
    failure, _ = await _failure(FakeReply(text="x", extra_events=(event,)))
    assert type(failure) is Truncated


async def test_a_cut_connection_is_a_transport_failure_that_knows_it_had_started() -> None:
    failure, seen = await _failure(FakeReply(text="half", fault="cut", after=FIRST_DELTA))
    assert type(failure) is TransportFailed
    assert failure.started
    assert seen
    assert "broke off" in failure.message


async def test_a_connection_cut_before_the_first_chunk_has_not_started() -> None:
    failure, _ = await _failure(FakeReply(text="half an answer", fault="cut", after=1))
    assert type(failure) is TransportFailed
    assert not failure.started
    assert failure.retryable


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("rate_limit_exceeded", RateLimited),
        ("server_error", ServerFailed),
        ("context_length_exceeded", ContextOverflow),
        ("insufficient_quota", QuotaExhausted),
        ("invalid_prompt", BadRequest),
        ("image_too_large", BadRequest),
        ("server_is_overloaded", Overloaded),
        ("bio_policy", Refused),
        ("a_code_of_tomorrow", ServerFailed),
    ],
)
async def test_a_failure_inside_a_stream_is_told_by_its_code_not_by_its_status_of_200(
    code: str, kind: type[ProviderFailure]
) -> None:
    failed, _ = await _failure(FakeReply(stop=f"failed:{code}"))
    shown, _ = await _failure(FakeReply(text="half", stop=f"failed:{code}"))
    error = FakeError(code=code, message="it went wrong")
    event, _ = await _failure(FakeReply(text="x", fault="error_event", after=1, error=error))
    late, _ = await _failure(
        FakeReply(text="half", fault="error_event", after=FIRST_DELTA, error=error)
    )
    for failure in (failed, shown, event, late):
        assert type(failure) is kind
        assert failure.status == 200
    assert [f.started for f in (failed, shown, event, late)] == [False, True, False, True]
    assert "it went wrong" in event.message


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"type": "invalid_request_error", "code": "context_length_exceeded"}, ContextOverflow),
        ({"type": "invalid_request_error", "code": None, "message": "no"}, BadRequest),
        ({"type": "tokens", "code": "rate_limit_exceeded", "message": "slow"}, RateLimited),
        ({"code": 429}, RateLimited),
        ({"message": "something broke"}, ServerFailed),
        ("plain words", ServerFailed),
    ],
)
async def test_an_error_event_may_wrap_what_it_says(
    said: object, kind: type[ProviderFailure]
) -> None:
    failure, _ = await _failure(FakeReply(extra_events=({"type": "error", "error": said},)))
    assert type(failure) is kind


async def test_a_failed_response_without_an_error_is_a_failure_all_the_same() -> None:
    event = {"type": "response.failed", "response": {"id": "r", "error": None}}
    failure, _ = await _failure(FakeReply(extra_events=(event,)))
    assert type(failure) is ServerFailed


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (
            FakeError(status=401, type="invalid_request_error", code="invalid_api_key"),
            AuthenticationFailed,
        ),
        (FakeError(status=401, type="auth_of_tomorrow"), AuthenticationFailed),
        (FakeError(status=403, type="country_of_tomorrow"), AuthenticationFailed),
        (
            FakeError(status=429, type="insufficient_quota", code="insufficient_quota"),
            QuotaExhausted,
        ),
        (FakeError(status=429, type="tokens", code="rate_limit_exceeded"), RateLimited),
        (FakeError(status=429, type="requests", code="rate_limit_exceeded"), RateLimited),
        (FakeError(status=500, type="server_error"), ServerFailed),
        (FakeError(status=502, type=""), ServerFailed),
        (FakeError(status=503, type="service_unavailable_error"), Overloaded),
        (FakeError(status=529, type=""), Overloaded),
        (FakeError(status=408, type=""), TransportFailed),
        (
            FakeError(status=400, type="invalid_request_error", code="context_length_exceeded"),
            ContextOverflow,
        ),
        (
            FakeError(
                status=400,
                type="invalid_request_error",
                message="Your input exceeds the context window of this model",
            ),
            ContextOverflow,
        ),
        (FakeError(status=400, type="invalid_request_error"), BadRequest),
        (
            FakeError(status=404, type="invalid_request_error", code="model_not_found"),
            BadRequest,
        ),
    ],
)
async def test_a_refusal_is_told_by_code_and_type_before_status(
    error: FakeError, kind: type[ProviderFailure]
) -> None:
    failure, _ = await _failure(FakeReply(error=error))
    assert type(failure) is kind
    assert failure.status == error.status
    assert failure.request_id == "req_fake"
    assert error.message in failure.message
    assert not failure.started


async def test_retry_after_is_passed_on_in_seconds() -> None:
    for headers, expected in (
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "600"}, 600.0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ):
        error = FakeError(status=429, type="requests", code="rate_limit_exceeded", headers=headers)
        failure, _ = await _failure(FakeReply(error=error))
        assert failure.retry_after_s == expected


async def test_a_stalled_stream_fails_after_the_stall_timeout() -> None:
    reply = FakeReply(text="half an answer", fault="stall", after=6)
    failure, _ = await _failure(reply, stall_timeout_s=0.05)
    assert type(failure) is TransportFailed
    assert failure.started
    assert "in time" in failure.message


async def test_cancelling_in_the_middle_closes_the_connection_at_once() -> None:
    async with openai_and_fake() as (provider, server):
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
    async with openai_and_fake() as (provider, server):
        server.reply(FakeReply(text="half an answer", fault="stall", after=6))
        with anyio.fail_after(5):
            async with provider.stream(ASK) as chunks:
                async for _ in chunks:
                    break
            await server.disconnected.wait()


async def test_an_error_in_the_reader_closes_the_connection_and_stays_itself() -> None:
    async with openai_and_fake() as (provider, server):
        server.reply(FakeReply(text="half an answer", fault="stall", after=6))
        with anyio.fail_after(5):
            with pytest.raises(LookupError):
                async with provider.stream(ASK) as chunks:
                    async for _ in chunks:
                        raise LookupError("a bug of the reader")
            await server.disconnected.wait()


async def test_a_server_that_is_not_there_is_a_transport_failure() -> None:
    config = ProviderConfig(
        name="gone", type="openai", base_url="http://127.0.0.1:9/v1", api_key=Secret(KEY)
    )
    provider = make(config)
    with pytest.raises(TransportFailed) as caught, anyio.fail_after(5):
        async with provider.stream(ASK):
            pass
    await provider.aclose()
    assert "gone" in caught.value.message
    assert not caught.value.started
    assert KEY not in "".join(traceback.format_exception(caught.value))


async def test_a_key_that_the_service_quotes_does_not_come_back() -> None:
    error = FakeError(
        status=401, code="invalid_api_key", message=f"Incorrect API key provided: {KEY}."
    )
    failure, _ = await _failure(FakeReply(error=error))
    assert "***" in failure.message
    inside, _ = await _failure(FakeReply(text="x", fault="error_event", after=1, error=error))
    assert "***" in inside.message


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "response.output_item.added", "output_index": 0, "item": None},
        {"type": "response.output_item.done", "output_index": 0, "item": "text"},
        {
            "type": "response.output_item.done",
            "output_index": 0,
            "item": {"type": "function_call", "name": "look", "arguments": "{}"},
        },
        {
            "type": "response.output_item.done",
            "output_index": 0,
            "item": {"type": "message", "content": ["text"]},
        },
    ],
)
async def test_a_stream_that_is_not_the_api_is_a_transport_failure(
    odd: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        failure, _ = await _failure(FakeReply(extra_events=(odd,)))
    assert type(failure) is TransportFailed
    assert KEY not in caplog.text


async def test_a_page_of_a_proxy_in_place_of_the_stream_is_no_empty_answer() -> None:
    for kind in ("text/html", "application/json"):
        failure, _ = await _failure(FakeReply(document='{"hello": 1}', document_type=kind))
        assert type(failure) is Truncated
        assert not failure.started


async def test_the_answer_counts_although_the_connection_breaks_after_it() -> None:
    async with openai_and_fake() as (provider, server):
        server.reply(FakeReply(text="whole", fault="cut", after=9))
        stop = await ask(provider, ASK)
    assert stop.message.text == "whole"


async def test_broken_characters_in_the_history_are_a_bad_request_that_shows_the_place() -> None:
    async with openai_and_fake() as (provider, server):
        broken = simple_request("name: \ud800 end", model=MODEL)
        with pytest.raises(BadRequest) as caught:
            await ask(provider, broken)
        assert await provider.count(broken) is None
        assert not server.requests
    assert "name: " in caught.value.message
    assert KEY not in str(caught.value)
