"""Identifiers: one NewType per kind of thing, 130 random bits each, so that a guess is hopeless."""

from __future__ import annotations

import os
from typing import NewType

SessionId = NewType("SessionId", str)
RunId = NewType("RunId", str)
SubagentId = NewType("SubagentId", str)
SteerId = NewType("SteerId", str)
QuestionId = NewType("QuestionId", str)
CallId = NewType("CallId", str)
OwnerId = NewType("OwnerId", str)
"""One server process on a home folder; see `disk.locks`."""
Subject = NewType("Subject", str)
"""Who is calling: a client, a person at a terminal, or a parent subagent.

See mcp-surface, "Who is calling".
"""

LOCAL = Subject("local")
"""The one subject of a stdio connection, and of loopback HTTP without a token."""


def _random(prefix: str) -> str:
    # 128 bits: what the MCP security pages ask of a handle (reliability note U9).
    return prefix + os.urandom(16).hex()


def new_session_id() -> SessionId:
    return SessionId(_random("ses_"))


def new_run_id() -> RunId:
    return RunId(_random("run_"))


def new_subagent_id() -> SubagentId:
    return SubagentId(_random("sub_"))


def new_steer_id() -> SteerId:
    return SteerId(_random("steer_"))


def new_question_id() -> QuestionId:
    return QuestionId(_random("q_"))


def new_call_id() -> CallId:
    return CallId(_random("call_"))


def new_owner_id() -> OwnerId:
    return OwnerId(_random("own_"))
