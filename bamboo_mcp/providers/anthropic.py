"""Claude models through the anthropic SDK: its raw event stream, without its retries and repairs.

The SDK is imported here and nowhere else, so this module loads when a Claude model is first used.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Literal

import anthropic
import anyio
import httpx2

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.errors import SettingsError
from bamboo_mcp.domain.models import Effort, ModelCaps, ModelEntry, ModelRequest
from bamboo_mcp.domain.provider_errors import (
    AuthenticationFailed,
    BadRequest,
    ContextOverflow,
    ProviderFailure,
    TransportFailed,
)
from bamboo_mcp.domain.stream import Chunk, Stop
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.ports import OnWait
from bamboo_mcp.providers import shipped
from bamboo_mcp.providers.anthropic_fold import Fold
from bamboo_mcp.providers.anthropic_payload import Conversations, Wire, encode_tools
from bamboo_mcp.providers.faults import describe, kind_of, retry_after
from bamboo_mcp.providers.table import ANTHROPIC_MODELS, caps_of, clamp_effort

logger = logging.getLogger(__name__)

OPTIONS = ("cache_ttl", "headers", "keyless", "stall_timeout_s")
"""What `providers.NAME.options` may hold: how long prompts stay cached ("5m", "1h", "" for not at
all), extra HTTP headers, whether a server of one's own needs no key, and how many seconds of
silence mean that the connection is dead."""

_DRAIN_WITHIN_S = 0.5
_SDK_ERRORS = (anthropic.AnthropicError, httpx2.TransportError, httpx2.InvalidURL)


def make(config: ProviderConfig) -> AnthropicProvider:
    """Raises `AuthenticationFailed` without a key, `SettingsError` for options it cannot use."""
    if missing := shipped.anthropic_missing(config):
        raise AuthenticationFailed(f"{config.name}: {missing}", provider=config.name)
    return AnthropicProvider(config)


class AnthropicProvider:
    def __init__(self, config: ProviderConfig) -> None:
        options = _Options(config)
        self._name = config.name
        self._key = config.api_key
        self._cache_ttl = options.cache_ttl
        self._conversations = Conversations(config.name)
        self._tools: tuple[tuple[ToolSpec, ...], list[Wire]] = ((), [])
        # A key is always given, so that the SDK never looks for a login profile on this disk.
        key = config.api_key.reveal() or "-"
        headers = dict(options.headers)
        if config.base_url:
            headers.setdefault("x-api-key", key)  # gateways and local servers read this one
        self._client = anthropic.AsyncAnthropic(
            api_key=key,
            base_url=config.base_url or None,
            max_retries=0,
            timeout=httpx2.Timeout(options.stall_timeout_s, connect=10.0, pool=30.0),
            default_headers=headers,
        )

    def __repr__(self) -> str:
        return f"AnthropicProvider({self._name!r})"

    @property
    def name(self) -> str:
        return self._name

    def caps(self, model: str) -> ModelCaps:
        return caps_of(model)

    @asynccontextmanager
    async def stream(
        self, request: ModelRequest, *, on_wait: OnWait | None = None
    ) -> AsyncGenerator[AsyncIterator[Chunk]]:
        fold = Fold(self._name, request.model)
        body = self._body(request)
        body["max_tokens"] = request.max_output or self.caps(request.model).max_output
        if self._cache_ttl:
            body["cache_control"] = {"type": "ephemeral", "ttl": self._cache_ttl}
        try:
            events = await self._client.messages.create(**body, stream=True)
        except _SDK_ERRORS as error:
            raise self._failure(error, fold) from None
        except UnicodeEncodeError as error:
            raise BadRequest(
                f"the conversation holds what is no text: {error.reason} in "
                f"{error.object[max(0, error.start - 20) : error.start + 1]!r}",
                hint="It came from a tool or a file with broken encoding; start a new session.",
                provider=self._name,
            ) from None
        # Leaving, in whatever way, closes the connection: breaking out of the loop alone would not.
        async with events, aclosing(self._chunks(events, fold)) as chunks:
            yield chunks

    async def _chunks(self, events: AsyncIterator[Any], fold: Fold) -> AsyncGenerator[Chunk]:
        stop: Stop | None = None
        try:
            async for event in events:
                for chunk in fold.feed(event):
                    if isinstance(chunk, Stop):
                        stop = chunk
                    else:
                        yield chunk
                if stop is not None:
                    break
        except ProviderFailure:
            raise
        except _SDK_ERRORS as error:
            raise self._failure(error, fold) from None
        except (ValueError, AttributeError, TypeError, KeyError) as error:
            # Not what the API sends: a page of a proxy, half an event, a field of another kind.
            logger.exception("%s sent a stream that cannot be read", self._name)
            raise TransportFailed(
                f"{self._name} sent something that is not its API's event stream "
                f"({type(error).__name__})",
                hint="Is the base_url right, and is there a proxy in between?",
                provider=self._name,
                started=fold.started,
            ) from None
        if stop is None:
            raise fold.truncated()
        await _drain(events)
        yield stop

    async def count(self, request: ModelRequest) -> int | None:
        try:
            counted = await self._client.messages.count_tokens(**self._body(request))
        except _SDK_ERRORS as error:
            logger.info("%s cannot count tokens: %s", self._name, type(error).__name__)
            return None
        return counted.input_tokens

    async def models(self) -> Sequence[ModelEntry]:
        """The rows we know and, when the service answers, those it names beside them."""
        rows = {row.name: row for row in ANTHROPIC_MODELS}
        missing = ""
        try:
            async for info in self._client.models.list(limit=100):
                rows.setdefault(
                    info.id, ModelEntry(name=info.id, provider=self._name, caps=_caps_from(info))
                )
        except _SDK_ERRORS as error:
            missing = self._failure(error, Fold(self._name, "")).message
        return [
            ModelEntry(
                name=row.name,
                provider=self._name,
                caps=row.caps,
                ready=not missing,
                missing=missing,
            )
            for row in rows.values()
        ]

    async def aclose(self) -> None:
        await self._client.close()

    def _body(self, request: ModelRequest) -> dict[str, Any]:
        """All that counts as input. System and tools come out byte for byte the same each round."""
        body: dict[str, Any] = {
            "model": request.model,
            "messages": self._conversations.encode(
                request.conversation, request.model, request.messages
            ),
        }
        if request.system.strip():
            body["system"] = request.system
        if request.tools:
            body["tools"] = self._encoded_tools(request.tools)
            if request.tool_choice == "none":
                body["tool_choice"] = {"type": "none"}
        body |= thinking_of(request.effort, self.caps(request.model))
        return body

    def _encoded_tools(self, tools: Sequence[ToolSpec]) -> list[Wire]:
        # Agents of one server mostly share one list, so the last one encoded is worth keeping.
        seen, encoded = self._tools
        if len(seen) != len(tools) or any(a is not b for a, b in zip(seen, tools, strict=True)):
            encoded = encode_tools(tools)
            self._tools = (tuple(tools), encoded)
        return encoded

    def _failure(self, error: Exception, fold: Fold) -> ProviderFailure:
        """Our error for the SDK's, which is not chained: it holds the request, headers and all."""
        if not isinstance(error, anthropic.APIStatusError):
            return TransportFailed(
                self._hidden(f"{self._name} {_transport_problem(error)}"),
                provider=self._name,
                started=fold.started,
            )
        text = error.api_message if isinstance(error.api_message, str) else error.message
        kind = kind_of(
            status=error.status_code,
            error_type=str(error.type or ""),
            error_code=error.error_code or "",
            text=text,
        )
        return kind(
            self._hidden(describe(kind, self._name, error.status_code, text)),
            hint=_HINTS.get(kind, ""),
            provider=self._name,
            status=error.status_code,
            retry_after_s=retry_after(error.response.headers, time.time()),
            request_id=error.request_id or "",
            started=fold.started,
        )

    def _hidden(self, text: str) -> str:
        """A service may quote the key it was given; we never do."""
        key = self._key.reveal()
        return text.replace(key, "***") if key else text


