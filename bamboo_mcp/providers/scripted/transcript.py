"""What a recording heard, written as YAML: loose enough to play elsewhere, strict about the course.

Ids that our tools give out differ from run to run: where a model used one, the script says in which
answer to look for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import yaml

from bamboo_mcp.domain.messages import ReasoningBlock, TextBlock, ToolCallBlock
from bamboo_mcp.domain.provider_errors import BadToolJson, TransportFailed
from bamboo_mcp.domain.usage import Usage
from bamboo_mcp.providers.scripted.addresses import Results
from bamboo_mcp.providers.scripted.heard import Heard
from bamboo_mcp.providers.scripted.values import recent_results, said_last
from bamboo_mcp.providers.scripted.wanted import wanted, wanted_apart

_WIDTH = 100
_OTHER_ENDS = re.compile("[\r\x85\u2028\u2029]")
_SHORT = 70
"""A mapping up to this many characters stands on one line."""

SPAWN = "spawn_subagent"
"""The tool whose `model` is left out: a played subagent finds its words in the same script."""


class _Inline(dict[str, Any]):
    """A mapping written on one line."""


class _Writer(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text_node(writer: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    if _OTHER_ENDS.search(text):
        style = '"'  # everywhere else YAML reads these line ends as plain ones
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _inline_node(writer: yaml.SafeDumper, value: _Inline) -> yaml.Node:
    return writer.represent_mapping("tag:yaml.org,2002:map", value.items(), flow_style=True)


_Writer.add_representer(str, _text_node)
_Writer.add_representer(_Inline, _inline_node)


def written(conversations: Sequence[Sequence[Heard]]) -> str:
    """The script: a kind of conversation for each that was heard, in the order they began."""
    firsts = [said_last(heard[0].messages) for heard in conversations]
    tracks = []
    for number, (first, heard) in enumerate(zip(firsts, conversations, strict=True)):
        track: dict[str, Any] = {}
        if first.strip():
            others = [*firsts[:number], *firsts[number + 1 :]]
            track["when"] = _inline({"last_user": wanted_apart(first, others)})
            if first in others:
                track["once"] = True
        track["steps"] = [
            _step(one, first=place == 0, last=place == len(heard) - 1, root=number == 0)
            for place, one in enumerate(heard)
        ]
        tracks.append(track)
    document: dict[str, Any] = {"model": "recorded", "conversations": tracks}
    return yaml.dump(
        document, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=_WIDTH, indent=2
    )


def _step(heard: Heard, *, first: bool, last: bool, root: bool) -> dict[str, Any]:
    results = Results(heard.messages)
    step: dict[str, Any] = {}
    if not first and (when := _when(heard)):
        step["when"] = _inline(when)
    stop = heard.stop
    said = _Said(heard)
    if said.reasoning:
        step["reasoning"] = results.templated(said.reasoning)
    if said.text:
        step["text"] = results.templated(said.text)
    calls = [_call(call, results) for call in said.calls]
    if stop is not None:
        if stop.usage != Usage():
            used = msgspec.structs.asdict(stop.usage).items()
            step["usage"] = _inline({name: count for name, count in used if count})
        if stop.reason != ("tool_use" if calls else "end"):
            step["stop"] = stop.reason
    elif isinstance(heard.failure, BadToolJson) and heard.call_name:
        calls.append({"name": heard.call_name, "raw_json": "".join(heard.arguments)})
    else:
        step |= _break(heard, said.deltas, last=last, root=root)
    if calls:
        step["calls"] = calls
    if not step.keys() & _ANSWERS:
        step["text"] = " "  # an answer without any content still is one
    return {name: step[name] for name in _ORDER if name in step}


_ORDER = (
    *("when", "reasoning", "text", "calls", "usage", "stop"),
    *("error", "cut_after", "stall", "repeat"),
)
_ANSWERS = {"reasoning", "text", "calls", "error", "cut_after", "stall"}


class _Said:
    """What there is of an answer, whole or not, and how many deltas play that much of it."""

    def __init__(self, heard: Heard) -> None:
        if heard.stop is not None:
            blocks: Iterable[object] = heard.stop.message.blocks
        else:
            blocks = heard.blocks
        blocks = list(blocks)
        half_thought, half_text = "".join(heard.reasoning), "".join(heard.text)
        if heard.stop is not None:
            half_thought = half_text = ""
        thoughts = [block.text for block in blocks if isinstance(block, ReasoningBlock)]
        texts = [block.text for block in blocks if isinstance(block, TextBlock)]
        self.calls = [block for block in blocks if isinstance(block, ToolCallBlock)]
        self.reasoning = "\n\n".join(text for text in [*thoughts, half_thought] if text)
        self.text = "".join([*texts, half_text])
        # A block is played as one delta and its end, a call as two.
        self.deltas = 2 * bool(self.reasoning) + 2 * bool(self.text) + 3 * len(self.calls)
        if not self.calls and (half_text or (half_thought and not self.text)):
            self.deltas -= 1


def _when(heard: Heard) -> dict[str, Any]:
    """Which course the run has taken: what a tool just answered, else what the user said."""
    recent = recent_results(heard.messages)
    if recent:
        # What else was said meanwhile depends on the moment, and moments differ.
        name, block = recent[-1]
        return {"tool_result": name, "is_error": block.is_error} if name else {}
    if heard.messages and heard.messages[-1].role == "user":
        return {"last_user": wanted(said_last(heard.messages))}
    return {}


def _call(call: ToolCallBlock, results: Results) -> dict[str, Any]:
    args = msgspec.json.decode(call.arguments_json or "{}")
    if call.name == SPAWN:
        args.pop("model", None)
    filled = results.filled(args)
    return _inline({"name": call.name, "args": filled}) if filled else _Inline(name=call.name)


def _break(heard: Heard, deltas: int, *, last: bool, root: bool) -> dict[str, Any]:
    """How an answer that never became whole ends when it is played."""
    failure = heard.failure
    # What fails before anything is shown is tried again, and has to fail again.
    again = {"repeat": True} if last and not deltas else {}
    if failure is None and not (root and last):
        return {"cut_after": deltas, "stall": True}
    if failure is None or isinstance(failure, TransportFailed):
        return {"cut_after": deltas, **again}
    error: dict[str, Any] = {"kind": failure.code, "message": failure.message}
    if deltas:
        error["after"] = deltas
    return {"error": _inline(error), **again}


def _inline(value: dict[str, Any]) -> dict[str, Any]:
    """On one line when it is short, else over several."""
    text = str(value)
    return _Inline(value) if len(text) <= _SHORT and "\\n" not in text else value
