"""The `openai-chat` provider: any server with a compatible Chat Completions endpoint."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
import msgspec
import openai

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.models import ModelCaps, ModelEntry, ModelFacts, ModelRequest
from bamboo_mcp.domain.provider_errors import (
    AuthenticationFailed,
    ContextOverflow,
    ProviderFailure,
    TransportFailed,
)
from bamboo_mcp.domain.stream import Chunk
from bamboo_mcp.ports import Notify
from bamboo_mcp.providers import shipped
from bamboo_mcp.providers.conversations import Conversations, EncodedTools
from bamboo_mcp.providers.faults import Faults, standing_in_the_way
from bamboo_mcp.providers.openai.chat_fold import Fold, UntilEnd
from bamboo_mcp.providers.openai.chat_models import NoList, described_models
from bamboo_mcp.providers.openai.chat_payload import Encoder, encode_tools
from bamboo_mcp.providers.openai.profiles import Profile, complete, profile_of
from bamboo_mcp.providers.openai.sdk import SDK_ERRORS, Failures, make_client
from bamboo_mcp.providers.options import Options
from bamboo_mcp.providers.streams import folded
from bamboo_mcp.providers.table import Knowledge, clamp_effort

logger = logging.getLogger(__name__)

OPTIONS = ("headers", "keyless", "profile", "stall_timeout_s")
"""What `providers.NAME.options` may hold: extra HTTP headers, whether a server of a name that
usually needs a key takes none here, the profile of the server ("" to guess it by its address), and
how many seconds of silence mean that the connection is dead."""

_DISPENSABLE = ("stream_options", "parallel_tool_calls", "reasoning_effort", "tool_choice")
"""Fields an answer can do without, should a server not know one."""
_DOCUMENT_BYTES = 65_536
_DOCUMENT_WITHIN_S = 2.0


def make(config: ProviderConfig) -> ChatProvider:
    """Raises `AuthenticationFailed` for what is missing, `SettingsError` for options it cannot
    use."""
    if missing := shipped.chat_missing(config):
        raise AuthenticationFailed(f"{config.name}: {missing}", provider=config.name)
    return ChatProvider(config)


class ChatProvider:
    def __init__(self, config: ProviderConfig) -> None:
        options = Options(config, OPTIONS)
        options.flag("keyless", default=False)
        self._name = config.name
        self.profile: Profile = profile_of(config, options)
        self._said = config.models
        self._known = Knowledge(config.models)
        self._learned: dict[str, ModelFacts] = {}
        self._faults = Faults(config.name)
        self._failure = Failures(self._faults)
        self._conversations = Conversations(self._encoder_for)
        self._tools = EncodedTools(encode_tools)
        self._refused: dict[str, set[str]] = {}
        """By model, the fields this server does not take for it."""
        self._client = make_client(
            msgspec.structs.replace(config, base_url=complete(config.base_url, self.profile)),
            stall_timeout_s=options.seconds("stall_timeout_s", 300.0),
            headers=options.headers(),
        )

    def __repr__(self) -> str:
        return f"ChatProvider({self._name!r}, {self.profile.name!r})"

    @property
    def name(self) -> str:
        return self._name

    def caps(self, model: str) -> ModelCaps:
        return self._known.caps(model)

    @asynccontextmanager
    async def stream(
        self, request: ModelRequest, *, notify: Notify | None = None
    ) -> AsyncGenerator[AsyncIterator[Chunk]]:
        fold = Fold(self._faults, request.model, self.profile.think_tags)
        events = await self._begin(request)
        # Leaving, in whatever way, closes the connection: breaking out of the loop alone would not.
        async with events:
            if _is_document(events.response.headers):
                raise await self._no_stream(events.response)
            until_end = UntilEnd(events, fold, SDK_ERRORS)
            chunks = folded(until_end, fold, self._faults, SDK_ERRORS, self._failure)
            async with aclosing(chunks):
                yield chunks

    async def count(self, request: ModelRequest) -> int | None:
        """The API has no way to ask."""
        return None

    async def models(self) -> Sequence[ModelEntry]:
        """What the server has, models that take tools first. When it does not answer: those the
        settings describe, or one without a name, to say why."""
        missing = ""
        facts: Mapping[str, ModelFacts] = {}
        try:
            facts = await described_models(self._client, self.profile)
        except TimeoutError:
            missing = f"{self._name} did not answer in time"
        except NoList:
            missing = f"{self._name} sent no list of models: is the base_url right?"
        except SDK_ERRORS as error:
            missing = standing_in_the_way(self._failure(error, started=False))
        for name, known in facts.items():
            self._known.learn(name, known)
            self._learned[name] = known
        names = list(facts) or (list(self._said) or [""] if missing else [])
        entries = [self._entry(name, facts.get(name, ModelFacts()), missing) for name in names]
        return sorted(entries, key=lambda entry: not entry.caps.tools)

    async def aclose(self) -> None:
        await self._client.close()

    def _entry(self, name: str, facts: ModelFacts, missing: str) -> ModelEntry:
        said = self._said.get(name, ModelFacts())
        price_in = said.price_input if said.price_input is not None else facts.price_input
        price_out = said.price_output if said.price_output is not None else facts.price_output
        return ModelEntry(
            name=name,
            provider=self._name,
            caps=self.caps(name),
            ready=not missing,
            missing=missing,
            price_input=price_in,
            price_output=price_out,
        )

    async def _begin(self, request: ModelRequest) -> openai.AsyncStream[Any]:
        """The open stream. A server that does not know one of our fields is asked again without
        it, and not bothered with it any more: nothing failed, and each field goes only once."""
        body = self._body(request)
        while True:
            try:
                # As `extra_body`, since what stands in a named field the SDK walks through, item by
                # item: a quarter of a millisecond for each message of the history, every round.
                stream: openai.AsyncStream[Any] = await self._client.chat.completions.create(
                    model=request.model, messages=(), stream=True, extra_body=body
                )
            except SDK_ERRORS as error:
                failure = self._failure(error, started=False)
                field = _refused_field(error, failure, body)
                if not field:
                    raise failure from None
                logger.info("%s does not take %s for %s", self._name, field, request.model)
                self._refused.setdefault(request.model, set()).add(field)
                _leave_out(body, field)
            except UnicodeEncodeError as error:
                raise self._faults.no_text(error) from None
            else:
                return stream

    def _body(self, request: ModelRequest) -> dict[str, Any]:
        """All that goes out. System and tools come out byte for byte the same each round."""
        messages = self._conversations.encode(request.conversation, request.model, request.messages)
        if request.system.strip():
            messages.insert(0, {"role": "system", "content": request.system})
        body: dict[str, Any] = {"messages": messages}
        if request.tools:
            body |= self._tool_fields(request)
        if request.max_output:
            body[self.profile.limit_field] = request.max_output
        if self.profile.usage:
            body["stream_options"] = {"include_usage": True}
        if (level := self._effort(request)) is not None:
            body["reasoning_effort"] = level
        for field in self._refused.get(request.model, ()):
            _leave_out(body, field)
        return body

    def _tool_fields(self, request: ModelRequest) -> dict[str, Any]:
        if request.tool_choice == "none" and not self.profile.tool_choice:
            return {}
        fields: dict[str, Any] = {"tools": self._tools.of(request.tools)}
        if self.profile.parallel:
            fields["parallel_tool_calls"] = True
        if request.tool_choice == "none":
            fields["tool_choice"] = "none"
        return fields

    def _effort(self, request: ModelRequest) -> str | None:
        if request.effort is None:
            return None
        allowed = self.caps(request.model).efforts
        if not allowed and self.profile.efforts_for_all:
            told = (table.get(request.model, ModelFacts()) for table in (self._said, self._learned))
            allowed = (
                () if any(facts.efforts is not None for facts in told) else self.profile.efforts
            )
        return clamp_effort(request.effort, allowed)

    def _encoder_for(self, model: str) -> Encoder:
        return Encoder(self._name, self.profile, model, sees=self.caps(model).images)

    async def _no_stream(self, response: Any) -> ProviderFailure:
        """The failure that a whole document is, where a stream was asked for."""
        document = bytearray()
        try:
            with anyio.move_on_after(_DOCUMENT_WITHIN_S):
                async for part in response.aiter_bytes():
                    document += part
                    if len(document) > _DOCUMENT_BYTES:
                        break
        except SDK_ERRORS as error:
            return self._failure(error, started=False)
        try:
            body = msgspec.json.decode(document)
        except (msgspec.DecodeError, UnicodeDecodeError):
            body = None
        if isinstance(body, Mapping) and body.get("error"):
            told = openai.APIError("an error", response.request, body=body)
            return self._failure(told, started=False)
        kind = response.headers.get("content-type", "").partition(";")[0]
        return TransportFailed(
            f"{self._name} answered with a document ({kind}) where a stream was asked for",
            hint="Is the base_url right (most end in /v1), and is there a proxy in between?",
            provider=self._name,
        )


def _is_document(headers: Mapping[str, str]) -> bool:
    kind = headers.get("content-type", "").lower()
    return "html" in kind or "json" in kind


def _refused_field(error: Exception, failure: ProviderFailure, body: Mapping[str, Any]) -> str:
    """The field that this refusal is about, "" when it is about something else."""
    if not isinstance(error, openai.APIStatusError) or error.status_code not in (400, 404, 422):
        return ""
    if isinstance(failure, ContextOverflow):
        return ""  # it names the limit too
    words = _words(error)
    if "max_tokens" in body and "max_completion_tokens" in words:
        return "max_tokens"
    if "reasoning_effort" in body and "does not support thinking" in words:
        return "reasoning_effort"
    return next((field for field in _DISPENSABLE if field in body and field in words), "")


def _words(error: openai.APIStatusError) -> str:
    """What a refusal says, without what it quotes of our request: that names every field."""
    body = error.body
    if not isinstance(body, Mapping):
        return f"{error.message} {body}"
    details = body.get("detail")
    if not isinstance(details, list):
        return " ".join(str(body.get(key)) for key in ("param", "message", "detail"))
    return " ".join(
        f"{detail.get('loc')} {detail.get('msg')}"
        for detail in details
        if isinstance(detail, Mapping)
    )


def _leave_out(body: dict[str, Any], field: str) -> None:
    if field not in body:
        return
    value = body.pop(field)
    if field == "max_tokens":
        body["max_completion_tokens"] = value
    elif field == "tool_choice":
        # It was there to forbid calls; without it only a request without tools does.
        body.pop("tools", None)
        body.pop("parallel_tool_calls", None)
