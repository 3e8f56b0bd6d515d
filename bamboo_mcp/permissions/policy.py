"""May this call happen: by the run's mode and what the tool can do to the world."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from bamboo_mcp.domain.ids import QuestionId, new_question_id
from bamboo_mcp.domain.questions import Answer, PermissionMode, Question
from bamboo_mcp.domain.tools import ToolCall, ToolSpec
from bamboo_mcp.permissions.grants import Grant, SessionGrants
from bamboo_mcp.permissions.wording import describe_call, shown_arguments, size_of
from bamboo_mcp.ports import ToolContext

Verdict: TypeAlias = Literal["free", "ask", "deny"]

RULES: Mapping[PermissionMode, Mapping[str, Verdict]] = {
    "plan": {
        "read": "free",
        "control": "free",
        "write": "deny",
        "execute": "deny",
        "network": "deny",
    },
    "default": {
        "read": "free",
        "control": "free",
        "write": "ask",
        "execute": "ask",
        "network": "ask",
    },
    "accept_edits": {
        "read": "free",
        "control": "free",
        # Inside the workspace; the tools themselves refuse to leave it.
        "write": "free",
        "execute": "ask",
        "network": "ask",
    },
    "bypass": {
        "read": "free",
        "control": "free",
        "write": "free",
        "execute": "free",
        "network": "free",
    },
}
"""By mode, then by `ToolSpec.effect`. An unknown effect asks, an unknown mode denies."""

MAX_SHOWN_COMMAND = 20_000
"""A command longer than this cannot be shown whole, and what cannot be shown is not asked."""

MAX_PENDING = 4096

# What does not change what a command does, so that one grant covers it.
_HARMLESS = frozenset(("timeout_s", "timeout", "description"))


class ModePolicy:
    """Decides for runs, by `context.mode`. Costs about a microsecond when nothing has to be asked.

    An `allow_session` covers, in that session and while the grant lasts: a tool that writes, as a
    whole; a tool that uses the network, for the same host; a command, exactly as it was shown.
    """

    def __init__(
        self,
        *,
        question_timeout_s: float = 300.0,
        grants: SessionGrants | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._question_timeout_s = question_timeout_s
        self._grants = SessionGrants() if grants is None else grants
        self._now = now
        self._pending: OrderedDict[QuestionId, Grant] = OrderedDict()

    def verdict(self, tool: ToolSpec, mode: PermissionMode) -> Verdict:
        rules = RULES.get(mode)
        if rules is None:
            return "deny"
        return rules.get(tool.effect, "deny" if mode == "plan" else "ask")

    def decide(
        self, tool: ToolSpec, call: ToolCall, context: ToolContext
    ) -> Question | Answer | None:
        match self.verdict(tool, context.mode):
            case "free":
                return None
            case "deny":
                return Answer(reason=_why_denied(tool, context.mode))
            case "ask":
                return self._ask(tool, call, context)

    def remember(self, question: Question, answer: Answer) -> None:
        grant = self._pending.pop(question.question_id, None)
        if grant is not None and answer.decision == "allow_session":
            self._grants.add(grant)

    def _ask(
        self, tool: ToolSpec, call: ToolCall, context: ToolContext
    ) -> Question | Answer | None:
        grant = None
        if context.session_id is not None:
            scope = _scope(tool, call)
            grant = Grant(session_id=context.session_id, tool=tool.name, scope=scope)
            if self._grants.covers(grant):
                return None
        if tool.effect == "execute" and (size := size_of(call)) > MAX_SHOWN_COMMAND:
            return Answer(
                reason=f"a command of {size} characters is too long for a person to check, at most "
                f"{MAX_SHOWN_COMMAND}: write it into a file first and run that"
            )
        question = Question(
            question_id=new_question_id(),
            topic="permission",
            text=describe_call(tool, call),
            asked_at=self._now(),
            run_id=context.run_id,
            subagent_id=context.subagent_id,
            tool=tool.name,
            arguments=shown_arguments(tool, call),
            options=("allow_once", "allow_session", "deny"),
            expires_in_s=self._question_timeout_s,
        )
        if grant is not None:
            self._pending[question.question_id] = grant
            if len(self._pending) > MAX_PENDING:  # questions that ended without an answer
                self._pending.popitem(last=False)
        return question


class DirectPolicy:
    """Decides for direct calls of a client, whose host has asked its user; leaves runs to `runs`.

    A direct call is one outside every run. It goes by `mode`, not by the caller's; a command needs
    `allow_commands` whatever the mode. There is no way back to a person from here, so what would
    ask is refused, and the reason says what to set.
    """

    def __init__(
        self,
        runs: ModePolicy,
        *,
        mode: PermissionMode = "accept_edits",
        allow_commands: bool = False,
    ) -> None:
        self._runs = runs
        self._mode = mode
        self._allow_commands = allow_commands

    def decide(
        self, tool: ToolSpec, call: ToolCall, context: ToolContext
    ) -> Question | Answer | None:
        if context.run_id is not None or context.subagent_id is not None:
            return self._runs.decide(tool, call, context)
        verdict = self._runs.verdict(tool, self._mode)
        if verdict == "deny":
            return Answer(reason=_why_denied(tool, self._mode, "permissions.direct_mode"))
        if tool.effect == "execute":
            return None if self._allow_commands else Answer(reason=_COMMANDS_ARE_OFF)
        if verdict == "free":
            return None
        needed = "accept_edits" if tool.effect == "write" else "bypass"
        return Answer(
            reason=f"direct calls run in mode {self._mode!r}, where a tool of effect "
            f"{tool.effect!r} asks a person, and a direct call cannot ask; the person who runs "
            f'this server can set permissions.direct_mode = "{needed}", or a subagent can be '
            "spawned for it, whose questions can be answered"
        )

    def remember(self, question: Question, answer: Answer) -> None:
        self._runs.remember(question, answer)


_COMMANDS_ARE_OFF = (
    "direct calls of commands are off; the person who runs this server can start it with "
    "--allow-commands or set permissions.allow_commands = true, or a subagent can be spawned for "
    "it, which asks before each command"
)


def _why_denied(tool: ToolSpec, mode: str, setting: str = "") -> str:
    if mode == "plan":
        where = f" ({setting})" if setting else ""
        return (
            f"the permission mode is 'plan'{where}: only tools that read may run, and "
            f"{tool.name!r} has the effect {tool.effect!r}; describe what you would do instead"
        )
    return f"{mode!r} is not a permission mode"


def _scope(tool: ToolSpec, call: ToolCall) -> str:
    """What exactly an `allow_session` of this call would cover of the tool."""
    if tool.effect == "write":
        return ""
    url = call.arguments.get("url")
    if tool.effect == "network" and isinstance(url, str):
        try:
            parts = urlsplit(url)
            return f"{parts.scheme}://{parts.hostname}:{parts.port}"
        except ValueError:
            return url
    said = {name: value for name, value in call.arguments.items() if name not in _HARMLESS}
    try:
        return msgspec.json.encode(said, order="sorted").decode()
    except (TypeError, ValueError, RecursionError):
        return ascii(said)
