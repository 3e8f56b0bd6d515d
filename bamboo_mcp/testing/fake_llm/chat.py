"""The Chat Completions API as the fake speaks it, the way this or that server does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from bamboo_mcp.domain.value import Value
from bamboo_mcp.testing.fake_llm.server import FakeCall, FakeError, FakeLLM, FakeReply, Seen

_USAGE = {"prompt_tokens": 10, "completion_tokens": 5}
_NOTHING: Mapping[str, Any] = {}


class ChatDialect(Value, frozen=True, kw_only=True):
    """As the providers note, sections 2.3 and 2.4, describes the API; without a word it is strict.

    A server's habits: whether it reports `usage` when asked, gives its calls `ids` and `indexes`,
    sends `whole_arguments` in one piece, repeats the name on each, ends with `[DONE]`; the word it
    always stops with (`finish`), the field that holds reasoning ("think" for tags in the text), and
    the fields it `refuses` with status 400. `extra` is put into each tool call.

    `rows`, `props`, `shows` and `rows_v0` are what it says of its models: more for each row of
    the list, and the answers of `/props`, `/api/show` and `/api/v0/models`.
    """

    usage: bool = True
    ids: bool = True
    indexes: bool = True
    whole_arguments: bool = False
    repeat_name: bool = False
    finish: str | None = None
    reasoning_field: str = "reasoning_content"
    done: bool = True
    refuses: tuple[str, ...] = ()
    extra: Mapping[str, Any] = _NOTHING
    rows: Mapping[str, Mapping[str, Any]] = _NOTHING
    props: Mapping[str, Any] | None = None
    shows: Mapping[str, Mapping[str, Any]] | None = None
    rows_v0: tuple[Mapping[str, Any], ...] | None = None

    @property
    def stream_path(self) -> str:
        return "/v1/chat/completions"

    def refuse(self, seen: Seen) -> FakeError | None:
        for field in self.refuses:
            if field in seen.body:
                return FakeError(
                    status=400,
                    type="invalid_request_error",
                    message=_unknown_field(field),
                    code="unsupported_parameter",
                )
        problem = _problem(seen.body)
        if not problem:
            return None
        return FakeError(status=400, type="invalid_request_error", message=problem)

    def events(self, reply: FakeReply, seen: Seen) -> Iterable[bytes]:
        options = seen.body.get("stream_options") or {}
        frame = {
            "id": "chatcmpl-fake",
            "object": "chat.completion.chunk",
            "created": 1_790_000_000,
            "model": seen.body["model"],
        }
        for delta in self._deltas(reply):
            yield _event(frame | {"choices": [_choice(delta)]})
        for event in reply.extra_events:
            yield _event(frame | dict(event))
        usual = "tool_calls" if reply.calls else "stop"
        finish = reply.stop or (usual if self.finish is None else self.finish)
        if finish:
            yield _event(frame | {"choices": [_choice({}, finish)]})
        if self.usage and options.get("include_usage"):
            yield _event(frame | {"choices": [], "usage": _usage(reply.usage)})
        if self.done:
            yield b"data: [DONE]\n\n"

    def error_event(self, error: FakeError) -> bytes:
        return _event(_error(error))

    def error_body(self, error: FakeError) -> bytes:
        return msgspec.json.encode(_error(error))

    def other(self, seen: Seen, server: FakeLLM) -> bytes | None:
        said: object = None
        match seen.path:
            case "/v1/models":
                rows = [
                    {"id": name, "object": "model", "owned_by": "fake", **self.rows.get(name, {})}
                    for name in server.model_ids
                ]
                said = {"object": "list", "data": rows}
            case "/api/version":
                said = {"version": "0.40.0"} if self.shows is not None else None
            case "/props":
                said = self.props
            case "/api/show" if self.shows is not None and isinstance(seen.body, dict):
                said = self.shows.get(seen.body.get("model", ""))
            case "/api/v0/models" if self.rows_v0 is not None:
                said = {"object": "list", "data": self.rows_v0}
        return None if said is None else msgspec.json.encode(said)

    def _deltas(self, reply: FakeReply) -> Iterator[dict[str, Any]]:
        yield {"role": "assistant", "content": ""}
        yield from (dict(block) for block in reply.blocks)
        text = reply.text
        if reply.thinking and self.reasoning_field == "think":
            text = f"<think>\n{reply.thinking}\n</think>\n\n{text}"
        elif reply.thinking:
            for part in _cut(reply, reply.thinking):
                yield {self.reasoning_field: part, "content": None}
        for part in _cut(reply, text):
            yield {"content": part}
        for part in _cut(reply, reply.refusal):
            yield {"refusal": part}
        for index, call in enumerate(reply.calls):
            for piece in self._pieces(reply, call):
                place = {"index": index if self.indexes else None}
                yield {"tool_calls": [place | piece]}

    def _pieces(self, reply: FakeReply, call: FakeCall) -> Iterator[dict[str, Any]]:
        arguments = call.raw_json
        if arguments is None:
            arguments = msgspec.json.encode(call.args).decode()
        first: dict[str, Any] = {"type": "function", **self.extra}
        if self.ids:
            first["id"] = call.id
        if self.whole_arguments:
            yield first | {"function": {"name": call.name, "arguments": arguments}}
            return
        yield first | {"function": {"name": call.name, "arguments": ""}}
        for part in _cut(reply, arguments):
            again = {"name": call.name} if self.repeat_name else {}
            yield {"function": {"arguments": part, **again}}


def _event(data: Mapping[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\n\n"


def _choice(delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def _usage(said: Mapping[str, Any]) -> dict[str, Any]:
    usage = {**_USAGE, **said}
    usage.setdefault("total_tokens", usage["prompt_tokens"] + usage["completion_tokens"])
    return usage


def _error(error: FakeError) -> dict[str, Any]:
    said = {"message": error.message, "type": error.type, "param": None}
    return {"error": {**said, "code": error.code or None}}


def _cut(reply: FakeReply, text: str) -> list[str]:
    return [text[at : at + reply.chunk] for at in range(0, len(text), reply.chunk)]


def _unknown_field(field: str) -> str:
    if field == "max_tokens":
        return (
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead."
        )
    return f"Unrecognized request argument supplied: {field}"


def _problem(body: Any) -> str:
    """The first thing that some real server or other answers 400 to, "" when there is none."""
    if not isinstance(body, dict) or not body.get("model"):
        return "you must provide a model parameter"
    if not body.get("messages"):
        return "messages: too short, at least 1 message is needed"
    if "tools" not in body:
        for field in ("tool_choice", "parallel_tool_calls"):
            if field in body:
                return f"{field} is only allowed when tools are specified"
    if "max_tokens" in body and "max_completion_tokens" in body:
        return "max_tokens and max_completion_tokens cannot both be set"
    return _bad_messages(body["messages"])


def _bad_messages(messages: Sequence[Mapping[str, Any]]) -> str:
    waiting: list[str] = []
    for number, message in enumerate(messages):
        role = message["role"]
        if role == "tool":
            if message["tool_call_id"] not in waiting:
                return f"messages.{number}: a tool message must follow the tool_calls it answers"
            waiting.remove(message["tool_call_id"])
        elif waiting:
            return f"messages.{number}: tool_call_ids without a tool message: {waiting}"
        if problem := _bad_message(role, message, first=number == 0):
            return f"messages.{number}: {problem}"
        ids = [call["id"] for call in message.get("tool_calls") or ()]
        if len(set(ids)) != len(ids):
            return f"messages.{number}: two tool_calls with one id"
        waiting += ids
    return f"messages: tool_call_ids without a tool message at the end: {waiting}" * bool(waiting)


def _bad_message(role: str, message: Mapping[str, Any], *, first: bool) -> str:
    content = message.get("content")
    match role:
        case "system" if not first:
            return "the system message must be at the beginning"
        case "assistant":
            if not content and not message.get("tool_calls"):
                return "content or tool_calls must be set"
            return _bad_calls(message.get("tool_calls") or ())
        case "tool" if not isinstance(content, str):
            return "the content of a tool message must be text"
    if not content:
        return "content must not be empty"
    for part in content if isinstance(content, list) else ():
        if part["type"] == "text" and not part["text"].strip():
            return "text content parts must not be empty"
    return ""


def _bad_calls(calls: Sequence[Mapping[str, Any]]) -> str:
    for call in calls:
        if not call.get("id") or len(call["id"]) > 40:
            return "the id of a tool call must have 1 to 40 characters"
        if not isinstance(call["function"]["arguments"], str):
            return "the arguments of a tool call must be a string"
    return ""
