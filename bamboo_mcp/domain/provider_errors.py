"""How a language model can fail, told apart by kind and not by status code.

From the providers note, section 3:

    ProviderError
    ├── AuthenticationFailed   no key, or the key is refused
    ├── QuotaExhausted         credit or spend limit: waiting does not help
    ├── RateLimited *          too many requests; `retry_after_s` when the provider said
    ├── Overloaded *           the provider is full
    ├── TransportFailed *      the connection broke, or could not be made
    ├── Truncated *            the stream ended without its terminal event
    ├── ContextOverflow        the prompt does not fit the model's window
    ├── BadRequest             the provider refuses the request as it is
    ├── ServerFailed *         the provider's own fault
    ├── BadToolJson *          the model wrote arguments that are not a JSON object
    ├── Refused                the model declined to answer
    └── UnmatchedRequest       a scripted model has no step for this request

(* = worth another try, as long as nothing was shown yet: `started` is False.)
"""

from __future__ import annotations

from bamboo_mcp.domain.errors import ProviderError
from bamboo_mcp.domain.usage import NO_USAGE, Usage


class ProviderFailure(ProviderError):
    """A failed model call.

    Attributes:
        started: True once any part of the answer was handed on; a silent retry is then a lie.
        retry_after_s: Seconds the provider asked us to wait, None when it did not say.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        provider: str = "",
        status: int | None = None,
        retry_after_s: float | None = None,
        request_id: str = "",
        started: bool = False,
    ) -> None:
        super().__init__(message, hint=hint)
        self.provider = provider
        self.status = status
        self.retry_after_s = retry_after_s
        self.request_id = request_id
        self.started = started


class AuthenticationFailed(ProviderFailure):
    code = "authentication_failed"


class QuotaExhausted(ProviderFailure):
    code = "quota_exhausted"


class RateLimited(ProviderFailure):
    code = "rate_limited"
    retryable = True


class Overloaded(ProviderFailure):
    code = "overloaded"
    retryable = True


class TransportFailed(ProviderFailure):
    code = "transport_failed"
    retryable = True


class Truncated(ProviderFailure):
    code = "truncated"
    retryable = True


class ContextOverflow(ProviderFailure):
    code = "context_overflow"


class BadRequest(ProviderFailure):
    code = "bad_request"


class ServerFailed(ProviderFailure):
    code = "server_failed"
    retryable = True


class BadToolJson(ProviderFailure):
    """`usage` is what the answer cost all the same."""

    code = "bad_tool_json"
    retryable = True
    usage: Usage = NO_USAGE


class Refused(ProviderFailure):
    code = "refused"


class UnmatchedRequest(ProviderFailure):
    code = "unmatched_request"
