"""Reads a script from YAML; what is wrong is said with file, line and what would be right."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

import msgspec
import yaml

from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.providers.scripted.answers import fault_kind
from bamboo_mcp.providers.scripted.engine import compile_track
from bamboo_mcp.providers.scripted.steps import Call, Fault, Script, Step, Tokens, Track, When

_FIELDS = sorted(
    {
        field
        for struct in (Script, Track, Step, When, Call, Fault, Tokens)
        for field in struct.__struct_fields__
    }
    - {"line"}
)


class BadScript(InvalidInput):
    """A scripted model that cannot be read."""


def read_script(path: Path) -> Script:
    """Raises `BadScript`, naming the place as `file:line`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadScript(f"the script {str(path)!r} cannot be read: {reason}") from error
    return parse_script(text, str(path))


def parse_script(text: str, source: str) -> Script:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        problem = getattr(error, "problem", None) or str(error)
        raise BadScript(
            f"{source}:{line}: not YAML: {problem}",
            hint="Regular expressions and {{placeholders}} go in quotes: '/(?P<city>\\w+)/'.",
        ) from error
    _mark_lines(data, root)
    try:
        script = msgspec.convert(data, Script, strict=True)
    except msgspec.ValidationError as error:
        raise BadScript(_explain(str(error), root, source)) from error
    _check(script, source)
    return script


def _check(script: Script, source: str) -> None:
    if script.steps and script.conversations:
        raise BadScript(f"{source}:1: give `steps` or `conversations`, not both")
    if not any(track.steps for track in script.tracks):
        raise BadScript(f"{source}:1: there are no steps")
    for track in script.tracks:
        for place, step in enumerate(track.steps):
            problem = _problem(step, last=place == len(track.steps) - 1)
            if problem:
                raise BadScript(f"{source}:{step.line}: {problem}")
        compile_track(track, source)


def _problem(step: Step, *, last: bool) -> str:
    if step.repeat is True and step.when is None and not last:
        return "repeats for ever without `when`: the steps after it would never be reached"
    if step.error is not None and fault_kind(step.error.kind) is None:
        return f"no kind of error is called {step.error.kind!r}"
    after = step.error.after if step.error is not None else None
    if min(step.chunk, step.delay_ms, step.chunk_delay_ms, step.cut_after or 0, after or 0) < 0:
        return "chunk, delay_ms, chunk_delay_ms, cut_after and after cannot be negative"
    if any(not isinstance(block.get("type"), str) for block in step.blocks):
        return "each of `blocks` needs a `type`, as the vendor's API calls it"
    for call in step.calls:
        if call.raw_json is not None and call.args:
            return f"the call of {call.name!r} has args and raw_json: give one of them"
    empty = not (step.text or step.reasoning or step.calls or step.blocks)
    breaks = step.error is not None or step.cut_after is not None or step.truncate or step.stall
    if empty and not breaks:
        return (
            "answers nothing: give text, calls, reasoning, blocks, "
            "error, cut_after, truncate or stall"
        )
    return ""


def _mark_lines(data: Any, root: yaml.Node | None) -> None:
    """Write into each step the line it begins on, for messages at play time."""
    if not isinstance(data, dict):
        return
    tracks = data.get("conversations")
    places: list[tuple[Any, list[str | int]]] = [(data.get("steps"), ["steps"])]
    for number, track in enumerate(tracks if isinstance(tracks, list) else []):
        if isinstance(track, dict):
            places.append((track.get("steps"), ["conversations", number, "steps"]))
    for steps, path in places:
        for number, step in enumerate(steps if isinstance(steps, list) else []):
            if isinstance(step, dict):
                step["line"] = _line(root, [*path, number])


def _explain(problem: str, root: yaml.Node | None, source: str) -> str:
    """msgspec names the place as a path; people look for a line."""
    what, _, where = problem.partition(" - at `$")
    path: list[str | int] = [
        int(index) if index else name
        for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", where.rstrip("`"))
    ]
    if (unknown := re.search(r"unknown field `(.*?)`", what)) is not None:
        field = unknown.group(1)
        close = difflib.get_close_matches(field, _FIELDS, n=1)
        what = f"there is no field {field!r}" + (f"; did you mean {close[0]!r}?" if close else "")
        path.append(field)
    return f"{source}:{_line(root, path)}: {what}" + (f" (at {where[1:-1]})" if where[1:-1] else "")


def _line(node: yaml.Node | None, path: list[str | int]) -> int:
    """The line of the deepest part of `path` that exists, from 1."""
    if node is None:
        return 1
    line = node.start_mark.line + 1
    for part in path:
        found: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == part:
                    line, found = key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            if part < len(node.value):
                found = node.value[part]
                line = found.start_mark.line + 1
        if found is None:
            break
        node = found
    return line
