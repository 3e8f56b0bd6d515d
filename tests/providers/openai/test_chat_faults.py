"""Every fault of a compatible server, through the real SDK over HTTP."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import anyio
import msgspec
import pytest

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.messages import user_message
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
from bamboo_mcp.domain.stream import BlockDone, Chunk, TextChunk
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.providers.openai.chat import make
from bamboo_mcp.testing.fake_llm.chat import ChatDialect
from bamboo_mcp.testing.fake_llm.server import FakeCall, FakeError, FakeReply
from tests.providers.openai.chat_at import KEY, PLAIN, ask, chat_and_fake, request

ASK = request([user_message("go")])


async def _failure(
    reply: FakeReply,
    asked: ModelRequest = ASK,
    *,
    dialect: ChatDialect = PLAIN,
    **options: Any,
) -> tuple[ProviderFailure, list[Chunk]]:
    seen: list[Chunk] = []
    async with chat_and_fake(dialect, **options) as (provider, server):
        server.reply(reply)
        with pytest.raises(ProviderFailure) as caught, anyio.fail_after(5):
            async with provider.stream(asked) as chunks:
                async for chunk in chunks:
                    seen.append(chunk)
        assert len(server.requests) == 1, "the provider must not retry by itself"
    assert caught.value.started == bool(seen)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert KEY not in repr(caught.value) + str(vars(caught.value))
    return caught.value, seen


async def test_a_stream_without_a_reason_to_stop_is_truncated_though_the_sdk_says_nothing() -> None:
    failure, seen = await _failure(FakeReply(text="half an answer", fault="eof", after=3))
    assert type(failure) is Truncated
    assert failure.started
    assert any(isinstance(chunk, TextChunk) for chunk in seen)
    assert not any(isinstance(chunk, BlockDone) for chunk in seen)
    failure, _ = await _failure(FakeReply(text="whole"), dialect=ChatDialect(finish=""))
    assert type(failure) is Truncated


async def test_a_stream_that_ends_before_anything_was_said_may_be_retried() -> None:
    for after in (0, 1):
        failure, seen = await _failure(FakeReply(text="never", fault="eof", after=after))
        assert type(failure) is Truncated
        assert failure.retryable
        assert not failure.started
        assert not seen


async def test_a_cut_connection_is_a_transport_failure_that_knows_whether_it_had_started() -> None:
    failure, _ = await _failure(FakeReply(text="half an answer", fault="cut", after=3))
    assert type(failure) is TransportFailed
    assert failure.started
    failure, _ = await _failure(FakeReply(text="half an answer", fault="cut", after=1))
    assert type(failure) is TransportFailed
    assert not failure.started


async def test_the_answer_counts_although_the_connection_breaks_after_it() -> None:
    async with chat_and_fake() as (provider, server):
        # role, one delta, the reason to stop: the usage is lost and the answer is not.
        call = FakeCall(id="c1", name="look")
        server.reply(FakeReply(text="whole", fault="cut", after=3))
        server.reply(FakeReply(calls=(call,), fault="cut", after=4))
        said = await ask(provider, ASK)
        called = await ask(provider, ASK)
    assert said.message.text == "whole"
    assert said.usage == Usage()
    assert called.reason == "tool_use"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FakeError(type="overloaded_error", message="busy"), Overloaded),
        (FakeError(type="insufficient_quota", message="empty"), QuotaExhausted),
        (FakeError(type="x", message="maximum context length is 4096 tokens"), ContextOverflow),
        (FakeError(type="server_error", message="CUDA out of memory"), ServerFailed),
        (FakeError(type="a_type_of_the_future", message="?"), ServerFailed),
    ],
)
async def test_an_error_inside_a_stream_is_told_by_its_type_not_by_its_status_of_200(
    error: FakeError, kind: type[ProviderFailure]
) -> None:
    for after in (1, 3):
        reply = FakeReply(text="half an answer", fault="error_event", after=after, error=error)
        failure, _ = await _failure(reply)
        assert type(failure) is kind
        assert failure.status == 200
        assert error.message in failure.message


async def test_errors_that_come_as_chunks_are_failures() -> None:
    odd = {"object": "error", "message": "boom", "type": "BadRequestError", "code": 400}
    failure, _ = await _failure(FakeReply(text="half", extra_events=({"choices": None} | odd,)))
    assert type(failure) is BadRequest
    assert "boom" in failure.message
    for said in ("an error of one word", {"message": "busy", "code": 429}):
        failure, _ = await _failure(FakeReply(text="half", extra_events=({"error": said},)))
        assert type(failure) is (ServerFailed if isinstance(said, str) else RateLimited)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("error", ServerFailed),
        ("insufficient_system_resource", Overloaded),
        ("abort", Truncated),
        ("function_call_filter: MALFORMED_FUNCTION_CALL", BadToolJson),
    ],
)
async def test_failures_that_come_as_a_reason_to_stop_are_failures(
    said: str, kind: type[ProviderFailure]
) -> None:
    failure, _ = await _failure(FakeReply(text="half", stop=said))
    assert type(failure) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FakeError(status=401, type="invalid_request_error", code="invalid_api_key"), None),
        (FakeError(status=401, type="authentication_error"), AuthenticationFailed),
        (FakeError(status=402, type="x", message="Insufficient Balance"), QuotaExhausted),
        (FakeError(status=429, type="x", code="insufficient_quota"), QuotaExhausted),
        (FakeError(status=429, type="requests", code="rate_limit_exceeded"), RateLimited),
        (FakeError(status=429, type="RESOURCE_EXHAUSTED"), RateLimited),
        (FakeError(status=500, type="server_error"), ServerFailed),
        (FakeError(status=502, type="x"), ServerFailed),
        (FakeError(status=503, type="unavailable_error", message="Loading model"), Overloaded),
        (FakeError(status=529, type="x"), Overloaded),
        (FakeError(status=404, type="x", message='model "x" not found'), BadRequest),
        (FakeError(status=400, type="x", code="context_length_exceeded"), ContextOverflow),
        (
            FakeError(
                status=400,
                type="exceed_context_size_error",
                message="the request exceeds the available context size, try increasing it",
            ),
            ContextOverflow,
        ),
        (
            FakeError(
                status=400,
                type="BadRequestError",
                message="max_tokens: This model's maximum context length is 4096 tokens.",
            ),
            ContextOverflow,
        ),
        (
            FakeError(
                status=400,
                type="x",
                message="The input token count (9) exceeds the maximum number of tokens allowed",
            ),
            ContextOverflow,
        ),
    ],
)
async def test_a_refusal_is_told_by_type_and_code_before_status(
    error: FakeError, kind: type[ProviderFailure] | None
) -> None:
    failure, _ = await _failure(FakeReply(error=error), request([user_message("a")], max_output=9))
    assert type(failure) is (kind or AuthenticationFailed)
    assert failure.status == error.status
    assert failure.provider == "local"
    assert not failure.started


async def test_retry_after_is_passed_on_in_seconds_however_long() -> None:
    for headers, expected in (
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "3600"}, 3600.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ):
        error = FakeError(status=429, type="x", headers=headers)
        failure, _ = await _failure(FakeReply(error=error))
        assert failure.retry_after_s == expected


@pytest.mark.parametrize("raw", ['{"path": "a', "[1]", '"text"', "{'a': 1}", "null", "{}{}"])
async def test_arguments_that_are_no_json_object_never_become_an_empty_call(raw: str) -> None:
    good = FakeCall(id="call_0", name="draw")
    bad = FakeCall(id="call_1", name="look", raw_json=raw)
    failure, seen = await _failure(FakeReply(calls=(good, bad)))
    assert type(failure) is BadToolJson
    assert "look" in failure.message
    assert not any(isinstance(chunk, BlockDone) for chunk in seen)


async def test_a_call_without_a_name_is_no_call() -> None:
    failure, _ = await _failure(FakeReply(calls=(FakeCall(id="c", name="", args={"a": 1}),)))
    assert type(failure) is BadToolJson


@pytest.mark.parametrize("raw", ['{"path": "a', ""])
async def test_a_call_cut_off_by_the_token_limit_is_dropped_and_the_limit_told(raw: str) -> None:
    async with chat_and_fake() as (provider, server):
        whole = FakeCall(id="call_1", name="look", raw_json="{}")
        half = FakeCall(id="call_2", name="look", raw_json=raw)
        server.reply(FakeReply(text="Looking.", calls=(whole, half), stop="length"))
        stop = await ask(provider, ASK)
    assert stop.reason == "max_tokens"
    assert stop.message.text == "Looking."
    assert [call.id for call in stop.message.tool_calls] == ["call_1"]


async def test_a_stalled_stream_fails_after_the_stall_timeout() -> None:
    reply = FakeReply(text="half an answer", fault="stall", after=3)
    failure, _ = await _failure(reply, stall_timeout_s=0.05)
    assert type(failure) is TransportFailed
    assert failure.started
    assert "in time" in failure.message


async def test_cancelling_in_the_middle_closes_the_connection_at_once() -> None:
    async with chat_and_fake() as (provider, server):
        server.reply(FakeReply(text="half an answer", fault="stall", after=3))

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
    async with chat_and_fake() as (provider, server):
        server.reply(FakeReply(text="half an answer", fault="stall", after=3))
        with anyio.fail_after(5):
            async with provider.stream(ASK) as chunks:
                async for _ in chunks:
                    break
            await server.disconnected.wait()


async def test_an_error_in_the_reader_closes_the_connection_and_stays_itself() -> None:
    async with chat_and_fake() as (provider, server):
        server.reply(FakeReply(text="half an answer", fault="stall", after=3))
        with anyio.fail_after(5):
            with pytest.raises(LookupError):
                async with provider.stream(ASK) as chunks:
                    async for _ in chunks:
                        raise LookupError("a bug of the reader")
            await server.disconnected.wait()


async def test_a_page_of_a_proxy_is_a_transport_failure_that_says_what_to_check() -> None:
    page = FakeReply(document="<html><body>Sign in to the hotel's network</body></html>")
    failure, _ = await _failure(page)
    assert type(failure) is TransportFailed
    assert "text/html" in failure.message
    assert "base_url" in failure.hint


async def test_a_whole_answer_in_place_of_a_stream_is_a_transport_failure() -> None:
    whole = {"object": "chat.completion", "choices": [{"message": {"content": "hi"}}]}
    document = msgspec.json.encode(whole).decode()
    for text in (document, "{", "", "x" * 100_000):
        reply = FakeReply(document=text or " ", document_type="application/json; charset=utf-8")
        failure, _ = await _failure(reply)
        assert type(failure) is TransportFailed
        assert "application/json" in failure.message


async def test_an_error_with_the_status_of_success_is_told_by_what_it_says() -> None:
    said = {"error": {"message": f"no credit for {KEY}", "type": "insufficient_quota"}}
    document = msgspec.json.encode(said).decode()
    failure, _ = await _failure(FakeReply(document=document, document_type="application/json"))
    assert type(failure) is QuotaExhausted


async def test_a_stream_that_is_not_the_api_is_a_transport_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for odd in ({"choices": [{"index": 0, "delta": "text"}]}, {"choices": [7]}):
        with caplog.at_level(logging.ERROR):
            failure, _ = await _failure(FakeReply(extra_events=(odd,)))
        assert type(failure) is TransportFailed
        assert KEY not in caplog.text
        caplog.clear()


async def test_a_server_that_is_not_there_is_a_transport_failure() -> None:
    config = ProviderConfig(
        name="gone", type="openai-chat", base_url="http://127.0.0.1:9/v1", api_key=Secret(KEY)
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


async def test_broken_characters_in_the_history_are_a_bad_request_that_shows_the_place() -> None:
    async with chat_and_fake() as (provider, server):
        with pytest.raises(BadRequest) as caught:
            await ask(provider, request([user_message("name: \ud800 end")]))
        assert not server.requests
    assert "name: " in caught.value.message
    assert KEY not in str(caught.value)
