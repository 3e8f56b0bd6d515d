"""What a script says: steps, what each waits for, and what it answers, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bamboo_mcp.domain.stream import StopReason


class Call(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tool call to make. `args` may hold placeholders; `id` empty: a fresh one each time."""

    name: str
    args: Mapping[str, Any] = {}
    id: str = ""
    raw_json: str | None = None
    """In place of `args`, as it is: arguments that are cut off, or no JSON at all."""


class When(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a request must look like. Everything that is said must hold.

    Text between slashes is a regular expression (`/temp (?P<n>\\d+)/i`; its named groups become
    variables), other text must occur as it is.
    """

    last_user: str = ""
    """In the text of the last message of the user."""
    system: str = ""
    tools: tuple[str, ...] = ()
    """All of them are offered."""
    tool_result: str = ""
    """What was just answered came from this tool."""
    contains: str = ""
    """In the text of what tools just answered (of `tool_result` alone, when that is said)."""
    is_error: bool | None = None
    """Whether that answer was a failure."""
    conversation: str = ""
    """In the key of the conversation."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fail instead of answering. `kind` is a code of `domain.provider_errors`, or short for one."""

    kind: str
    retry_after: float | None = None
    message: str = ""
    after: int | None = None
    """Only after so many deltas of the answer: an error inside the stream."""


class Tokens(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The usage a step reports."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer. Used once, unless `repeat` says how often (true: for ever)."""

    when: When | None = None
    reasoning: str = ""
    text: str = ""
    calls: tuple[Call, ...] = ()
    blocks: tuple[Mapping[str, Any], ...] = ()
    """Blocks in the form of the vendor's API, as they are, before the text."""
    usage: Tokens = Tokens()
    stop: StopReason | None = None
    chunk: int = 0
    """Characters a delta; 0 sends each block in one."""
    delay_ms: float = 0
    """Before the answer."""
    chunk_delay_ms: float = 0
    """Before each further delta."""
    repeat: bool | int = False
    error: Fault | None = None
    cut_after: int | None = None
    """After so many deltas the connection breaks (`transport_failed`)."""
    stall: bool = False
    """Nothing more comes (after `cut_after` deltas, else after the last one), and no end either."""
    truncate: bool = False
    """The stream ends without saying that it is over (`truncated`)."""
    line: int = 0
    """Where it stands in its file; set by the reader."""


class Track(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The steps of one kind of conversation, chosen when its first request fits `when`."""

    steps: tuple[Step, ...]
    when: When | None = None
    name: str = ""
    once: bool = False
    """Only one conversation walks it; the next one that fits looks further."""


class Script(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scripted model: either `steps`, or several kinds of `conversations`.

    `strict`: the next unused step must fit. Otherwise the first unused one that fits is taken.
    """

    model: str = ""
    strict: bool = True
    steps: tuple[Step, ...] = ()
    conversations: tuple[Track, ...] = ()
    context_window: int = 128_000

    @property
    def tracks(self) -> tuple[Track, ...]:
        return self.conversations or (Track(steps=self.steps),)
