"""The Anthropic Messages API as the fake speaks it: its events, its errors, and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from bamboo_mcp.testing.fake_llm.server import FakeCall, FakeError, FakeLLM, FakeReply, Seen, sse

_USAGE = {"input_tokens": 10, "output_tokens": 1}
_ID = re.compile(r"[a-zA-Z0-9_-]+")


class AnthropicDialect:
    """As the providers note, sections 1.2 to 1.5, describes the API."""

    stream_path = "/v1/messages"

    def refuse(self, seen: Seen) -> FakeError | None:
        problem = _problem(seen.body)
        if not problem:
            return None
        return FakeError(status=400, type="invalid_request_error", message=problem)

    def events(self, reply: FakeReply, seen: Seen) -> Iterable[bytes]:
        for event in _events(reply, seen.body["model"]):
            yield sse(event["type"], event)

    def error_event(self, error: FakeError) -> bytes:
        return sse("error", _error(error))

    def error_body(self, error: FakeError) -> bytes:
        return msgspec.json.encode(_error(error))

    def other(self, seen: Seen, server: FakeLLM) -> bytes | None:
        match seen.path:
            case "/v1/messages/count_tokens":
                return msgspec.json.encode({"input_tokens": server.token_count})
            case "/v1/models":
                rows = [_model(model) for model in server.model_ids]
                page = {"data": rows, "has_more": False, "first_id": None, "last_id": None}
                return msgspec.json.encode(page)
            case _:
                return None


def _error(error: FakeError) -> dict[str, Any]:
    body: dict[str, Any] = {"type": error.type, "message": error.message}
    if error.code:
        body["details"] = {"error_code": error.code}
    return {"type": "error", "error": body, "request_id": "req_fake"}


def _model(model: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": model,
        "display_name": model,
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": 500_000,
        "max_tokens": 50_000,
    }


def _events(reply: FakeReply, model: str) -> Iterator[dict[str, Any]]:
    usage = {**_USAGE, **reply.usage}
    yield {
        "type": "message_start",
        "message": {
            "id": "msg_fake",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**usage, "output_tokens": 1},
        },
    }
    yield {"type": "ping"}
    index = 0
    for block, deltas in _blocks(reply):
        yield {"type": "content_block_start", "index": index, "content_block": block}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
        index += 1
    yield from (dict(event) for event in reply.extra_events)
    yield {
        "type": "message_delta",
        "delta": {
            "stop_reason": reply.stop or ("tool_use" if reply.calls else "end_turn"),
            "stop_sequence": None,
        },
        "usage": {"output_tokens": usage["output_tokens"]},
    }
    yield {"type": "message_stop"}


def _blocks(reply: FakeReply) -> Iterator[tuple[Mapping[str, Any], list[dict[str, Any]]]]:
    if reply.thinking:
        deltas = [{"type": "thinking_delta", "thinking": p} for p in _cut(reply, reply.thinking)]
        deltas.append({"type": "signature_delta", "signature": reply.signature})
        yield {"type": "thinking", "thinking": "", "signature": ""}, deltas
    for block in reply.blocks:
        yield block, []
    if reply.text:
        deltas = [{"type": "text_delta", "text": part} for part in _cut(reply, reply.text)]
        yield {"type": "text", "text": ""}, deltas
    for call in reply.calls:
        start = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        parts = _cut(reply, _arguments(call))
        yield start, [{"type": "input_json_delta", "partial_json": part} for part in parts]


def _arguments(call: FakeCall) -> str:
    return call.raw_json if call.raw_json is not None else msgspec.json.encode(call.args).decode()


def _cut(reply: FakeReply, text: str) -> list[str]:
    return [text[at : at + reply.chunk] for at in range(0, len(text), reply.chunk)] or [""]


def _problem(body: Any) -> str:
    """The first thing the real service answers 400 to, "" when there is none."""
    for name in ("temperature", "top_p", "top_k"):
        if name in body:
            return f"{name}: not supported by this API version"
    if not body.get("max_tokens"):
        return "max_tokens: field required"
    if not body.get("stream"):
        return "the fake only streams"
    waiting: set[str] = set()
    for number, message in enumerate(body["messages"]):
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if problem := _bad_content(message["role"], blocks, waiting):
            return f"messages.{number}: {problem}"
        waiting = {block["id"] for block in blocks if block["type"] == "tool_use"}
    return "messages: tool_use without tool_result at the end" if waiting else ""


def _bad_content(role: str, blocks: list[dict[str, Any]], waiting: set[str]) -> str:
    if not blocks:
        return "content must not be empty"
    if any(block["type"] == "text" and not block["text"].strip() for block in blocks):
        return "text content blocks must contain non-whitespace text"
    if role == "assistant" and blocks[-1]["type"] in ("thinking", "redacted_thinking"):
        return "the final block in an assistant message cannot be thinking"
    if problem := _bad_calls(blocks) or _bad_results(blocks):
        return problem
    answered = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
    if waiting - answered:
        return f"tool_use ids without tool_result blocks right after: {sorted(waiting - answered)}"
    if answered - waiting:
        return f"tool_result for an unknown tool_use: {sorted(answered - waiting)}"
    kinds = [block["type"] == "tool_result" for block in blocks]
    return "" if kinds == sorted(kinds, reverse=True) else "tool_result blocks must come first"


def _bad_calls(blocks: list[dict[str, Any]]) -> str:
    ids = [block["id"] for block in blocks if block["type"] == "tool_use"]
    if any(not _ID.fullmatch(one) for one in ids):
        return f"tool_use.id: String should match pattern '{_ID.pattern}'"
    return "" if len(set(ids)) == len(ids) else "tool_use ids must be unique"


def _bad_results(blocks: list[dict[str, Any]]) -> str:
    for block in blocks:
        if block["type"] != "tool_result":
            continue
        content = block.get("content") or []
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if any(part["type"] == "text" and not part["text"].strip() for part in parts):
            return "tool_result: text content blocks must contain non-whitespace text"
        if block.get("is_error") and not parts:
            return "tool_result: content cannot be empty if `is_error` is true"
        if block.get("is_error") and any(part["type"] != "text" for part in parts):
            return "tool_result: all content must be type `text` if `is_error` is true"
    return ""
