"""The OpenAI Responses API as the fake speaks it: its events, its errors, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from bamboo_mcp.testing.fake_llm.server import FakeCall, FakeError, FakeLLM, FakeReply, Seen, sse

_INCOMPLETE = ("max_output_tokens", "content_filter", "max_messages")
_NO_REASONING = ("gpt-3", "gpt-4", "chatgpt-4")
_LONGEST_KEY = 64


class ResponsesDialect:
    """As the providers note, sections 2.2 and 2.3, describes the API.

    `FakeReply.stop` is the reason of an incomplete response, or `failed:CODE`; `signature` the
    encrypted content of the reasoning, whose summary has a part for each paragraph of `thinking`;
    `blocks` are whole output items.
    """

    stream_path = "/v1/responses"

    def refuse(self, seen: Seen) -> FakeError | None:
        problem = _problem(seen.body)
        if not problem:
            return None
        return FakeError(status=400, type="invalid_request_error", message=problem)

    def events(self, reply: FakeReply, seen: Seen) -> Iterable[bytes]:
        for number, event in enumerate(_events(reply, seen.body["model"])):
            yield sse(event["type"], {**event, "sequence_number": number})

    def error_event(self, error: FakeError) -> bytes:
        event = {"type": "error", "code": error.code or error.type, "message": error.message}
        return sse("error", {**event, "param": None, "sequence_number": 999})

    def error_body(self, error: FakeError) -> bytes:
        said = {"message": error.message, "type": error.type, "param": None}
        return msgspec.json.encode({"error": {**said, "code": error.code or None}})

    def other(self, seen: Seen, server: FakeLLM) -> bytes | None:
        match seen.path:
            case "/v1/responses/input_tokens":
                counted = {"object": "response.input_tokens", "input_tokens": server.token_count}
                return msgspec.json.encode(counted)
            case "/v1/models":
                rows = [
                    {"id": model, "object": "model", "created": 1_790_000_000, "owned_by": "fake"}
                    for model in server.model_ids
                ]
                return msgspec.json.encode({"object": "list", "data": rows})
            case _:
                return None


def _events(reply: FakeReply, model: str) -> Iterator[dict[str, Any]]:
    response: dict[str, Any] = {
        "id": "resp_fake",
        "object": "response",
        "created_at": 1_790_000_000,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": None,
    }
    yield {"type": "response.created", "response": response}
    yield {"type": "response.in_progress", "response": response}
    output: list[dict[str, Any]] = []
    items = list(_items(reply))
    for index, (item, begun, events) in enumerate(items):
        if reply.stop in _INCOMPLETE and index == len(items) - 1 and "status" in item:
            item["status"] = "incomplete"
        yield {"type": "response.output_item.added", "output_index": index, "item": begun}
        for event in events:
            yield {**event, "item_id": item.get("id", ""), "output_index": index}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
        output.append(item)
    yield from (dict(event) for event in reply.extra_events)
    yield _terminal(reply, {**response, "output": output, "usage": _usage(reply)})


def _terminal(reply: FakeReply, response: dict[str, Any]) -> dict[str, Any]:
    status, changed = "completed", {}
    if reply.stop in _INCOMPLETE:
        status, changed = "incomplete", {"incomplete_details": {"reason": reply.stop}}
    elif reply.stop.startswith("failed"):
        code = reply.stop.partition(":")[2] or "server_error"
        status, changed = "failed", {"error": {"code": code, "message": "the fake was told to"}}
    return {"type": f"response.{status}", "response": {**response, "status": status, **changed}}


def _usage(reply: FakeReply) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 1,
        "output_tokens_details": {"reasoning_tokens": 0},
        **reply.usage,
    }
    return {**usage, "total_tokens": usage["input_tokens"] + usage["output_tokens"]}


_Item = tuple[dict[str, Any], Mapping[str, Any], Iterable[dict[str, Any]]]
"""A finished item, what it is when it begins, and the events between."""


def _items(reply: FakeReply) -> Iterator[_Item]:
    if reply.thinking:
        paragraphs = reply.thinking.split("\n\n")
        item: dict[str, Any] = {"id": "rs_0", "type": "reasoning", "summary": []}
        begun = {**item, "encrypted_content": ""}
        item["encrypted_content"] = reply.signature
        item["summary"] = [{"type": "summary_text", "text": text} for text in paragraphs]
        yield item, begun, _summary_events(reply, paragraphs)
    for number, block in enumerate(reply.blocks):
        yield {"id": f"item_{number}", **block}, {"id": f"item_{number}", **block}, ()
    if reply.text:
        part = {"type": "output_text", "annotations": [], "logprobs": []}
        yield _message("msg_0", {**part, "text": reply.text}, _text_events(reply))
    if reply.refusal:
        yield _message("msg_1", {"type": "refusal", "refusal": reply.refusal}, _no_events(reply))
    for number, call in enumerate(reply.calls):
        item = {
            "id": f"fc_{number}",
            "type": "function_call",
            "status": "completed",
            "call_id": call.id,
            "name": call.name,
            "arguments": _arguments(call),
        }
        begun = {**item, "status": "in_progress", "arguments": ""}
        yield item, begun, _argument_events(reply, item["arguments"])


def _message(message_id: str, part: Mapping[str, Any], events: Iterable[dict[str, Any]]) -> _Item:
    item: dict[str, Any] = {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    return item, {**item, "status": "in_progress", "content": []}, events


def _summary_events(reply: FakeReply, paragraphs: Sequence[str]) -> Iterator[dict[str, Any]]:
    kind = "response.reasoning_summary"
    for index, text in enumerate(paragraphs):
        at = {"summary_index": index}
        yield {"type": f"{kind}_part.added", **at, "part": {"type": "summary_text", "text": ""}}
        for delta in _cut(reply, text):
            yield {"type": f"{kind}_text.delta", **at, "delta": delta}
        yield {"type": f"{kind}_text.done", **at, "text": text}
        yield {"type": f"{kind}_part.done", **at, "part": {"type": "summary_text", "text": text}}


def _text_events(reply: FakeReply) -> Iterator[dict[str, Any]]:
    at = {"content_index": 0}
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    yield {"type": "response.content_part.added", **at, "part": part}
    for delta in _cut(reply, reply.text):
        yield {"type": "response.output_text.delta", **at, "delta": delta, "logprobs": []}
    yield {"type": "response.output_text.done", **at, "text": reply.text, "logprobs": []}
    yield {"type": "response.content_part.done", **at, "part": {**part, "text": reply.text}}


def _no_events(reply: FakeReply) -> Iterator[dict[str, Any]]:
    at = {"content_index": 0}
    yield {
        "type": "response.content_part.added",
        **at,
        "part": {"type": "refusal", "refusal": ""},
    }
    for delta in _cut(reply, reply.refusal):
        yield {"type": "response.refusal.delta", **at, "delta": delta}
    yield {"type": "response.refusal.done", **at, "refusal": reply.refusal}
    part = {"type": "refusal", "refusal": reply.refusal}
    yield {"type": "response.content_part.done", **at, "part": part}


def _argument_events(reply: FakeReply, arguments: str) -> Iterator[dict[str, Any]]:
    kind = "response.function_call_arguments"
    for delta in _cut(reply, arguments):
        yield {"type": f"{kind}.delta", "delta": delta}
    yield {"type": f"{kind}.done", "arguments": arguments}


def _arguments(call: FakeCall) -> str:
    return call.raw_json if call.raw_json is not None else msgspec.json.encode(call.args).decode()


def _cut(reply: FakeReply, text: str) -> list[str]:
    return [text[at : at + reply.chunk] for at in range(0, len(text), reply.chunk)]


def _problem(body: Any) -> str:
    """The first thing the real service answers 400 to, "" when there is none."""
    if not body.get("stream"):
        return "the fake only streams"
    if not body.get("input"):
        return "One of input, previous_response_id, prompt or conversation must be provided."
    return _bad_fields(body) or _bad_tools(body) or _bad_input(body["input"])


def _bad_fields(body: Mapping[str, Any]) -> str:
    reasoning = body.get("reasoning") or {}
    for name in ("temperature", "top_p"):
        if name in body and reasoning.get("effort", "medium") != "none":
            return f"Unsupported parameter: '{name}' is not supported with this model."
    if body.get("max_output_tokens", 16) < 16:
        return "Invalid 'max_output_tokens': integer below minimum value."
    if len(body.get("prompt_cache_key", "")) > _LONGEST_KEY:
        return "Invalid 'prompt_cache_key': string too long."
    if body["model"].startswith(_NO_REASONING) and (reasoning or body.get("include")):
        return "Encrypted content is not supported with this model."
    return ""


def _bad_tools(body: Mapping[str, Any]) -> str:
    tools = body.get("tools") or []
    if not tools and "parallel_tool_calls" in body:
        return "'parallel_tool_calls' is only allowed when 'tools' are specified."
    for tool in tools:
        if tool.get("type") != "function" or not tool.get("name"):
            return "Missing required parameter: 'tools[].name'."
        if "properties" not in tool["parameters"]:
            return f"Invalid schema for function '{tool['name']}': object schema missing properties"
    return ""


def _bad_input(items: Sequence[Mapping[str, Any]]) -> str:
    called: set[str] = set()
    answered: set[str] = set()
    thought = ""
    for number, item in enumerate(items):
        if problem := _bad_item(item):
            return f"input[{number}]: {problem}"
        kind = item.get("type", "message")
        if kind == "reasoning":
            thought = item["id"]
        elif thought and (kind == "function_call_output" or item.get("role") in ("user", "system")):
            break
        else:
            thought = ""
        call_id = item.get("call_id", "")
        if kind == "function_call":
            called.add(call_id)
        elif kind == "function_call_output":
            if call_id not in called - answered:
                return f"No tool call found for function call output with call_id {call_id}."
            answered.add(call_id)
    if thought:
        return f"Item '{thought}' of type 'reasoning' was provided without its following item."
    if called - answered:
        return f"No tool output found for function call {min(called - answered)}."
    return ""


def _bad_item(item: Mapping[str, Any]) -> str:
    if any(value is None for value in item.values()):
        return "Invalid type: expected one of the item's types, but got null instead."
    if len(item.get("call_id", "")) > _LONGEST_KEY:
        return "Invalid 'call_id': string too long."
    match item.get("type", "message"):
        case "message":
            return _bad_content(item)
        case "reasoning" if not item.get("encrypted_content"):
            return f"Item with id '{item['id']}' not found: nothing is kept without `store`."
        case "reasoning" if not item["id"].startswith("rs_"):
            return f"Invalid 'id': '{item['id']}'. Expected an ID that begins with 'rs'."
        case "function_call" if not item.get("name") or not isinstance(item["arguments"], str):
            return "Missing required parameter."
        case "function_call_output" if not isinstance(item.get("output"), str | list):
            return "Missing required parameter: 'output'."
    return ""


def _bad_content(item: Mapping[str, Any]) -> str:
    content = item["content"]
    parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
    if not parts:
        return "content must not be empty"
    own = (
        ("output_text", "refusal") if item["role"] == "assistant" else ("input_text", "input_image")
    )
    for part in parts:
        if part["type"] not in own and not isinstance(content, str):
            return f"Invalid value: '{part['type']}'. Supported values are: {own}."
        if part.get("text") == "":
            return "Invalid 'text': empty string."
    return ""