_HINTS: dict[type[ProviderFailure], str] = {
    AuthenticationFailed: "Check the key; `bamboo-mcp models` shows which one is in use.",
    ContextOverflow: "Start a new conversation, or give less.",
}


def thinking_of(effort: Effort | None, caps: ModelCaps) -> dict[str, Any]:
    """The request fields for how hard to think: nothing for a model that is not known to think.

    The display is asked for by name: left out, newer models hide even the text between tool calls.
    """
    level = clamp_effort(effort, caps.efforts) if effort is not None else None
    if level == "none":
        off: Literal["disabled", "between_tools"] = (
            "disabled" if "disabled" in caps.thinking else "between_tools"
        )
        return {"thinking": {"type": off}}
    fields: dict[str, Any] = {}
    if "adaptive" in caps.thinking:
        fields["thinking"] = {"type": "adaptive", "display": "summarized"}
    if level is not None:
        fields["output_config"] = {"effort": level}
    return fields


class _Options:
    """The options of one instance, checked."""

    def __init__(self, config: ProviderConfig) -> None:
        self._config = config
        for key in config.options:
            if key not in OPTIONS:
                raise self._wrong(key, f"is not an option; known are {', '.join(OPTIONS)}")
        self.cache_ttl = config.options.get("cache_ttl", "5m")
        if self.cache_ttl not in ("", "5m", "1h"):
            raise self._wrong("cache_ttl", 'must be "5m", "1h" or ""')
        stall = config.options.get("stall_timeout_s", 300.0)
        if not isinstance(stall, int | float) or isinstance(stall, bool) or stall <= 0:
            raise self._wrong("stall_timeout_s", "must be a number of seconds above 0")
        self.stall_timeout_s = float(stall)
        headers = config.options.get("headers", {})
        if not isinstance(headers, Mapping) or not all(
            isinstance(v, str) for v in headers.values()
        ):
            raise self._wrong("headers", "must map header names to text")
        self.headers: Mapping[str, str] = headers

    def _wrong(self, key: str, problem: str) -> SettingsError:
        return SettingsError(f"providers.{self._config.name}.options.{key} {problem}")


async def _drain(events: AsyncIterator[Any]) -> None:
    """Read to the end of the body, so that the next round finds the connection open.

    The answer is whole by now: whatever goes wrong here is nobody's concern.
    """
    with anyio.move_on_after(_DRAIN_WITHIN_S), suppress(*_SDK_ERRORS):
        async for _ in events:
            pass


def _transport_problem(error: Exception) -> str:
    if isinstance(error, anthropic.APITimeoutError | httpx2.TimeoutException):
        return "did not answer in time"
    if isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError):
        return f"broke off the connection: {error}"
    cause = error.__cause__ or error
    return f"could not be reached: {cause}" if str(cause) else "could not be reached"


def _caps_from(info: Any) -> ModelCaps:
    """What the service says of a model; what it leaves out is taken from the table."""
    known = caps_of(info.id)
    return ModelCaps(
        context_window=info.max_input_tokens or known.context_window,
        max_output=info.max_tokens or known.max_output,
        efforts=known.efforts,
        thinking=known.thinking,
    )
