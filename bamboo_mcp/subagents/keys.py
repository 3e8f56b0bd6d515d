"""Idempotency keys: a key makes the subagent's id, so that the disk itself lets only one be born.

The id is made from caller, key and day. Making its session is what decides between two calls, of
one process or of two; a day later the key makes another id.
"""

from __future__ import annotations

import hashlib

import msgspec

from bamboo_mcp.domain.ids import SubagentId
from bamboo_mcp.domain.subagents import SubagentSpec

KEPT_S = 24 * 3600
"""How long a key stands for the same subagent (mcp-surface, "Idempotency")."""

ASKED = "asked"
"""Where a session keeps, in `extra`, what its subagent was asked to be."""


def day_of(now: float) -> int:
    return int(now // KEPT_S)


def keyed_id(spec: SubagentSpec, day: int) -> SubagentId:
    """As long and as hard to guess as others, for whoever does not know the key."""
    parts = msgspec.json.encode((spec.caller, spec.idempotency_key, day))
    return SubagentId("sub_" + hashlib.sha256(parts).hexdigest()[:32])


def asked(spec: SubagentSpec) -> str:
    """What two calls must have in common to mean the same subagent."""
    if spec.asked:
        return spec.asked
    return hashlib.sha256(msgspec.json.encode(spec, order="sorted")).hexdigest()
