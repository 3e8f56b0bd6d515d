"""The openai SDK as both wire APIs use it: one client, and our failures for what it raises.

The SDK takes half a second to import, so this module loads when such a model is first used.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import httpx2
import openai

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.provider_errors import ProviderFailure
from bamboo_mcp.providers.addresses import direct_client
from bamboo_mcp.providers.faults import Faults
from bamboo_mcp.providers.sdk_headers import keep_back

SDK_ERRORS = (openai.OpenAIError, httpx2.TransportError, httpx2.InvalidURL)


def make_client(
    config: ProviderConfig,
    *,
    stall_timeout_s: float,
    headers: Mapping[str, str],
    organization: str = "",
    project: str = "",
) -> openai.AsyncOpenAI:
    """Makes no retries. `stall_timeout_s` of silence mean that the connection is dead.

    Without `organization` and `project` the vendor's own service gets those of the environment
    (OPENAI_ORG_ID, OPENAI_PROJECT_ID), any other server none.
    """
    base_url = config.base_url or "https://api.openai.com/v1"
    # The SDK refuses an empty key, and would look for one in the environment.
    key = config.api_key.reveal() or "-"
    own = config.base_url in ("", os.environ.get("OPENAI_BASE_URL", "").strip())
    client = openai.AsyncOpenAI(
        api_key=key,
        base_url=base_url,
        max_retries=0,
        timeout=httpx2.Timeout(stall_timeout_s, connect=10.0, pool=30.0),
        default_headers=dict(headers),
        organization=organization or None,
        project=project or None,
        http_client=direct_client(base_url)
        or openai.DefaultAsyncHttpx2Client(follow_redirects=False),
    )
    keep_back(client, "OPENAI_CUSTOM_HEADERS", headers, own_service=own)
    if not own:
        client.organization = organization or None
        client.project = project or None
    client.admin_api_key = None  # from the environment too, and never ours to send
    return client


class Failures:
    """Our failure for an error of the SDK: a `streams.Failure`."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def __call__(self, error: Exception, *, started: bool) -> ProviderFailure:
        # A connection's trouble and an error inside a stream are both plain `APIError`s: only the
        # second was said by the service and has a body.
        if isinstance(error, openai.APIConnectionError) or not isinstance(error, openai.APIError):
            timed_out = isinstance(error, openai.APITimeoutError)
            return self._faults.unreachable(error, timed_out=timed_out, started=started)
        said = _said(error.body)
        code = said.get("code")
        # Inside a stream there is no status but the 200 it began with.
        status, headers, request_id = _status(code), httpx2.Headers(), ""
        if isinstance(error, openai.APIStatusError):
            status, headers = error.status_code, error.response.headers
            request_id = error.request_id or ""
        return self._faults.refused(
            status=status,
            error_type=str(said.get("type") or error.type or ""),
            error_code=str(code or ""),
            text=str(said.get("message") or said.get("detail") or error.message),
            headers=headers,
            request_id=request_id,
            started=started,
        )


def _said(body: object) -> Mapping[str, object]:
    """The service's own words. Compatible servers wrap them in an `error`, a list, or nothing."""
    if isinstance(body, Sequence) and not isinstance(body, str) and body:
        body = body[0]
    if isinstance(body, Mapping) and isinstance(body.get("error"), Mapping | str):
        body = body["error"]
    if isinstance(body, Mapping):
        return body
    return {"message": body} if isinstance(body, str) else {}


def _status(code: object) -> int:
    """Some servers give the status as the code of an error inside a stream."""
    return code if isinstance(code, int) and 400 <= code < 600 else 200
