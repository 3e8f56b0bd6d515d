"""What each vendor calls the same thing: why an answer stopped, what it used, how it failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bamboo_mcp.domain.provider_errors import (
    AuthenticationFailed,
    BadRequest,
    ContextOverflow,
    Overloaded,
    ProviderFailure,
    QuotaExhausted,
    RateLimited,
    ServerFailed,
    UnmatchedRequest,
)
from bamboo_mcp.domain.value import Value
from bamboo_mcp.providers.scripted.steps import Tokens
from bamboo_mcp.testing.fake_llm.requests import (
    Decoder,
    anthropic_request,
    chat_request,
    responses_request,
)
from bamboo_mcp.testing.fake_llm.server import FakeError

Wire = Mapping[str, Any]


class Refusal(Value, frozen=True, kw_only=True):
    """How a vendor refuses: `words` are said when a script says none."""

    status: int
    type: str
    words: str
    code: str = ""


class Vendor(Value, frozen=True, kw_only=True):
    """One wire API. `stops` are its words for ours; one that is missing needs no word."""

    name: str
    path: str
    decode: Decoder
    usage: Callable[[Tokens], Wire]
    stops: Mapping[str, str]
    refusals: Mapping[type[ProviderFailure], Refusal]

    def error(
        self, kind: type[ProviderFailure], message: str, retry_after: float | None = None
    ) -> FakeError:
        """A failure of this kind as this API tells it."""
        refusal = self.refusals.get(kind, self.refusals[ServerFailed])
        if kind is ContextOverflow and message and not refusal.code:
            # Here nothing but the words tells it from any other bad request.
            message = f"{refusal.words} ({message})"
        headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
        return FakeError(
            status=refusal.status,
            type=refusal.type,
            message=message or refusal.words,
            code=refusal.code,
            headers=headers,
        )


def _anthropic_usage(used: Tokens) -> Wire:
    """Its `input_tokens` leave out what came from the cache or went into it."""
    usage: dict[str, Any] = {
        "input_tokens": max(0, used.input - used.cache_read - used.cache_write),
        "cache_read_input_tokens": used.cache_read,
        "cache_creation_input_tokens": used.cache_write,
        "output_tokens": used.output,
    }
    if used.reasoning:
        usage["output_tokens_details"] = {"thinking_tokens": used.reasoning}
    return usage


def _responses_usage(used: Tokens) -> Wire:
    return {
        "input_tokens": used.input,
        "input_tokens_details": {
            "cached_tokens": used.cache_read,
            "cache_write_tokens": used.cache_write,
        },
        "output_tokens": used.output,
        "output_tokens_details": {"reasoning_tokens": used.reasoning},
    }


def _chat_usage(used: Tokens) -> Wire:
    return {
        "prompt_tokens": used.input,
        "prompt_tokens_details": {"cached_tokens": used.cache_read},
        "completion_tokens": used.output,
        "completion_tokens_details": {"reasoning_tokens": used.reasoning},
        "total_tokens": used.input + used.output,
    }


_ANTHROPIC_REFUSALS: Mapping[type[ProviderFailure], Refusal] = {
    AuthenticationFailed: Refusal(
        status=401, type="authentication_error", words="invalid x-api-key"
    ),
    QuotaExhausted: Refusal(
        status=429,
        type="rate_limit_error",
        code="enforced_spend_limit_reached",
        words="You have reached your specified API usage limits.",
    ),
    RateLimited: Refusal(
        status=429,
        type="rate_limit_error",
        words="This request would exceed your organization's rate limit.",
    ),
    Overloaded: Refusal(status=529, type="overloaded_error", words="Overloaded"),
    ContextOverflow: Refusal(
        status=400,
        type="invalid_request_error",
        words="prompt is too long: 1000001 tokens > 1000000 maximum",
    ),
    BadRequest: Refusal(
        status=400, type="invalid_request_error", words="the script refuses this request"
    ),
    UnmatchedRequest: Refusal(
        status=400, type="invalid_request_error", words="the script has no step for this"
    ),
    ServerFailed: Refusal(status=500, type="api_error", words="Internal server error"),
}

_OPENAI_REFUSALS: Mapping[type[ProviderFailure], Refusal] = {
    AuthenticationFailed: Refusal(
        status=401,
        type="invalid_request_error",
        code="invalid_api_key",
        words="Incorrect API key provided.",
    ),
    QuotaExhausted: Refusal(
        status=429,
        type="insufficient_quota",
        code="insufficient_quota",
        words="You exceeded your current quota, please check your plan and billing details.",
    ),
    RateLimited: Refusal(
        status=429,
        type="requests",
        code="rate_limit_exceeded",
        words="Rate limit reached for requests.",
    ),
    Overloaded: Refusal(
        status=503,
        type="service_unavailable_error",
        code="server_is_overloaded",
        words="Our servers are currently overloaded. Please try again later.",
    ),
    ContextOverflow: Refusal(
        status=400,
        type="invalid_request_error",
        code="context_length_exceeded",
        words="Your input exceeds the context window of this model.",
    ),
    BadRequest: Refusal(
        status=400, type="invalid_request_error", words="the script refuses this request"
    ),
    UnmatchedRequest: Refusal(
        status=400, type="invalid_request_error", words="the script has no step for this"
    ),
    ServerFailed: Refusal(
        status=500,
        type="server_error",
        words="The server had an error while processing your request.",
    ),
}

ANTHROPIC = Vendor(
    name="anthropic",
    path="/v1/messages",
    decode=anthropic_request,
    usage=_anthropic_usage,
    stops={
        "end": "end_turn",
        "tool_use": "tool_use",
        "max_tokens": "max_tokens",
        "stop_sequence": "stop_sequence",
        "refusal": "refusal",
        "context_window": "model_context_window_exceeded",
        "pause": "pause_turn",
        "compaction": "compaction",
    },
    refusals=_ANTHROPIC_REFUSALS,
)
RESPONSES = Vendor(
    name="responses",
    path="/v1/responses",
    decode=responses_request,
    usage=_responses_usage,
    stops={
        "max_tokens": "max_output_tokens",
        "context_window": "max_output_tokens",
        "refusal": "content_filter",
    },
    refusals=_OPENAI_REFUSALS,
)
CHAT = Vendor(
    name="chat",
    path="/v1/chat/completions",
    decode=chat_request,
    usage=_chat_usage,
    stops={
        "end": "stop",
        "stop_sequence": "stop",
        "tool_use": "tool_calls",
        "max_tokens": "length",
        "context_window": "length",
        "refusal": "content_filter",
    },
    refusals=_OPENAI_REFUSALS,
)

VENDORS: Mapping[str, Vendor] = {vendor.path: vendor for vendor in (ANTHROPIC, RESPONSES, CHAT)}
"""By the path that answers."""
