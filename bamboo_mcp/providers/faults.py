"""Which kind of failure an answer of a service is: by its type and code first, by status last.

The order matters and is the one of the providers note, section 3: an error inside a stream carries
status 200, and one status (429) means three different things.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from bamboo_mcp.domain.provider_errors import (
    AuthenticationFailed,
    BadRequest,
    ContextOverflow,
    Overloaded,
    ProviderFailure,
    QuotaExhausted,
    RateLimited,
    ServerFailed,
    TransportFailed,
)

_BY_TYPE: dict[str, type[ProviderFailure]] = {
    "authentication_error": AuthenticationFailed,
    "permission_error": AuthenticationFailed,
    "billing_error": QuotaExhausted,
    "insufficient_quota": QuotaExhausted,
    "contract_spend_limit_reached": QuotaExhausted,
    "enforced_spend_limit_reached": QuotaExhausted,
    "overloaded_error": Overloaded,
    "rate_limit_error": RateLimited,
    "context_length_exceeded": ContextOverflow,
    "timeout_error": ServerFailed,
    "api_error": ServerFailed,
    "not_found_error": BadRequest,
    "invalid_request_error": BadRequest,
}

_BY_STATUS: dict[int, type[ProviderFailure]] = {
    401: AuthenticationFailed,
    402: QuotaExhausted,
    403: AuthenticationFailed,
    408: TransportFailed,
    409: ServerFailed,
    429: RateLimited,
    503: Overloaded,
    529: Overloaded,
}

_OVERFLOW = (
    "prompt is too long",
    "maximum context length",
    "context_length_exceeded",
    "exceed_context_size",
    "exceed context limit",
)
"""The only sign of an overflow that some services give is its text."""

_REASONS: dict[type[ProviderFailure], str] = {
    AuthenticationFailed: "refused the key",
    QuotaExhausted: "says that credit or a spend limit is used up",
    RateLimited: "is limiting the rate of requests",
    Overloaded: "is overloaded",
    ContextOverflow: "says that the prompt does not fit the model's window",
    ServerFailed: "failed on its side",
    TransportFailed: "could not be reached",
    BadRequest: "refused the request",
}


def kind_of(
    *, status: int | None, error_type: str = "", error_code: str = "", text: str = ""
) -> type[ProviderFailure]:
    """The class of failure that fits what the service said."""
    if any(phrase in text.lower() for phrase in _OVERFLOW):
        return ContextOverflow
    for word in (error_code, error_type):
        if (kind := _BY_TYPE.get(word)) is not None:
            return kind
    if status is None:
        return TransportFailed
    if (kind := _BY_STATUS.get(status)) is not None:
        return kind
    # An error event inside a stream has status 200 and, here, a type we do not know.
    return BadRequest if 400 <= status < 500 else ServerFailed


def describe(kind: type[ProviderFailure], provider: str, status: int | None, text: str) -> str:
    """One sentence for the caller: who, what, with which words."""
    code = f" (status {status})" if status is not None and status != 200 else ""
    said = f": {text.strip()[:500]}" if text.strip() else ""
    return f"{provider} {_REASONS[kind]}{code}{said}"


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds the service asks us to wait, in any of the forms such headers have.

    `now` is epoch seconds, for a date. None when it did not say, or said something unreadable.
    """
    try:
        if (millis := headers.get("retry-after-ms")) is not None:
            return max(0.0, float(millis) / 1000)
        if (said := headers.get("retry-after")) is None:
            return None
        if said.strip().replace(".", "", 1).isdigit():
            return float(said)
        return max(0.0, parsedate_to_datetime(said).timestamp() - now)
    except ValueError:
        return None
