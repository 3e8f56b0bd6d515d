"""A dialect as the public meets it: plain requests of any client, not only of our providers."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from bamboo_mcp.domain.text_tokens import estimate_text
from bamboo_mcp.testing.fake_llm.server import Dialect, FakeError, FakeLLM, FakeReply, Seen
from bamboo_mcp.testing.fake_llm.vendors import ANTHROPIC, Vendor

logger = logging.getLogger(__name__)

_ANTHROPIC_VERSION = "anthropic-version"
_WITHOUT_SAMPLING = "2026-10-21"
"""The first version of the Anthropic API that refuses `temperature` and its like."""


class Tolerant:
    """A `Dialect` around one that was made to watch our own providers.

    It also takes requests that do not stream, text in place of a list, tools of the vendor's own
    and older versions of the API; `anything` takes whatever can be read at all. What cannot be read
    is answered with status 400 and the reason.
    """

    def __init__(self, dialect: Dialect, vendor: Vendor, *, anything: bool = False) -> None:
        self._dialect = dialect
        self._vendor = vendor
        self._anything = anything

    @property
    def stream_path(self) -> str:
        return self._dialect.stream_path

    def refuse(self, seen: Seen) -> FakeError | None:
        if not isinstance(seen.body, dict):
            return self._bad("the body is not a JSON object")
        try:
            self._vendor.decode(seen.body)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return self._bad(f"the fake cannot read it ({type(error).__name__}: {error})")
        if self._anything:
            return None
        try:
            return self._dialect.refuse(_usual(seen))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            # The dialect checks the fields our providers use; with others it may not know its way.
            logger.debug("not checked: %s: %s", type(error).__name__, error)
            return None

    def events(self, reply: FakeReply, seen: Seen) -> Iterable[bytes]:
        if seen.body.get("stream") is not True:
            # A whole answer tells its usage unasked.
            body = {**seen.body, "stream_options": {"include_usage": True}}
            seen = msgspec.structs.replace(seen, body=body)
        return self._dialect.events(reply, seen)

    def error_event(self, error: FakeError) -> bytes:
        return self._dialect.error_event(error)

    def error_body(self, error: FakeError) -> bytes:
        return self._dialect.error_body(error)

    def other(self, seen: Seen, server: FakeLLM) -> bytes | None:
        # `/v1/models` belongs to two vendors: only Anthropic's clients name a version.
        if (_ANTHROPIC_VERSION in seen.headers) != (self._vendor.name == ANTHROPIC.name):
            return None
        server.token_count = estimate_text(msgspec.json.encode(seen.body).decode())
        return self._dialect.other(seen, server)

    def _bad(self, problem: str) -> FakeError:
        return FakeError(status=400, type="invalid_request_error", message=problem)


def _usual(seen: Seen) -> Seen:
    """The request in the form in which a provider of ours would have sent it."""
    body: dict[str, Any] = {**seen.body, "stream": True}
    if isinstance(sent := body.get("input"), str) and sent:
        body["input"] = [{"role": "user", "content": sent}]
    if "tools" in body and "input" in body:
        body["tools"] = [tool for tool in body["tools"] if _is_function(tool)]
    if seen.headers.get(_ANTHROPIC_VERSION, _WITHOUT_SAMPLING) < _WITHOUT_SAMPLING:
        for name in ("temperature", "top_p", "top_k"):
            body.pop(name, None)
    return msgspec.structs.replace(seen, body=body)


def _is_function(tool: Mapping[str, Any]) -> bool:
    return tool.get("type") == "function"
