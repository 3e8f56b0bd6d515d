"""OpenAI models by the Responses API: nothing is kept there, encrypted reasoning travels along.

The SDK is imported here, so this module loads when such a model is first used.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.models import ModelCaps, ModelEntry, ModelRequest
from bamboo_mcp.domain.provider_errors import AuthenticationFailed
from bamboo_mcp.domain.stream import Chunk
from bamboo_mcp.ports import Notify
from bamboo_mcp.providers.conversations import Conversations, EncodedTools
from bamboo_mcp.providers.credentials import key_needed
from bamboo_mcp.providers.faults import Faults, standing_in_the_way
from bamboo_mcp.providers.known_models import OPENAI_MODELS
from bamboo_mcp.providers.openai.responses_fold import Fold
from bamboo_mcp.providers.openai.responses_payload import Encoder, cache_key, encode_tools
from bamboo_mcp.providers.openai.sdk import SDK_ERRORS, Failures, make_client
from bamboo_mcp.providers.options import Options
from bamboo_mcp.providers.streams import folded
from bamboo_mcp.providers.table import Knowledge, clamp_effort

logger = logging.getLogger(__name__)

OPTIONS = (
    "headers",
    "keyless",
    "organization",
    "project",
    "reasoning_summary",
    "stall_timeout_s",
)
"""What `providers.NAME.options` may hold: extra HTTP headers, whether a server of one's own needs
no key, which organization and project pay, how much of the reasoning is shown ("auto", "concise",
"detailed", "" for none, as an organization that is not verified needs it), and how many seconds of
silence mean that the connection is dead."""

_ANSWER_HERE = ("gpt-", "o1", "o3", "o4", "chatgpt")
_ANSWER_OTHERWISE = ("audio", "image", "instruct", "realtime", "transcribe", "tts")
_NEVER_REASON = ("gpt-3", "gpt-4", "chatgpt-4")
_LEAST_OUTPUT = 16


def make(config: ProviderConfig) -> ResponsesProvider:
    """Raises `AuthenticationFailed` without a key, `SettingsError` for options it cannot use."""
    if not config.api_key and not config.options.get("keyless"):
        needed = key_needed(config.name, "OPENAI_API_KEY")
        raise AuthenticationFailed(f"{config.name}: {needed}", provider=config.name)
    return ResponsesProvider(config)


class ResponsesProvider:
    def __init__(self, config: ProviderConfig) -> None:
        options = Options(config, OPTIONS)
        self._name = config.name
        self._said = config.models
        self._known = Knowledge(config.models)
        self._faults = Faults(config.name)
        self._failure = Failures(self._faults)
        self._summary = options.choice(
            "reasoning_summary", ("", "auto", "concise", "detailed"), "auto"
        )
        self._conversations = Conversations(partial(Encoder, config.name))
        self._tools = EncodedTools(encode_tools)
        self._client = make_client(
            config,
            stall_timeout_s=options.seconds("stall_timeout_s", 300.0),
            headers=options.headers(),
            organization=options.text("organization"),
            project=options.text("project"),
        )

    def __repr__(self) -> str:
        return f"ResponsesProvider({self._name!r})"

    @property
    def name(self) -> str:
        return self._name

    def caps(self, model: str) -> ModelCaps:
        return self._known.caps(model)

    @asynccontextmanager
    async def stream(
        self, request: ModelRequest, *, notify: Notify | None = None
    ) -> AsyncGenerator[AsyncIterator[Chunk]]:
        body = self._body(request) | self._answer_wanted(request)
        try:
            events = await self._client.responses.create(
                model=request.model, stream=True, extra_body=body
            )
        except SDK_ERRORS as error:
            raise self._failure(error, started=False) from None
        except UnicodeEncodeError as error:
            raise self._faults.no_text(error) from None
        # Leaving, in whatever way, closes the connection: breaking out of the loop alone would not.
        async with events, aclosing(self._chunks(events, request.model)) as chunks:
            yield chunks

    def _chunks(self, events: AsyncIterator[Any], model: str) -> AsyncGenerator[Chunk]:
        fold = Fold(self._faults, model)
        return folded(events, fold, self._faults, SDK_ERRORS, self._failure)

    async def count(self, request: ModelRequest) -> int | None:
        try:
            counted = await self._client.responses.input_tokens.count(
                extra_body=self._body(request)
            )
        except (*SDK_ERRORS, UnicodeEncodeError) as error:
            logger.info("%s cannot count tokens: %s", self._name, type(error).__name__)
            return None
        # Servers that do not know the endpoint may answer 200 with something else.
        tokens = getattr(counted, "input_tokens", None)
        return tokens if isinstance(tokens, int) else None

    async def models(self) -> Sequence[ModelEntry]:
        """The rows we know and, when the service answers, those it names that can be used here."""
        names = {row.name: None for row in OPENAI_MODELS}
        lacking = ""
        try:
            async for info in self._client.models.list():
                if _answers_here(info.id):
                    names.setdefault(info.id)
        except SDK_ERRORS as error:
            lacking = standing_in_the_way(self._failure(error, started=False))
        return [
            ModelEntry(
                name=name,
                provider=self._name,
                caps=self.caps(name),
                ready=not lacking,
                missing=lacking,
            )
            for name in names
        ]

    async def aclose(self) -> None:
        await self._client.close()

    def _body(self, request: ModelRequest) -> dict[str, Any]:
        """All that counts as input. System and tools come out byte for byte the same each round.

        It goes out as `extra_body`: what is given as parameters the SDK walks through field by
        field, which took 1.7 s of a standing event loop for 4,000 items, where this takes 8 ms.
        """
        body: dict[str, Any] = {
            "model": request.model,
            "input": self._conversations.encode(
                request.conversation, request.model, request.messages
            ),
            "truncation": "disabled",
        }
        if request.system.strip():
            body["instructions"] = request.system
        if request.tools:
            body["tools"] = self._tools.of(request.tools)
            body["parallel_tool_calls"] = True
            if request.tool_choice == "none":
                body["tool_choice"] = "none"
        if reasoning := self._reasoning(request):
            body["reasoning"] = reasoning
        return body

    def _answer_wanted(self, request: ModelRequest) -> dict[str, Any]:
        """How to answer, and that nothing is kept: what the conversation needs travels with it."""
        fields: dict[str, Any] = {"store": False}
        if self.caps(request.model).efforts or not request.model.startswith(_NEVER_REASON):
            fields["include"] = ["reasoning.encrypted_content"]
        said = self._said.get(request.model)
        # Left out, the model's own bound holds, also that of a model which we do not know.
        if limit := request.max_output or (said.max_output if said else None):
            fields["max_output_tokens"] = max(limit, _LEAST_OUTPUT)
        if request.conversation:
            fields["prompt_cache_key"] = cache_key(request.conversation)
        return fields

    def _reasoning(self, request: ModelRequest) -> dict[str, Any]:
        """Nothing for a model that is not known to think: it would refuse the field."""
        efforts = self.caps(request.model).efforts
        if not efforts:
            return {}
        level = clamp_effort(request.effort, efforts) if request.effort is not None else None
        fields = {"effort": level} if level is not None else {}
        if self._summary and level != "none":
            return {**fields, "summary": self._summary}
        return fields


def _answers_here(model: str) -> bool:
    """The list of the service names all it has, also what only draws, listens or speaks."""
    return model.startswith(_ANSWER_HERE) and not any(word in model for word in _ANSWER_OTHERWISE)
