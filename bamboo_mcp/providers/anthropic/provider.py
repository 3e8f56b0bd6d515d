"""Claude models through the anthropic SDK: its raw event stream, without its retries and repairs.

The SDK is imported here and nowhere else, so this module loads when a Claude model is first used.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, Literal

import anthropic
import httpx2
from anthropic.types import ModelInfo

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.models import Effort, ModelCaps, ModelEntry, ModelFacts, ModelRequest
from bamboo_mcp.domain.provider_errors import AuthenticationFailed, ProviderFailure
from bamboo_mcp.domain.stream import Chunk
from bamboo_mcp.ports import Notify
from bamboo_mcp.providers import shipped
from bamboo_mcp.providers.addresses import direct_client
from bamboo_mcp.providers.anthropic.fold import Fold
from bamboo_mcp.providers.anthropic.payload import Encoder, encode_tools, prefix_of
from bamboo_mcp.providers.conversations import Conversations, EncodedTools, Wire
from bamboo_mcp.providers.faults import Faults, standing_in_the_way
from bamboo_mcp.providers.known_models import ANTHROPIC_MODELS
from bamboo_mcp.providers.options import Options
from bamboo_mcp.providers.sdk_headers import keep_back
from bamboo_mcp.providers.streams import folded
from bamboo_mcp.providers.table import EFFORTS, Knowledge, clamp_effort

logger = logging.getLogger(__name__)

_VENDOR = "https://api.anthropic.com"

OPTIONS = ("cache_ttl", "headers", "keyless", "stall_timeout_s")
"""What `providers.NAME.options` may hold: how long prompts stay cached ("5m", "1h", "" for not at
all), extra HTTP headers, whether a server of one's own needs no key, and how many seconds of
silence mean that the connection is dead."""

_SDK_ERRORS = (anthropic.AnthropicError, httpx2.TransportError, httpx2.InvalidURL)


def make(config: ProviderConfig) -> AnthropicProvider:
    """Raises `AuthenticationFailed` without a key, `SettingsError` for options it cannot use."""
    if missing := shipped.anthropic_missing(config):
        raise AuthenticationFailed(f"{config.name}: {missing}", provider=config.name)
    return AnthropicProvider(config)


class AnthropicProvider:
    def __init__(self, config: ProviderConfig) -> None:
        options = Options(config, OPTIONS)
        self._name = config.name
        self._known = Knowledge(config.models)
        self._faults = Faults(config.name)
        self._cache_ttl = options.choice("cache_ttl", ("", "5m", "1h"), "5m")
        self._conversations = Conversations(partial(Encoder, config.name))
        self._tools = EncodedTools(encode_tools)
        self._prefix: tuple[str, list[Wire] | None, str] = ("", None, "")
        # A key is always given, so that the SDK never looks for a login profile on this disk.
        key = config.api_key.reveal() or "-"
        headers = options.headers()
        if config.base_url:
            headers.setdefault("x-api-key", key)  # gateways and local servers read this one
        stall_s = options.seconds("stall_timeout_s", 300.0)
        self._client = anthropic.AsyncAnthropic(
            api_key=key,
            # Said in any case: the SDK would read it from the environment for every account.
            base_url=config.base_url.rstrip("/").removesuffix("/v1") or _VENDOR,
            max_retries=0,
            timeout=httpx2.Timeout(stall_s, connect=10.0, pool=30.0),
            default_headers=headers,
            http_client=direct_client(config.base_url)
            or anthropic.DefaultAsyncHttpxClient(follow_redirects=False),
        )
        own = config.base_url in ("", os.environ.get("ANTHROPIC_BASE_URL", "").strip())
        keep_back(self._client, "ANTHROPIC_CUSTOM_HEADERS", headers, own_service=own)

    def __repr__(self) -> str:
        return f"AnthropicProvider({self._name!r})"

    @property
    def name(self) -> str:
        return self._name

    def caps(self, model: str) -> ModelCaps:
        return self._known.caps(model)

    @asynccontextmanager
    async def stream(
        self, request: ModelRequest, *, notify: Notify | None = None
    ) -> AsyncGenerator[AsyncIterator[Chunk]]:
        try:
            tools = self._tools.of(request.tools)
            prefix = self._prefix_of(request.system, tools)
            body = self._body(request, tools, prefix)
            body["max_tokens"] = request.max_output or self.caps(request.model).max_output
            if self._cache_ttl:
                body["cache_control"] = {"type": "ephemeral", "ttl": self._cache_ttl}
            events = await self._client.messages.create(**body, stream=True)
        except _SDK_ERRORS as error:
            raise self._failure(error, started=False) from None
        except UnicodeEncodeError as error:
            raise self._faults.no_text(error) from None
        fold = Fold(self._name, request.model, prefix)
        # Leaving, in whatever way, closes the connection: breaking out of the loop alone would not.
        async with events, aclosing(self._chunks(events, fold)) as chunks:
            yield chunks

    def _chunks(self, events: AsyncIterator[Any], fold: Fold) -> AsyncGenerator[Chunk]:
        return folded(events, fold, self._faults, _SDK_ERRORS, self._failure)

    async def count(self, request: ModelRequest) -> int | None:
        tools = self._tools.of(request.tools)
        try:
            body = self._body(request, tools, self._prefix_of(request.system, tools))
            counted = await self._client.messages.count_tokens(**body)
        except (*_SDK_ERRORS, UnicodeEncodeError) as error:
            logger.info("%s cannot count tokens: %s", self._name, type(error).__name__)
            return None
        return counted.input_tokens

    async def models(self) -> Sequence[ModelEntry]:
        """The rows we know and, when the service answers, those it names, with what it says."""
        names = {row.name: None for row in ANTHROPIC_MODELS}
        missing = ""
        try:
            async for info in self._client.models.list(limit=100):
                if info.lifecycle == "retired":
                    names.pop(info.id, None)
                    continue
                names.setdefault(info.id)
                self._known.learn(info.id, _facts_from(info))
        except _SDK_ERRORS as error:
            missing = standing_in_the_way(self._failure(error, started=False))
        return [
            ModelEntry(
                name=name,
                provider=self._name,
                caps=self.caps(name),
                ready=not missing,
                missing=missing,
            )
            for name in names
        ]

    async def aclose(self) -> None:
        await self._client.close()

    def _body(self, request: ModelRequest, tools: list[Wire], prefix: str) -> dict[str, Any]:
        """All that counts as input. System and tools come out byte for byte the same each round."""
        body: dict[str, Any] = {
            "model": request.model,
            "messages": self._conversations.encode(
                request.conversation, request.model, request.messages, variant=prefix
            ),
        }
        if request.system.strip():
            body["system"] = request.system
        if tools:
            body["tools"] = tools
            if request.tool_choice == "none":
                body["tool_choice"] = {"type": "none"}
        body |= thinking_of(request.effort, self.caps(request.model))
        return body

    def _prefix_of(self, system: str, tools: list[Wire]) -> str:
        # Worked out once for all rounds of a run, and mostly for all runs: tools are one list.
        last_system, last_tools, prefix = self._prefix
        if last_tools is not tools or last_system != system:
            prefix = prefix_of(system, tools)
            self._prefix = (system, tools, prefix)
        return prefix

    def _failure(self, error: Exception, *, started: bool) -> ProviderFailure:
        if not isinstance(error, anthropic.APIStatusError):
            timed_out = isinstance(error, anthropic.APITimeoutError)
            return self._faults.unreachable(error, timed_out=timed_out, started=started)
        return self._faults.refused(
            status=error.status_code,
            error_type=str(error.type or ""),
            error_code=error.error_code or "",
            text=error.api_message if isinstance(error.api_message, str) else error.message,
            headers=error.response.headers,
            request_id=error.request_id or "",
            started=started,
        )


def thinking_of(effort: Effort | None, caps: ModelCaps) -> dict[str, Any]:
    """The request fields for how hard to think: nothing for a model that is not known to think.

    The display is asked for by name: left out, newer models hide even the text between tool calls.
    """
    level = clamp_effort(effort, caps.efforts) if effort is not None else None
    if level == "none":
        ways: tuple[Literal["disabled", "between_tools"], ...] = ("disabled", "between_tools")
        off = next((way for way in ways if way in caps.thinking), None)
        return {} if off is None else {"thinking": {"type": off}}
    fields: dict[str, Any] = {}
    if "adaptive" in caps.thinking:
        fields["thinking"] = {"type": "adaptive", "display": "summarized"}
    if level is not None:
        fields["output_config"] = {"effort": level}
    return fields


def _facts_from(info: ModelInfo) -> ModelFacts:
    """What the service says of a model; what it leaves out is taken from the table."""
    said = info.capabilities
    thinking = said and tuple(kind for kind in _THINKING if _has(said.thinking.types, kind))
    efforts = said and tuple(level for level in EFFORTS if _has(said.effort, level))
    if efforts and thinking and not {"disabled", "between_tools"}.isdisjoint(thinking):
        efforts = ("none", *efforts)
    return ModelFacts(
        context_window=info.max_input_tokens or None,
        max_output=info.max_tokens or None,
        efforts=efforts or None,
        thinking=thinking or None,
        images=said.image_input.supported if said else None,
    )


_THINKING = ("adaptive", "between_tools", "disabled", "enabled")


def _has(capabilities: object, name: str) -> bool:
    return bool(getattr(getattr(capabilities, name, None), "supported", False))
