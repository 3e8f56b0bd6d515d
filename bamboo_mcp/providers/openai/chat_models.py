"""The models a compatible server has, and what it says of each.

The list is the same everywhere and says little; what more there is, servers say in rows of their
own or at endpoints of their own (providers note, section 2.4, and their documentation).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import httpx2
import msgspec
import openai

from bamboo_mcp.domain.models import Effort, ModelFacts
from bamboo_mcp.providers.openai.profiles import Profile, root_of
from bamboo_mcp.providers.openai.sdk import SDK_ERRORS
from bamboo_mcp.providers.table import EFFORTS

logger = logging.getLogger(__name__)

WITHIN_S = 2.0
"""The longest one request may take."""
_AT_MOST = 20
"""So many models are asked about one by one."""

Facts = dict[str, ModelFacts]
_JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError)


class NoList(Exception):
    """The server sent something that is no list of models."""


async def described_models(
    client: openai.AsyncOpenAI, profile: Profile, within_s: float = WITHIN_S
) -> Facts:
    """By name, in the server's order; models that cannot chat are left out.

    Raises the errors of the SDK, `TimeoutError` and `NoList` for the list alone: what else a server
    does not say is only not known.
    """
    facts: Facts = {}
    for row in await _list(client, within_s):
        name = _map(row).get("id")
        if isinstance(name, str) and name and _can_chat(name, row):
            facts[name.removeprefix("models/")] = _from_row(row)
    root = root_of(str(client.base_url))
    match profile.details:
        case "props":
            return await _props(client, root, facts, within_s)
        case "show":
            return await _shown(client, root, facts, within_s, profile.efforts)
        case "v0":
            return await _rows_v0(client, root, facts, within_s)
        case "":
            return facts


async def _list(client: openai.AsyncOpenAI, within_s: float) -> list[Any]:
    # Not `client.models.list`: that fails on a proxy's page with a bug of its own.
    with anyio.fail_after(within_s):
        answer = await client.get("/models", cast_to=httpx2.Response)
    try:
        said = _map(msgspec.json.decode(answer.content))
    except _JSON_ERRORS:
        said = {}
    rows = said.get("data")
    if isinstance(rows, list):
        return rows
    if said.get("object") == "list":
        return []  # Ollama without a model says null
    raise NoList


async def _props(client: openai.AsyncOpenAI, root: str, facts: Facts, within_s: float) -> Facts:
    """llama.cpp: about the one model that is loaded; a router with many says nothing here."""
    if len(facts) != 1:
        return facts
    said = await _ask(client, "GET", f"{root}/props", within_s)
    settings, caps = _map(said.get("default_generation_settings")), said.get("chat_template_caps")
    name, known = next(iter(facts.items()))
    vision = _map(said.get("modalities")).get("vision")
    tools = _map(caps).get("supports_tools")
    return {
        name: _more(
            known,
            context_window=_number(settings.get("n_ctx")),
            images=vision if isinstance(vision, bool) else None,
            tools=tools if isinstance(tools, bool) else None,
        )
    }


async def _shown(
    client: openai.AsyncOpenAI,
    root: str,
    facts: Facts,
    within_s: float,
    levels: tuple[Effort, ...],
) -> Facts:
    """Ollama: one request a model."""
    answers: dict[str, Mapping[str, Any]] = {}

    async def show(name: str) -> None:
        answers[name] = await _ask(client, "POST", f"{root}/api/show", within_s, {"model": name})

    async with anyio.create_task_group() as group:
        for name in list(facts)[:_AT_MOST]:
            group.start_soon(show, name)
    known: Facts = {}
    for name, before in facts.items():
        said = answers.get(name, {})
        can = said.get("capabilities")
        if isinstance(can, list) and can and "completion" not in can:
            continue  # embeddings and the like
        known[name] = _from_show(before, said, levels)
    return known


def _from_show(
    known: ModelFacts, said: Mapping[str, Any], levels: tuple[Effort, ...]
) -> ModelFacts:
    info = _map(said.get("model_info"))
    window = next((_number(info[key]) for key in info if key.endswith(".context_length")), None)
    # What the model file sets goes before what the model could do.
    for line in str(said.get("parameters") or "").splitlines():
        key, _, value = line.strip().partition(" ")
        if key == "num_ctx" and value.strip().isdigit():
            window = int(value)
    can = said.get("capabilities")
    if not isinstance(can, list):
        return _more(known, context_window=window)
    named = _map(said.get("thinking")).get("values")
    efforts = tuple(level for level in EFFORTS if level in named) if named else ()
    return _more(
        known,
        context_window=window,
        tools="tools" in can,
        images="vision" in can,
        efforts=(efforts or levels) if "thinking" in can else (),
    )


async def _rows_v0(client: openai.AsyncOpenAI, root: str, facts: Facts, within_s: float) -> Facts:
    """LM Studio: its own list beside the compatible one."""
    said = await _ask(client, "GET", f"{root}/api/v0/models", within_s)
    rows = said.get("data")
    for row in rows if isinstance(rows, list) else ():
        name = _map(row).get("id")
        if not isinstance(name, str) or name not in facts:
            continue
        if row.get("type") == "embeddings":
            del facts[name]
            continue
        can = row.get("capabilities")
        facts[name] = _more(
            _from_row(row),
            tools="tool_use" in can if isinstance(can, list) else None,
            images=row["type"] == "vlm" if "type" in row else None,
        )
    return facts


def _from_row(said: Mapping[str, Any]) -> ModelFacts:
    """What a row of the list may hold: vLLM, OpenRouter, LM Studio and Groq each name it their own
    way, and a window that is in use goes before the longest one possible."""
    windows = ("loaded_context_length", "max_model_len", "context_length", "max_context_length")
    top, looks = _map(said.get("top_provider")), _map(said.get("architecture"))
    kinds, fields = looks.get("input_modalities"), said.get("supported_parameters")
    prices = _map(said.get("pricing"))
    tools = "tools" in fields if isinstance(fields, list) else None
    return ModelFacts(
        context_window=_first(said, (*windows, "context_window")),
        max_output=_number(top.get("max_completion_tokens")) or _first(said, _OUTPUTS),
        images="image" in kinds if isinstance(kinds, list) else None,
        tools=tools,
        efforts=() if isinstance(fields, list) and "reasoning" not in fields else None,
        price_input=_price(prices.get("prompt")),
        price_output=_price(prices.get("completion")),
    )


_OUTPUTS = ("max_completion_tokens", "max_output_tokens")


def _can_chat(name: str, said: Mapping[str, Any]) -> bool:
    """Lists hold models for embeddings too, and mostly only the name tells."""
    kinds = _map(said.get("architecture")).get("output_modalities")
    if isinstance(kinds, list):
        return "text" in kinds
    return "embed" not in name.lower()


async def _ask(
    client: openai.AsyncOpenAI, method: str, url: str, within_s: float, body: Any = None
) -> Mapping[str, Any]:
    """The JSON object at another endpoint of the same server; empty when there is none."""
    try:
        with anyio.fail_after(within_s):
            if method == "GET":
                answer = await client.get(url, cast_to=httpx2.Response)
            else:
                answer = await client.post(url, cast_to=httpx2.Response, body=body)
            return _map(msgspec.json.decode(answer.content))
    except (*SDK_ERRORS, *_JSON_ERRORS, TimeoutError) as error:
        logger.info("%s did not describe its models: %s", url, type(error).__name__)
        return {}


def _more(known: ModelFacts, **said: Any) -> ModelFacts:
    new = {key: value for key, value in said.items() if value is not None}
    return msgspec.structs.replace(known, **new)


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _first(said: Mapping[str, Any], keys: Sequence[str]) -> int | None:
    return next((number for key in keys if (number := _number(said.get(key)))), None)


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _price(per_token: object) -> float | None:
    """US dollars per million tokens, from OpenRouter's text of dollars per token; negative: none
    that could be told before."""
    try:
        price = float(str(per_token))
    except ValueError:
        return None
    return round(price * 1_000_000, 6) if price >= 0 else None
