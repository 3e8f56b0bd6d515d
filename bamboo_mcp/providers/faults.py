"""Which kind of failure an answer of a service is: by its type and code first, by status last.

The order matters and is the one of the providers note, section 3: an error inside a stream carries
status 200, and one status (429) means three different things.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

import httpx2

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
)
from bamboo_mcp.domain.secrets import starred

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
    "server_error": ServerFailed,
    "rate_limit_exceeded": RateLimited,
    "server_is_overloaded": Overloaded,
    "slow_down": Overloaded,
    "service_unavailable_error": Overloaded,
    "invalid_api_key": AuthenticationFailed,
    "billing_not_active": QuotaExhausted,
    "billing_hard_limit_reached": QuotaExhausted,
    "invalid_prompt": BadRequest,
    "data_residency_mismatch": BadRequest,
    "bio_policy": Refused,
    "misalignment_policy_violation": Refused,
    "image_content_policy_violation": Refused,
    "not_found_error": BadRequest,
    "invalid_request_error": BadRequest,
    **dict.fromkeys(
        (
            *("invalid_image", "invalid_image_format", "invalid_base64_image"),
            *("invalid_image_url", "invalid_image_mode", "image_parse_error", "image_too_large"),
            *("image_too_small", "image_file_too_large", "image_file_not_found"),
            *("empty_image_file", "unsupported_image_media_type", "failed_to_download_image"),
        ),
        BadRequest,
    ),
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
    "exceeds the context window",
    "exceeds the available context size",
    "exceeded max context length",
    "greater than the context length",
    "exceeds the maximum number of tokens",
)
"""The only sign of an overflow that some services give is its text."""

_BAD_KEY = ("api key not valid", "api_key_invalid")
"""Gemini's way to refuse a key, with status 400."""

_REASONS: dict[type[ProviderFailure], str] = {
    AuthenticationFailed: "refused the key",
    QuotaExhausted: "says that credit or a spend limit is used up",
    RateLimited: "is limiting the rate of requests",
    Overloaded: "is overloaded",
    ContextOverflow: "says that the prompt does not fit the model's window",
    ServerFailed: "failed on its side",
    TransportFailed: "could not be reached",
    BadRequest: "refused the request",
    Refused: "declined to answer",
}


def kind_of(
    *, status: int | None, error_type: str = "", error_code: str = "", text: str = ""
) -> type[ProviderFailure]:
    """The class of failure that fits what the service said."""
    if any(phrase in text.lower() for phrase in _OVERFLOW):
        return ContextOverflow
    if any(phrase in text.lower() for phrase in _BAD_KEY):
        return AuthenticationFailed
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
    words = text.strip()[:500].rstrip(".")
    said = f": {words}" if words else ""
    return f"{provider} {_REASONS[kind]}{code}{said}"


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds the service asks us to wait, in any of the forms such headers have.

    `now` is epoch seconds, for a date. None when it did not say, or said something unreadable.
    """
    millis = _number(headers.get("retry-after-ms", ""))
    if millis is not None:
        return millis / 1000
    said = headers.get("retry-after", "")
    seconds = _number(said)
    if seconds is not None:
        return seconds
    try:
        when = parsedate_to_datetime(said)
        # A date without a zone is one in that of Greenwich, not in ours.
        when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
        return max(0.0, when.timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _number(said: str) -> float | None:
    try:
        number = float(said)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def standing_in_the_way(failure: ProviderFailure) -> str:
    """What a failed list of models says against using the service; "" when it need not matter.

    A proxy without such a list may answer all the same.
    """
    serious = (AuthenticationFailed, QuotaExhausted, TransportFailed)
    return failure.message if isinstance(failure, serious) else ""


class Faults:
    """Our failures for what a vendor's SDK raised, in the words of one provider instance.

    The SDK's error is never chained: it holds the request, headers and all. And a service may quote
    the key it was given; we never do.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def refused(
        self,
        *,
        status: int | None,
        error_type: str = "",
        error_code: str = "",
        text: str = "",
        headers: Mapping[str, str] | None = None,
        request_id: str = "",
        started: bool = False,
    ) -> ProviderFailure:
        """The service answered, and with an error."""
        if status is not None and 300 <= status < 400:
            return self._moved(status, headers or {})
        kind = kind_of(status=status, error_type=error_type, error_code=error_code, text=text)
        return kind(
            # Hidden before it is cut: half a key would not be known for one.
            describe(kind, self.name, status, starred(text)),
            hint=_HINTS.get(kind, ""),
            provider=self.name,
            status=status,
            retry_after_s=retry_after(headers or {}, time.time()),
            request_id=request_id,
            started=started,
        )

    def unreachable(
        self, error: Exception, *, timed_out: bool = False, started: bool = False
    ) -> TransportFailed:
        """There was no answer, or it broke off. `error` is the SDK's or the HTTP client's."""
        if timed_out or isinstance(error, httpx2.TimeoutException):
            problem = "did not answer in time (options.stall_timeout_s says how long is waited)"
        else:
            cause = error.__cause__ or error
            broken = httpx2.RemoteProtocolError | httpx2.ReadError
            broke = isinstance(cause, broken) or isinstance(error, broken)
            problem = "broke off the connection" if broke else "could not be reached"
            problem += f": {cause}" if str(cause) else ""
        return TransportFailed(
            starred(f"{self.name} {problem}"), provider=self.name, started=started
        )

    def unreadable(self, error: Exception, *, started: bool) -> TransportFailed:
        """What came is not what the API sends: a proxy's page, half an event, another field."""
        return TransportFailed(
            f"{self.name} sent something that is not its API's event stream "
            f"({type(error).__name__})",
            hint="Is the base_url right, and is there a proxy in between?",
            provider=self.name,
            started=started,
        )

    def no_text(self, error: UnicodeEncodeError) -> BadRequest:
        """The request could not even be written."""
        return BadRequest(
            f"the conversation holds what is no text: {error.reason} in "
            f"{error.object[max(0, error.start - 20) : error.start + 1]!r}",
            hint="It came from a tool or a file with broken encoding; start a new session.",
            provider=self.name,
        )

    def _moved(self, status: int, headers: Mapping[str, str]) -> BadRequest:
        """We do not follow: key and conversation would go to whoever the answer names."""
        place = starred(headers.get("location", "somewhere else")[:200])
        return BadRequest(
            f"{self.name} sends its callers on to {place} (status {status})",
            hint=f"If that is right, set providers.{self.name}.base_url to it.",
            provider=self.name,
            status=status,
        )


_HINTS: dict[type[ProviderFailure], str] = {
    AuthenticationFailed: "Check the key: providers.NAME.api_key in the settings says where it is "
    "(`bamboo-mcp config show`), else the variable that the vendor's own tools read.",
    ContextOverflow: "Start a new conversation, or give less.",
}
